import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import type * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpBroker from "@effect-amqp/core/testing/AmqpBroker"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { singleSession } from "../../support/recovery.ts"
import { rest } from "../../support/scriptedPeer.ts"
import { connectionOf, declared, publish, reasonOf, textsOf, withBroker } from "./support.ts"

describe("the clock of a broker", () => {
  it.effect("is the test clock: a message expires when it is adjusted", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        yield* declared(AmqpQueue.classic("dead"))
        yield* declared(AmqpQueue.classic("q", {
          messageTtl: "1 minute",
          deadLetterExchange: "",
          deadLetterRoutingKey: "dead"
        }))
        yield* publish("q", "late")
        yield* TestClock.adjust("59 seconds")
        assert.deepStrictEqual(yield* textsOf(broker, "q"), ["late"])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* textsOf(broker, "q"), [])
        assert.deepStrictEqual(yield* textsOf(broker, "dead"), ["late"])
      })
    ))

  it.effect("expires an unused queue", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        yield* declared(AmqpQueue.classic("q", { expires: "10 seconds" }))
        yield* TestClock.adjust("9 seconds")
        assert.lengthOf(yield* broker.queues(), 1)
        yield* TestClock.adjust("1 second")
        assert.lengthOf(yield* broker.queues(), 0)
      })
    ))

  it.effect("closes the channel of a consumer that keeps a message too long, counted for each message", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        yield* declared("q")
        yield* publish("q", "first")
        const consumer = yield* AmqpConsumer.make("q")
        const received: Array<AmqpDelivery.AmqpDelivery> = []
        const consuming = yield* Effect.forkChild(
          Stream.runForEach(consumer.stream, (delivery) => Effect.sync(() => void received.push(delivery)))
        )
        yield* TestClock.adjust("50 seconds")
        assert.isTrue(yield* received[0].ack)
        yield* publish("q", "second")
        // The minute of the first ends, and then that of the second.
        yield* TestClock.adjust("59 seconds")
        assert.isUndefined(consuming.pollUnsafe())
        yield* TestClock.adjust("1 second")
        const error = yield* Effect.flip(Fiber.join(consuming))
        if (error._tag !== "AmqpChannelError") return assert.fail(error._tag)
        assert.include(error.reason.message, "delivery acknowledgement on channel")
        assert.strictEqual(reasonOf(error), "PreconditionFailed")
        assert.deepStrictEqual(yield* textsOf(broker, "q"), ["second"])
      }), { consumerTimeout: "1 minute" }))

  it.effect("keeps a connection open while both sides send heartbeats", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        yield* Effect.repeat(TestClock.adjust("5 seconds"), { times: 100 })
        assert.lengthOf(yield* broker.connections, 1)
        assert.strictEqual((yield* (yield* AmqpConnection.AmqpConnection).state)._tag, "Open")
      }), { heartbeat: "10 seconds" }))

  it.effect("closes a connection whose client is silent for two intervals", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        yield* (yield* connectionOf(broker)).stall("toBroker")
        // In the first interval it has sent the handshake.
        yield* Effect.repeat(TestClock.adjust("1 second"), { times: 28 })
        assert.lengthOf(yield* broker.connections, 1)
        yield* TestClock.adjust("1 second")
        assert.lengthOf(yield* broker.connections, 0)
      }), { heartbeat: "10 seconds" }))
})

describe("faults of the broker", () => {
  it.effect("a closed connection fails with the broker's reason", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        const { awaitClosed } = yield* AmqpConnection.AmqpConnection
        yield* (yield* connectionOf(broker)).close(320, "CONNECTION_FORCED - maintenance")
        const { message, reason } = yield* Effect.flip(awaitClosed)
        assert.strictEqual(reason._tag, "ConnectionForced")
        assert.include(message, "maintenance")
        yield* rest
        assert.lengthOf(yield* broker.connections, 0)
      })
    ))

  it.effect("a closed channel fails its consumer and requeues its messages", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        yield* declared("q")
        yield* publish("q", "1")
        const consuming = yield* Effect.forkChild(Stream.runDrain(AmqpConsumer.stream("q")))
        yield* rest
        const connection = yield* connectionOf(broker)
        const channel = connection.channels.find(({ consumers }) => consumers === 1)
        yield* connection.closeChannel(channel?.number ?? 0, 406, "PRECONDITION_FAILED - too slow")
        const error = yield* Effect.flip(Fiber.join(consuming))
        assert.isTrue(error._tag === "AmqpChannelError" && error.reason._tag === "PreconditionFailed")
        const [{ redelivered, text }] = yield* broker.messages("q")
        assert.deepStrictEqual({ redelivered, text }, { redelivered: true, text: "1" })
      })
    ))

  it.effect("a deleted queue cancels its consumer", () =>
    withBroker(() =>
      Effect.gen(function*() {
        yield* declared("q")
        const consuming = yield* Effect.forkChild(Stream.runDrain(AmqpConsumer.stream("q")))
        yield* rest
        yield* AmqpChannel.run(AmqpQueue.delete("q"))
        assert.strictEqual((yield* Effect.flip(Fiber.join(consuming)))._tag, "AmqpConsumerCancelled")
      })
    ))

  it.effect("a blocked broker holds up connections that publish, and no others", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        const connection = yield* AmqpConnection.AmqpConnection
        const other = yield* broker.connect()
        yield* declared("q")
        yield* publish("q", "1")
        yield* broker.block("low on memory")
        yield* rest
        assert.deepInclude(yield* connection.state, { _tag: "Blocked", reason: "low on memory" })
        assert.strictEqual((yield* other.state)._tag, "Open")
        const publishing = yield* Effect.forkChild(publish("q", "2"))
        yield* rest
        assert.deepStrictEqual(yield* textsOf(broker, "q"), ["1"])
        yield* broker.unblock
        yield* Fiber.join(publishing)
        assert.deepStrictEqual(yield* textsOf(broker, "q"), ["1", "2"])
        assert.strictEqual((yield* connection.state)._tag, "Open")
      })
    ))

  it.effect("a publish can be nacked, or left without a confirm", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        yield* declared("q")
        yield* broker.confirmWith(({ text }) => text === "no" ? "nack" : text === "hm" ? "hold" : "ack")
        const publisher = yield* AmqpPublisher.make({ confirmTimeout: "5 seconds" })
        const send = (text: string) => publisher.publish(AmqpMessage.text(text), AmqpQueue.route("q"))
        const holding = yield* Effect.forkChild(Effect.flip(send("hm")))
        assert.strictEqual(reasonOf(yield* Effect.flip(send("no"))), "Nacked")
        yield* send("yes")
        assert.isUndefined(holding.pollUnsafe())
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual(reasonOf(yield* Fiber.join(holding)), "OutcomeUnknown")
      })
    ))

  it.effect("a publish is not confirmed within its own step, so that no other fiber runs in it", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        yield* declared("q")
        yield* broker.confirmWith(({ text }) => text.startsWith("held") ? "hold" : "ack")
        const publisher = yield* AmqpPublisher.make({ confirmTimeout: "1 second" })
        // The last one is large enough to be written at once, together with the one before it. `Effect.forEach` would take an
        // element twice if another one ended while it starts.
        const texts = ["held 1", "held 2", "small", "large".padEnd(40_000)]
        const publishing = yield* Effect.forkChild(Effect.forEach(
          texts,
          (text) => Effect.ignore(publisher.publish(AmqpMessage.text(text), AmqpQueue.route("q"))),
          { concurrency: 2 }
        ))
        yield* rest
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(publishing)
        assert.deepStrictEqual(yield* textsOf(broker, "q"), texts)
      })
    ))

  it.effect("a publish can be confirmed after later ones", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        yield* declared("q")
        yield* broker.confirmWith(({ text }) =>
          text === "1"
            ? { confirmation: "nack", after: "2 seconds" }
            : text === "2"
            ? { confirmation: "ack", after: "1 second" }
            : "ack"
        )
        const publisher = yield* AmqpPublisher.make()
        const confirmed: Array<string> = []
        yield* Effect.forEach(["1", "2", "3"], (text) =>
          publisher.publish(AmqpMessage.text(text), AmqpQueue.route("q")).pipe(
            Effect.match({
              onSuccess: () => `${text} acked`,
              onFailure: (error) => `${text} ${reasonOf(error)}`
            }),
            Effect.flatMap((result) => Effect.sync(() => confirmed.push(result))),
            Effect.forkChild
          ))
        yield* rest
        assert.deepStrictEqual(confirmed, ["3 acked"])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(confirmed, ["3 acked", "2 acked"])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(confirmed, ["3 acked", "2 acked", "1 Nacked"])
      })
    ))
})

describe("users and virtual hosts", () => {
  const password = Redacted.make("secret")
  const nothing = /^$/

  it.effect("are those of the broker's options", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpBroker.make({
        users: {
          anna: { password },
          ben: { password, permissions: { shop: { configure: nothing, write: /^orders$/, read: /./ } } }
        },
        virtualHosts: ["/", "shop"]
      })
      const as = (username: string, virtualHost?: string, secret = password) =>
        broker.connect({ credentials: { username, password: secret }, virtualHost })
      yield* as("anna")
      yield* as("anna", "shop")
      assert.strictEqual(reasonOf(yield* Effect.flip(as("anna", "/", Redacted.make("guess")))), "AuthenticationFailed")
      assert.strictEqual(reasonOf(yield* Effect.flip(as("guest"))), "AuthenticationFailed")
      assert.include((yield* Effect.flip(as("anna", "elsewhere"))).message, "vhost elsewhere not found")
      assert.include((yield* Effect.flip(as("ben"))).message, "access to vhost '/' refused for user 'ben'")
      const ben = yield* as("ben", "shop")
      const refused = yield* Effect.flip(
        Effect.provideService(declared("mine"), AmqpConnection.AmqpConnection, ben)
      )
      assert.include(refused.message, "access to queue 'mine' in vhost 'shop' refused for user 'ben'")
    }))

  it.effect("can be added and deleted", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpBroker.make()
      yield* broker.setUser("anna", { password })
      yield* broker.addVirtualHost("shop")
      const { awaitClosed } = yield* broker.connect({
        ...singleSession,
        credentials: { username: "anna", password },
        virtualHost: "shop"
      })
      yield* broker.deleteUser("anna")
      const again = broker.connect({ credentials: { username: "anna", password } })
      assert.strictEqual(reasonOf(yield* Effect.flip(again)), "AuthenticationFailed")
      yield* broker.deleteVirtualHost("shop")
      assert.strictEqual(reasonOf(yield* Effect.flip(awaitClosed)), "ConnectionForced")
    }))
})

describe("the end of a broker", () => {
  it.effect("closes its connections, and refuses new ones", () =>
    Effect.gen(function*() {
      const [broker, connection] = yield* Effect.scoped(Effect.gen(function*() {
        const broker = yield* AmqpBroker.make()
        return [broker, yield* broker.connect(singleSession)] as const
      }))
      assert.strictEqual(reasonOf(yield* Effect.flip(connection.awaitClosed)), "ConnectionClosed")
      assert.strictEqual(reasonOf(yield* Effect.flip(Effect.scoped(broker.connect()))), "ConnectFailed")
    }))
})
