import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpRpc from "@effect-amqp/core/AmqpRpc"
import * as AmqpTelemetry from "@effect-amqp/core/AmqpTelemetry"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import {
  assertReason,
  connected,
  dial,
  failureOf,
  fork,
  openPublisher,
  publishText,
  reasonOf,
  resultOf,
  script,
  toQueue
} from "../../support/scriptedPeer.ts"
import { direct, openClient } from "../../support/scriptedRpc.ts"

/** Options as untyped code can pass them. */
const untyped = (options: Record<string, unknown>): never =>
  // `never` is assignable to every options type.
  options as never

const notATime = [Number.NaN, -1, "-5 seconds", { seconds: Number.NaN }, { second: 5 }, "soon", {}]

describe("invalid options", () => {
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
    it.effect(`of a connection are refused before it connects: ${key}`, () =>
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

  it.effect("of a connection with an unknown key are refused, and the error suggests the nearest key", () =>
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

  it.effect("of telemetry fail the publisher that is made with them", () =>
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

  it.effect("fill in the properties that a message lacks, and headers are merged", () =>
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

        // Like a message that was received with a delivery mode that has no name.
        yield* publish(AmqpMessage.text("raw", { raw: { deliveryMode: 7 }, headers: { more: "y" } }))
        const raw = yield* peer.expectPublish("raw")
        assert.strictEqual(raw.properties.deliveryMode, 7)
        assert.deepStrictEqual(raw.properties.headers, { source: "default", version: 1, more: "y" })
      })
    ))

  it.effect("apply to batches and RPC calls too", () =>
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

  it.effect("do not change with the object that was passed", () =>
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
