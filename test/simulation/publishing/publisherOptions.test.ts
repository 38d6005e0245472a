import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpRpc from "@effect-amqp/core/AmqpRpc"
import * as AmqpTelemetry from "@effect-amqp/core/AmqpTelemetry"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import {
  ack,
  assertReason,
  assertWaits,
  connected,
  dial,
  failureOf,
  fork,
  openPublisher,
  publishText,
  reasonOf,
  rest,
  resultOf,
  script,
  toQueue
} from "../../support/scriptedPeer.ts"
import { direct, openClient } from "../../support/scriptedRpc.ts"

/** Options as a program without types passes them. */
const untyped = (options: Record<string, unknown>): never =>
  // The types are what is to be got around here.
  options as never

const notATime = [Number.NaN, -1, "-5 seconds", { seconds: Number.NaN }, { second: 5 }, "soon", {}]

describe("options that can't be right", () => {
  for (
    const key of [
      "connectTimeout",
      "handshakeTimeout",
      "requestTimeout",
      "closeTimeout",
      "channelTimeout",
      "credentialsRefreshMargin",
      "heartbeat"
    ]
  ) {
    it.effect(`of a connection are refused before it dials: ${key}`, () =>
      script((peer) =>
        Effect.gen(function*() {
          const isFinite = ["closeTimeout", "credentialsRefreshMargin", "heartbeat"].includes(key)
          const isPositive = ["connectTimeout", "handshakeTimeout", "requestTimeout"].includes(key)
          for (const value of [...notATime, ...isFinite ? [Infinity] : [], ...isPositive ? [0] : []]) {
            const dialling = yield* fork(dial(peer, untyped({ [key]: value })))
            const { description } = yield* reasonOf(dialling, "InvalidArgument")
            assert.isTrue(description.startsWith(key), `${JSON.stringify(value)}: ${description}`)
          }
          assert.strictEqual(peer.dials, 0)
        })
      ))
  }

  it.effect("of a connection are refused when their key is unknown, with the nearest one", () =>
    script((peer) =>
      Effect.gen(function*() {
        for (
          const [key, nearest] of [["heartBeat", "heartbeat"], ["virtualhost", "virtualHost"], ["vhots", ""], [
            "frame_max",
            "frameMax"
          ]]
        ) {
          const dialling = yield* fork(dial(peer, untyped({ [key]: 1 })))
          const { description } = yield* reasonOf(dialling, "InvalidArgument")
          assert.include(description, `there is no "${key}"`)
          assert.include(description, nearest === "" ? "there are credentials, " : `did you mean "${nearest}"?`)
        }
        assert.strictEqual(peer.dials, 0)
      })
    ))

  it.effect("of a publisher are refused before it opens a channel", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const all: ReadonlyArray<readonly [Record<string, unknown>, string]> = [
          ...notATime.flatMap((value) => [
            [{ sendTimeout: value }, "sendTimeout"] as const,
            [{ confirmTimeout: value }, "confirmTimeout"] as const
          ]),
          [{ confirmTimeout: 0 }, "confirmTimeout"],
          [{ maxInflight: 5 }, "did you mean \"maxInFlight\"?"],
          [{ whenBlocked: "block" }, "whenBlocked"],
          [{ default: {} }, "did you mean \"defaults\"?"],
          [{ defaults: { delivery_mode: 2 } }, "did you mean \"deliveryMode\"?"],
          [{ defaults: { messageId: "1" } }, "messageId"],
          [{ defaults: { deliveryMode: 2 } }, "deliveryMode"],
          [{ defaults: { mandatory: "yes" } }, "mandatory"]
        ]
        for (const [options, text] of all) {
          const publisher = yield* fork(AmqpPublisher.make(untyped(options)))
          assert.include((yield* reasonOf(publisher, "InvalidArgument")).description, text)
          const client = yield* fork(AmqpRpc.makeClient(untyped(options)))
          assert.include((yield* reasonOf(client, "InvalidArgument")).description, text)
        }
        yield* peer.expectNothing
      })
    ))

  it.effect("of telemetry are refused by what is made with them", () =>
    connected((peer) =>
      Effect.gen(function*() {
        for (
          const [options, text] of [[{ span: true }, "did you mean \"spans\"?"], [
            { relation: "child" },
            "relation"
          ]] as const
        ) {
          const making = AmqpPublisher.make().pipe(
            Effect.provideService(AmqpTelemetry.Telemetry, untyped(options))
          )
          const fiber = yield* fork(Effect.scoped(making))
          yield* peer.openChannel(1)
          yield* peer.answer(1, "confirm.select", { _tag: "confirm.select-ok" })
          yield* peer.closeChannel(1)
          assert.include((yield* reasonOf(fiber, "InvalidArgument")).description, text)
        }
      })
    ))

  const routes: ReadonlyArray<readonly [Record<string, unknown>, string]> = [
    [{ exchange: "", routingkey: "q" }, "did you mean \"routingKey\"?"],
    [{ exchange: "", routingKey: "q", immediate: true }, "there is no \"immediate\""],
    [{ exchange: "", routingKey: "q", mandatry: true }, "did you mean \"mandatory\"?"],
    [{ exchange: "" }, "routingKey"],
    [{ routingKey: "q" }, "exchange"],
    [{ exchange: null, routingKey: "q" }, "exchange"],
    [{ exchange: {}, routingKey: "q" }, "exchange"],
    [{ exchange: "", routingKey: 5 }, "routingKey"],
    [{ exchange: "", routingKey: "q", mandatory: "yes" }, "mandatory"]
  ]
  for (const traced of [false, true]) {
    it.effect(`of a publish are refused before it is sent${traced ? ", also with telemetry" : ""}`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const publisher = yield* openPublisher(peer)
          for (const [options, text] of routes) {
            const route: AmqpChannel.PublishOptions = untyped(options)
            const publish = yield* fork(publisher.publish(AmqpMessage.text("m"), route))
            const { cause } = yield* reasonOf(publish, "NotSent")
            assert.include(assertReason(cause, "InvalidArgument").description, text)
            const batch = yield* fork(publisher.publishAll([AmqpMessage.text("m")], route))
            assert.include((yield* failureOf(batch)).message, text)
            const program = yield* fork(AmqpChannel.run(AmqpChannel.publish(AmqpMessage.text("m"), route)))
            yield* peer.openChannel(2)
            yield* peer.closeChannel(2)
            assert.include((yield* reasonOf(program, "InvalidArgument")).description, text)
          }
          yield* peer.expectNothing
        })
      ).pipe(Effect.provideService(AmqpTelemetry.Telemetry, traced ? {} : undefined)))
  }

  it.effect("of a call are refused before it is sent", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { client } = yield* openClient(peer)
        for (const [options, text] of routes) {
          const call = yield* fork(client.call(AmqpMessage.text("m"), untyped(options)))
          const { cause } = yield* reasonOf(call, "NotSent")
          assert.include(assertReason(cause, "InvalidArgument").description, text)
        }
        yield* peer.expectNothing
      }), { server: direct }))
})

describe("the defaults of a publisher", () => {
  const defaults: AmqpPublisher.Defaults = {
    deliveryMode: "persistent",
    appId: "orders",
    mandatory: true,
    headers: { source: "default", version: 1 }
  }

  it.effect("are the properties of messages that have none themselves, and headers are merged", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { defaults, stamp: { messageId: true } })
        const publish = (message: AmqpMessage.AmqpMessage, options = toQueue) =>
          fork(publisher.publish(message, options))
        yield* publish(AmqpMessage.text("plain"))
        const plain = yield* peer.expectPublish("plain")
        assert.include(plain.properties, { deliveryMode: 2, appId: "orders" })
        assert.isString(plain.properties.messageId)
        assert.isTrue(plain.mandatory)
        assert.deepStrictEqual(plain.properties.headers, { source: "default", version: 1 })

        yield* publish(
          AmqpMessage.text("own", {
            deliveryMode: "transient",
            appId: undefined,
            headers: { source: "own", more: "x" }
          }),
          { ...toQueue, mandatory: false }
        )
        const own = yield* peer.expectPublish("own")
        assert.include(own.properties, { deliveryMode: 1, appId: "orders" })
        assert.isFalse(own.mandatory)
        assert.deepStrictEqual(own.properties.headers, { source: "own", version: 1, more: "x" })

        // As a message that was received with a delivery mode that no name stands for.
        yield* publish(AmqpMessage.text("raw", { raw: { deliveryMode: 7 }, headers: { more: "y" } }))
        const raw = yield* peer.expectPublish("raw")
        assert.strictEqual(raw.properties.deliveryMode, 7)
        assert.deepStrictEqual(raw.properties.headers, { source: "default", version: 1, more: "y" })
      })
    ))

  it.effect("are those of batches and of RPC calls too", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { defaults })
        const many = [AmqpMessage.text("1"), AmqpMessage.text("2")]
        yield* fork(publisher.publishAll(many, toQueue))
        yield* fork(publisher.publishAll(many, () => toQueue))
        for (const text of ["1", "2", "1", "2"]) {
          const { mandatory, properties } = yield* peer.expectPublish(text)
          assert.include(properties, { deliveryMode: 2, appId: "orders" })
          assert.isTrue(mandatory)
        }
        const opening = yield* fork(AmqpRpc.makeClient({ defaults: { deliveryMode: "persistent", mandatory: false } }))
        yield* peer.openChannel(2)
        yield* peer.answer(2, "confirm.select", { _tag: "confirm.select-ok" })
        const { consumerTag } = yield* peer.expect("basic.consume", 2)
        yield* peer.send(2, { _tag: "basic.consume-ok", consumerTag })
        const client = yield* resultOf(opening)
        yield* fork(client.call(AmqpMessage.text("?"), toQueue))
        const call = yield* peer.expectPublish("?")
        assert.strictEqual(call.properties.deliveryMode, 2)
        assert.strictEqual(call.properties.replyTo, "amq.rabbitmq.reply-to")
        assert.isFalse(call.mandatory)
      }), { server: direct }))

  it.effect("do not change with the object that they were given in", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const headers: Record<string, string> = { source: "before" }
        const publisher = yield* openPublisher(peer, 1, { defaults: { headers } })
        headers.source = "after"
        yield* publishText(peer, publisher, "1").pipe(Effect.asVoid, Effect.ignore)
        yield* fork(publisher.publish(AmqpMessage.text("2"), toQueue))
        assert.deepStrictEqual((yield* peer.expectPublish("2")).properties.headers, { source: "before" })
      })
    ))
})

describe("what a window counts", () => {
  const heavy = (text: string) => AmqpMessage.text(text, { headers: { filler: "x".repeat(1000) } })

  it.effect("is also the properties and headers of a publisher's messages", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { maxInFlightBytes: 2000 })
        const fibers = yield* Effect.forEach(["1", "2", "3"], (text) => fork(publisher.publish(heavy(text), toQueue)))
        yield* peer.expectPublish("1")
        yield* peer.expectPublish("2")
        yield* peer.expectNothing
        yield* peer.send(1, ack(1))
        yield* peer.expectPublish("3")
        yield* peer.send(1, ack(3, true))
        for (const fiber of fibers) yield* resultOf(fiber)
      })
    ))

  for (
    const [what, message] of [
      ["bodies", AmqpMessage.make(new Uint8Array(200_000))],
      ["headers", AmqpMessage.make(new Uint8Array(0), { headers: { filler: "x".repeat(100_000) } })]
    ] as const
  ) {
    it.effect(`is bytes in a confirmed program too: ${what}`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const program = AmqpChannel.forEach(Array.from({ length: 400 }), () => AmqpChannel.publish(message, toQueue))
          const fiber = yield* fork(AmqpChannel.confirmed(program))
          yield* peer.openChannel(1)
          yield* peer.answer(1, "confirm.select", { _tag: "confirm.select-ok" })
          let published = 0
          for (let round = 0; round < 400; round++) {
            const next = yield* peer.next
            if (next === undefined) break
            published++
          }
          const size = message.body.length + (message.properties.headers === undefined ? 0 : 100_000)
          assert.isAtLeast(published * size, 16 * 1024 * 1024)
          assert.isAtMost(published * size, 17 * 1024 * 1024)
          yield* assertWaits(fiber)
          yield* peer.send(1, ack(0, true))
          yield* rest
          assert.isDefined(yield* peer.next)
        })
      ))
  }

  it.effect("is how many methods of channel 0 wait while the handshake is busy", () =>
    script((peer) =>
      Effect.gen(function*() {
        const dialling = yield* fork(dial(peer, { credentials: Effect.never }))
        yield* peer.expectGreeting
        yield* peer.send(0, {
          _tag: "connection.start",
          versionMajor: 0,
          versionMinor: 9,
          serverProperties: {},
          mechanisms: "PLAIN",
          locales: "en_US"
        })
        for (let count = 0; count < 300; count++) yield* peer.send(0, { _tag: "connection.blocked", reason: "x" })
        assert.include((yield* reasonOf(dialling, "ProtocolViolation")).description, "channel 0")
      })
    ))
})

describe("the time for a confirm", () => {
  it.effect("is a minute by default, in which the broker's blocking of the connection does not count", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const first = yield* publishText(peer, publisher, "1")
        yield* TestClock.adjust("59 seconds")
        yield* assertWaits(first)
        yield* TestClock.adjust("1 seconds")
        assertReason((yield* reasonOf(first, "OutcomeUnknown")).cause, "ConfirmTimeout")
        const second = yield* publishText(peer, publisher, "2")
        yield* TestClock.adjust("30 seconds")
        yield* peer.send(0, { _tag: "connection.blocked", reason: "low on memory" })
        yield* TestClock.adjust("1 hours")
        yield* assertWaits(second)
        yield* peer.send(0, { _tag: "connection.unblocked" })
        yield* TestClock.adjust("29 seconds")
        yield* assertWaits(second)
        yield* TestClock.adjust("1 seconds")
        yield* reasonOf(second, "OutcomeUnknown")
      })
    ))

  it.effect("is without end when it is infinite", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { confirmTimeout: Infinity })
        const first = yield* publishText(peer, publisher, "1")
        yield* TestClock.adjust("10 days")
        yield* assertWaits(first)
        yield* peer.send(1, ack(1))
        yield* resultOf(first)
      })
    ))

  it.effect("begins by default for a large message when the last of it has left", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        yield* peer.stall
        const large = AmqpMessage.make(new Uint8Array(1024 * 1024))
        const publishing = yield* fork(publisher.publish(large, toQueue))
        for (let write = 0; write < 3; write++) {
          yield* TestClock.adjust("50 seconds")
          yield* assertWaits(publishing)
          yield* peer.takeOneWrite
          yield* rest
        }
        yield* peer.unstall
        yield* peer.expectPublish()
        yield* TestClock.adjust("59 seconds")
        yield* assertWaits(publishing)
        yield* TestClock.adjust("1 seconds")
        yield* reasonOf(publishing, "OutcomeUnknown")
      })
    ))
})
