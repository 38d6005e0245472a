import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import type { AmqpConnectionError } from "@effect-amqp/core/AmqpError"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpBroker from "@effect-amqp/core/testing/AmqpBroker"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { rest } from "../../support/scriptedPeer.ts"

type Broker = AmqpBroker.AmqpBroker["Service"]

/** Runs a test with a broker and a connection to it. */
const withBroker = <A, E>(
  body: (broker: Broker) => Effect.Effect<A, E, AmqpConnection.AmqpConnection | Scope.Scope>,
  options: Parameters<typeof AmqpBroker.layer>[0] = {}
): Effect.Effect<A, E | AmqpConnectionError> =>
  Effect.flatMap(AmqpBroker.AmqpBroker, body).pipe(Effect.scoped, Effect.provide(AmqpBroker.layer(options)))

const publish = (queue: string, ...texts: ReadonlyArray<string>) =>
  AmqpChannel.confirmed(
    AmqpChannel.forEach(texts, (text) => AmqpChannel.publish(AmqpMessage.text(text), AmqpQueue.route(queue)))
  )

const declared = (queue: string | AmqpQueue.AmqpQueue) => AmqpChannel.run(AmqpQueue.declare(queue))

const textsOf = (broker: Broker, queue: string) =>
  Effect.map(broker.messages(queue), (messages) => messages.map(({ text }) => text))

/** The only connection. */
const connectionOf = (broker: Broker) =>
  Effect.map(broker.connections, ([connection]) => connection ?? assert.fail("there is no connection"))

const reasonOf = <A>(error: { readonly reason: { readonly _tag: A } }): A => error.reason._tag

describe("who looks inside", () => {
  it.effect("sees queues, exchanges and bindings", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        const source = AmqpExchange.topic("source")
        yield* AmqpChannel.run(AmqpExchange.declare(source))
        yield* declared(
          AmqpQueue.classic("q", { maxLength: 5 }).pipe(AmqpQueue.withBinding({ exchange: source, routingKey: "a.#" }))
        )
        const [queue] = yield* broker.queues()
        assert.deepStrictEqual(queue, {
          name: "q",
          type: "classic",
          durable: true,
          autoDelete: false,
          exclusive: false,
          arguments: { "x-queue-type": "classic", "x-max-length": 5 },
          messagesReady: 0,
          messagesUnacknowledged: 0,
          consumers: 0
        })
        const bindings = yield* broker.bindings()
        assert.deepStrictEqual(bindings, [
          { source: "source", destination: "q", destinationType: "queue", routingKey: "a.#", arguments: {} }
        ])
        assert.deepInclude(yield* broker.exchanges(), {
          name: "source",
          type: "topic",
          durable: true,
          autoDelete: false,
          internal: false,
          arguments: {}
        })
        assert.deepStrictEqual(yield* broker.queues("elsewhere"), [])
      })
    ))

  it.effect("sees messages, in their order and as they were sent", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        yield* declared("q")
        yield* publish("q", "1", "2")
        yield* AmqpChannel.confirmed(AmqpChannel.publish(
          AmqpMessage.text("3", { headers: { wide: AmqpMessage.TypedField.int64(7) }, messageId: "m" }),
          AmqpQueue.route("q")
        ))
        assert.deepStrictEqual(yield* textsOf(broker, "q"), ["1", "2", "3"])
        const { properties, routingKey } = (yield* broker.messages("q"))[2]
        assert.strictEqual(routingKey, "q")
        assert.strictEqual(properties.messageId, "m")
        assert.deepStrictEqual(yield* broker.messages("nowhere"), [])
      })
    ))

  it.effect("sees the connection with its channels, and what a consumer has unsettled", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        yield* declared("q")
        yield* publish("q", "1", "2", "3")
        const consuming = yield* Effect.forkChild(
          AmqpConsumer.serve("q", () => Effect.never, { prefetch: 2, drainTimeout: 0 })
        )
        yield* rest
        const { channels, name, username, virtualHost } = yield* connectionOf(broker)
        assert.deepStrictEqual({ name, username, virtualHost }, { name: "mine", username: "guest", virtualHost: "/" })
        assert.deepInclude(channels.map(({ number: _, ...channel }) => channel), {
          mode: "Plain",
          consumers: 1,
          messagesUnacknowledged: 2
        })
        const [queue] = yield* broker.queues()
        assert.deepInclude(queue, { messagesReady: 1, messagesUnacknowledged: 2, consumers: 1 })
        yield* Effect.forkChild(Fiber.interrupt(consuming))
        yield* TestClock.adjust(100)
        assert.deepInclude((yield* broker.queues())[0], { messagesReady: 3, messagesUnacknowledged: 0, consumers: 0 })
      }), { connection: { connectionName: "mine" } }))

  it.effect("sees what was refused", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        yield* Effect.flip(AmqpChannel.run(AmqpQueue.declarePassive("nowhere")))
        assert.deepStrictEqual(
          (yield* broker.refusals).map(({ replyCode, replyText }) => `${replyCode} ${replyText}`),
          ["404 NOT_FOUND - no queue 'nowhere' in vhost '/'"]
        )
      })
    ))
})

describe("time", () => {
  it.effect("is that of the test: a message expires when the clock is adjusted", () =>
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

  it.effect("lets a queue expire that nobody uses", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        yield* declared(AmqpQueue.classic("q", { expires: "10 seconds" }))
        yield* TestClock.adjust("9 seconds")
        assert.lengthOf(yield* broker.queues(), 1)
        yield* TestClock.adjust("1 second")
        assert.lengthOf(yield* broker.queues(), 0)
      })
    ))

  it.effect("closes the channel of a consumer that keeps a message too long, counted from each message", () =>
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

  it.effect("keeps a connection alive by heartbeats for as long as both sides have any", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        yield* Effect.repeat(TestClock.adjust("5 seconds"), { times: 100 })
        assert.lengthOf(yield* broker.connections, 1)
        assert.strictEqual((yield* (yield* AmqpConnection.AmqpConnection).state)._tag, "Open")
      }), { heartbeat: "10 seconds" }))

  it.effect("ends a connection whose client is silent for two intervals", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        yield* (yield* connectionOf(broker)).stall("toBroker")
        // In the first interval it has said something: the handshake.
        yield* Effect.repeat(TestClock.adjust("1 second"), { times: 28 })
        assert.lengthOf(yield* broker.connections, 1)
        yield* TestClock.adjust("1 second")
        assert.lengthOf(yield* broker.connections, 0)
      }), { heartbeat: "10 seconds" }))
})

describe("faults of the network", () => {
  it.effect("a cut fails what is under way", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        const connection = yield* AmqpConnection.AmqpConnection
        yield* (yield* connectionOf(broker)).cut
        assert.strictEqual(reasonOf(yield* Effect.flip(connection.awaitClosed)), "SocketLost")
        assert.lengthOf(yield* broker.connections, 0)
      })
    ))

  it.effect("a cut after so many bytes comes then, to the byte", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        yield* declared("q")
        const connection = yield* connectionOf(broker)
        // Method, header and body frame of an unroutable message that is long enough.
        yield* connection.cutAfter("toBroker", 4_000)
        const publisher = yield* AmqpPublisher.make()
        let confirmed = 0
        const one = publisher.publish(AmqpMessage.text("x".repeat(400)), AmqpQueue.route("q"))
        const error = yield* Effect.flip(Effect.forever(Effect.tap(one, () => Effect.sync(() => confirmed++))))
        assert.strictEqual(reasonOf(error), "OutcomeUnknown")
        assert.lengthOf(yield* broker.messages("q"), confirmed)
        assert.strictEqual(confirmed, 8)
      })
    ))

  it.effect("a stall keeps back what either side sends until it ends", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        const connection = yield* connectionOf(broker)
        for (const direction of ["toClient", "toBroker"] as const) {
          yield* connection.stall(direction)
          const declaring = yield* Effect.forkChild(declared(direction))
          yield* rest
          assert.isUndefined(declaring.pollUnsafe())
          yield* connection.resume(direction)
          yield* Fiber.join(declaring)
        }
      })
    ))

  it.effect("latency is the time that bytes take, each way", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpBroker.make()
      const connecting = yield* Effect.forkChild(broker.connect({}, { latency: 30 }))
      yield* Effect.repeat(TestClock.adjust(30), { times: 10 })
      const connection = yield* Fiber.join(connecting)
      const declaring = yield* Effect.forkChild(
        Effect.provideService(declared("q"), AmqpConnection.AmqpConnection, connection)
      )
      // Two round trips: the channel is opened first.
      for (const millis of [30, 30, 30, 29]) yield* TestClock.adjust(millis)
      assert.isUndefined(declaring.pollUnsafe())
      yield* TestClock.adjust(1)
      yield* Fiber.join(declaring)
      yield* Effect.forkChild(Effect.repeat(TestClock.adjust(30), { times: 4 }))
    }))

  it.effect("bytes may come one by one", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        yield* declared("q")
        yield* publish("q", "x".repeat(1000))
        const text = yield* AmqpChannel.run(
          AmqpQueue.get("q", ({ text }) => AmqpChannel.succeed(AmqpDelivery.as(AmqpDelivery.ack, text)))
        )
        assert.isTrue(text._tag === "Some" && text.value.length === 1000)
        assert.deepStrictEqual(yield* broker.messages("q"), [])
      }), { network: { readSize: 1 } }))

  it.effect("connections are refused while they are to be", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpBroker.make()
      yield* broker.refuseConnections(true)
      assert.strictEqual(reasonOf(yield* Effect.flip(broker.connect())), "ConnectFailed")
      yield* broker.refuseConnections(false)
      yield* broker.connect()
    }))

  it.effect("bytes of anything end the connection", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        const { awaitClosed } = yield* AmqpConnection.AmqpConnection
        yield* (yield* connectionOf(broker)).sendBytes(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9))
        assert.strictEqual(reasonOf(yield* Effect.flip(awaitClosed)), "ProtocolViolation")
        yield* rest
        assert.lengthOf(yield* broker.connections, 0)
      })
    ))
})

describe("faults of the broker", () => {
  it.effect("a closed connection says why", () =>
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

  it.effect("a closed channel fails its consumer and gives back its messages", () =>
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

  it.effect("a broker without room holds up whoever published, and nobody who consumes", () =>
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

  it.effect("a publish may be nacked, or left without an answer", () =>
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

  it.effect("a publish is not answered within the step that makes it, so that nothing of others comes in between", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        yield* declared("q")
        yield* broker.confirmWith(({ text }) => text.startsWith("held") ? "hold" : "ack")
        const publisher = yield* AmqpPublisher.make({ confirmTimeout: "1 second" })
        // The last one is large enough to leave at once, and the one before it with it. `Effect.forEach` would take an element
        // twice if another one ended while it is begun.
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

  it.effect("a publish may be answered after later ones", () =>
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
        const answered: Array<string> = []
        yield* Effect.forEach(["1", "2", "3"], (text) =>
          publisher.publish(AmqpMessage.text(text), AmqpQueue.route("q")).pipe(
            Effect.match({
              onSuccess: () => `${text} acked`,
              onFailure: (error) => `${text} ${reasonOf(error)}`
            }),
            Effect.flatMap((answer) => Effect.sync(() => answered.push(answer))),
            Effect.forkChild
          ))
        yield* rest
        assert.deepStrictEqual(answered, ["3 acked"])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(answered, ["3 acked", "2 acked"])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(answered, ["3 acked", "2 acked", "1 Nacked"])
      })
    ))
})

describe("users and virtual hosts", () => {
  const password = Redacted.make("secret")
  const nothing = /^$/

  it.effect("are those that the broker is made with", () =>
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

  it.effect("come and go", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpBroker.make()
      yield* broker.setUser("anna", { password })
      yield* broker.addVirtualHost("shop")
      const { awaitClosed } = yield* broker.connect({
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

describe("options and arguments out of their range are defects that name them", () => {
  const untyped = (options: unknown) => options as AmqpBroker.Options

  const defectOf = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>) =>
    Effect.map(
      Effect.exit(Effect.scoped(effect)),
      (exit) => Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : assert.fail("it is taken")
    )

  it.effect.each<[string, AmqpBroker.Options]>([
    ["frameMax", { frameMax: 4095 }],
    ["frameMax", { frameMax: 2 ** 32 }],
    ["channelMax", { channelMax: 65_536 }],
    ["channelMax", { channelMax: -1 }],
    ["heartbeat", { heartbeat: "1500 millis" }],
    ["heartbeat", { heartbeat: "65536 seconds" }],
    ["maxMessageSize", { maxMessageSize: 1.5 }],
    ["consumerTimeout", { consumerTimeout: 0 }],
    ["virtualHosts", { virtualHosts: ["x".repeat(256)] }],
    // What types rule out, and JavaScript or a spread passes.
    ["heartbeat", { heartbeat: Number.NaN }],
    ["consumerTimeout", { consumerTimeout: Number.NaN }],
    ["serverProperties", untyped({ serverProperties: new Set() })],
    [`did you mean "version"`, untyped({ verison: "4.3" })],
    ["must be an object", untyped(null)],
    [`did you mean "password"`, untyped({ users: { ann: { pasword: Redacted.make("x") } } })],
    ["a Redacted", untyped({ users: { ann: { password: "x" } } })],
    [
      `did you mean "configure"`,
      untyped({ users: { ann: { password: Redacted.make("x"), permissions: { "/": { configre: /x/ } } } } })
    ],
    [
      "write: must be a regular expression",
      untyped({
        users: {
          ann: { password: Redacted.make("x"), permissions: { "/": { configure: /x/, write: "x", read: /x/ } } }
        }
      })
    ]
  ])("of a broker: %s", ([name, options]) =>
    Effect.gen(function*() {
      assert.include(yield* defectOf(AmqpBroker.make(options)), name)
    }))

  it.effect.each<[string, AmqpBroker.NetworkOptions]>([
    ["readSize", { readSize: 0 }],
    ["cutAfterSent", { cutAfterSent: -1 }],
    ["cutAfterReceived", { cutAfterReceived: Number.NaN }],
    ["latency", { latency: "Infinity" }],
    ["latency", { latency: Number.NaN }],
    [`did you mean "latency"`, untyped({ latncy: 5 }) as AmqpBroker.NetworkOptions]
  ])("of the network: %s", ([name, network]) =>
    Effect.gen(function*() {
      const broker = yield* AmqpBroker.make()
      assert.include(yield* defectOf(broker.connect({}, network)), name)
    }))

  it.effect("of what is done to a connection, which goes on as if nothing had been", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        const { close, closeChannel, cutAfter } = yield* connectionOf(broker)
        yield* declared("q")
        assert.include(yield* defectOf(close(65_536, "")), "replyCode")
        assert.include(yield* defectOf(closeChannel(1, -1, "")), "replyCode")
        assert.include(yield* defectOf(cutAfter("toBroker", Number.NaN)), "bytes")
        yield* publish("q", "x")
        assert.deepStrictEqual(yield* textsOf(broker, "q"), ["x"])
      })
    ))

  it.effect("but long texts of the broker are cut to what AMQP takes", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        const connection = yield* AmqpConnection.AmqpConnection
        yield* declared("q")
        yield* publish("q", "x")
        yield* broker.block("é".repeat(1000))
        yield* rest
        const state = yield* connection.state
        assert.strictEqual(state._tag === "Blocked" ? state.reason : undefined, `${"é".repeat(126)}...`)
        yield* broker.unblock
      })
    ))
})

describe("the end of a broker", () => {
  it.effect("resets its connections, and lets nobody in", () =>
    Effect.gen(function*() {
      const [broker, connection] = yield* Effect.scoped(Effect.gen(function*() {
        const broker = yield* AmqpBroker.make()
        return [broker, yield* broker.connect()] as const
      }))
      assert.strictEqual(reasonOf(yield* Effect.flip(connection.awaitClosed)), "ConnectionClosed")
      assert.strictEqual(reasonOf(yield* Effect.flip(Effect.scoped(broker.connect()))), "ConnectFailed")
    }))
})
