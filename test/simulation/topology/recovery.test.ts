import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpTopology from "@effect-amqp/core/AmqpTopology"
import * as AmqpBroker from "@effect-amqp/core/testing/AmqpBroker"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"

type Broker = AmqpBroker.AmqpBroker["Service"]

/** Runs a test with a broker and a connection that recovers. */
const recovering = <A, E>(
  body: (broker: Broker) => Effect.Effect<A, E, AmqpConnection.AmqpConnection | Scope.Scope>
) =>
  Effect.gen(function*() {
    const broker = yield* AmqpBroker.make()
    const connection = yield* broker.connect({ connectionName: "app" })
    return yield* Effect.provideService(body(broker), AmqpConnection.AmqpConnection, connection)
  }).pipe(Effect.scoped)

/** Builds the layer of a topology for as long as the scope of the test, or the given one. */
const declaring = <R = never>(topology: AmqpTopology.AmqpTopology, options?: AmqpTopology.LayerOptions<R>) =>
  Effect.flatMap(Effect.scope, (scope) => Layer.buildWithScope(AmqpTopology.layer(topology, options), scope))

const connectionOf = (broker: Broker) =>
  Effect.map(
    broker.connections,
    (all) => all.find(({ name }) => name === "app") ?? assert.fail("the client is not connected")
  )

/** Cuts the connection, and waits until it is open again. */
const loseConnection = (broker: Broker) =>
  Effect.gen(function*() {
    const { cut } = yield* connectionOf(broker)
    yield* cut
    yield* awaitState("Recovering")
    yield* TestClock.adjust("30 seconds")
    yield* awaitState("Open")
  })

const awaitState = (tag: AmqpConnection.State["_tag"]) =>
  Effect.flatMap(
    AmqpConnection.AmqpConnection,
    ({ stateChanges }) => Stream.runDrain(Stream.takeUntil(stateChanges, ({ _tag }) => _tag === tag))
  )

/** Uses another connection than that of the test. */
const asOther = <A, E>(broker: Broker, effect: Effect.Effect<A, E, AmqpConnection.AmqpConnection>) =>
  Effect.scoped(
    Effect.flatMap(broker.connect({ connectionName: "other" }), (connection) =>
      Effect.provideService(effect, AmqpConnection.AmqpConnection, connection))
  )

/** Cuts the connection, and declares its exclusive queue on another one, which holds the queue until the scope closes. */
const loseQueue = (broker: Broker, queue: AmqpQueue.AmqpQueue) =>
  Effect.gen(function*() {
    const { cut } = yield* connectionOf(broker)
    yield* broker.refuseConnections(true)
    yield* cut
    yield* awaitState("Recovering")
    yield* broker.refuseConnections(false)
    const other = yield* broker.connect({ connectionName: "other" })
    yield* Effect.provideService(AmqpChannel.run(AmqpQueue.declare(queue)), AmqpConnection.AmqpConnection, other)
  })

const queueNames = (broker: Broker) =>
  Effect.map(broker.queues(), (queues) => queues.map(({ name }) => name).toSorted())

const exclusive = (name: string) => AmqpQueue.classic(name, { exclusive: true })

describe("a topology on a new connection", () => {
  it.effect("is declared before programs that wait for the connection use it", () =>
    recovering((broker) =>
      Effect.gen(function*() {
        const events = AmqpExchange.topic("events")
        const mine = exclusive("mine").pipe(AmqpQueue.withBinding({ exchange: events, routingKey: "#" }))
        yield* declaring(AmqpTopology.make(mine))
        const { cut } = yield* connectionOf(broker)
        yield* cut
        yield* awaitState("Recovering")
        const waiting = yield* Effect.forkScoped(AmqpChannel.run(AmqpQueue.declarePassive("mine")), {
          startImmediately: true
        })
        yield* TestClock.adjust("30 seconds")
        yield* Effect.yieldNow
        assert.deepStrictEqual(waiting.pollUnsafe()?._tag, "Success")
        assert.include((yield* broker.bindings()).map(({ destination }) => destination), "mine")
      })
    ))

  it.effect("B5: has a new name for each of its server-named queues", () =>
    recovering((broker) =>
      Effect.gen(function*() {
        const events = AmqpExchange.fanout("events")
        yield* declaring(AmqpTopology.make(AmqpQueue.serverNamed().pipe(AmqpQueue.withBinding({ exchange: events }))))
        const [before] = yield* queueNames(broker)
        yield* loseConnection(broker)
        const [after, ...others] = yield* queueNames(broker)
        assert.notStrictEqual(after, before)
        assert.deepStrictEqual(others, [])
        assert.include((yield* broker.bindings()).map(({ destination }) => destination), after)
      })
    ))

  it.effect("B7: contains nothing that a program declared in another way, and nothing of a layer that was released", () =>
    recovering((broker) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        yield* Layer.buildWithScope(AmqpTopology.layer(AmqpTopology.make(AmqpQueue.classic("released"))), scope)
        yield* declaring(AmqpTopology.make(AmqpQueue.classic("kept")))
        yield* AmqpChannel.run(AmqpQueue.declare(AmqpQueue.classic("by hand")))
        yield* Scope.close(scope, yield* Effect.exit(Effect.void))
        yield* asOther(
          broker,
          AmqpChannel.run(AmqpChannel.forEach(["released", "kept", "by hand"], (name) => AmqpQueue.delete(name)))
        )
        yield* loseConnection(broker)
        assert.deepStrictEqual(yield* queueNames(broker), ["kept"])
      })
    ))

  it.effect("B8, B9: reports a queue that exists with other arguments, and declares the others", () =>
    recovering((broker) =>
      Effect.gen(function*() {
        const failures: Array<AmqpTopology.DeclareFailure> = []
        const names = ["a", "b", "c"]
        yield* declaring(AmqpTopology.make(...names.map((name) => AmqpQueue.classic(name))), {
          onFailure: (failure) => Effect.sync(() => failures.push(failure))
        })
        yield* asOther(
          broker,
          AmqpChannel.run(AmqpChannel.andThen(
            AmqpChannel.forEach(names, (name) => AmqpQueue.delete(name)),
            AmqpQueue.declare(AmqpQueue.classic("b", { maxLength: 1 }))
          ))
        )
        yield* loseConnection(broker)
        assert.deepStrictEqual(yield* queueNames(broker), ["a", "b", "c"])
        assert.deepStrictEqual(
          failures.map(({ description, error, willRetry }) => [description.name, error.reason._tag, willRetry]),
          [["b", "PreconditionFailed", false]]
        )
        yield* TestClock.adjust("10 minutes")
        assert.strictEqual(failures.length, 1)
      })
    ))

  it.effect("B8: logs what the broker refuses, if there is no other report", () => {
    const lines: Array<string> = []
    const logger = Logger.make(({ logLevel, message }) => void lines.push(`${logLevel} ${String(message)}`))
    return recovering((broker) =>
      Effect.gen(function*() {
        yield* declaring(AmqpTopology.make(AmqpExchange.topic("events")))
        yield* asOther(
          broker,
          AmqpChannel.run(AmqpChannel.andThen(
            AmqpExchange.delete("events"),
            AmqpExchange.declare(AmqpExchange.fanout("events"))
          ))
        )
        yield* loseConnection(broker)
        const [refused] = lines.filter((line) => line.includes("can't be declared"))
        assert.match(
          refused ?? "",
          /^Error Exchange "events" can't be declared on the new AMQP connection\. .*PRECONDITION_FAILED/
        )
      })
    ).pipe(Effect.provide(Logger.layer([logger])))
  })

  it.effect("B6: is declared in the background while an exclusive queue is held, and does not delay the rest", () =>
    recovering((broker) =>
      Effect.gen(function*() {
        const failures: Array<readonly [string, boolean]> = []
        yield* declaring(AmqpTopology.make(exclusive("mine"), AmqpQueue.classic("shared")), {
          onFailure: ({ description, error, willRetry }) =>
            Effect.sync(() => failures.push([`${description.name} ${error.reason._tag}`, willRetry])),
          schedule: Schedule.spaced("1 second")
        })
        const holder = yield* Scope.make()
        yield* Scope.provide(loseQueue(broker, exclusive("mine")), holder)
        yield* TestClock.adjust("40 seconds")
        yield* awaitState("Open")
        assert.deepStrictEqual(failures, [["mine ResourceLocked", true]])
        assert.include(yield* queueNames(broker), "shared")
        yield* Scope.close(holder, yield* Effect.exit(Effect.void))
        assert.notInclude(yield* queueNames(broker), "mine")
        yield* TestClock.adjust("2 seconds")
        assert.include(yield* queueNames(broker), "mine")
      })
    ))

  it.effect("B6: follows at most 2 seconds after an exclusive queue is free, and its consumer too, however long that took", () =>
    recovering((broker) =>
      Effect.gen(function*() {
        const mine = exclusive("mine")
        yield* declaring(AmqpTopology.make(mine))
        yield* AmqpConsumer.make(mine)
        const holder = yield* Scope.make()
        yield* Scope.provide(loseQueue(broker, mine), holder)
        yield* TestClock.adjust("10 minutes")
        yield* awaitState("Open")
        yield* Scope.close(holder, yield* Effect.exit(Effect.void))
        assert.notInclude(yield* queueNames(broker), "mine")
        yield* TestClock.adjust("2 seconds")
        const queues = yield* broker.queues()
        assert.deepStrictEqual(queues.map(({ consumers, name }) => [name, consumers]), [["mine", 1]])
      })
    ))

  it.effect("does not wait for a report, which may use the connection", () =>
    recovering((broker) =>
      Effect.gen(function*() {
        const connection = yield* AmqpConnection.AmqpConnection
        const replaceQueue = AmqpChannel.run(
          AmqpChannel.andThen(AmqpQueue.delete("q"), AmqpQueue.declare(AmqpQueue.classic("q")))
        )
        yield* declaring(AmqpTopology.make(AmqpQueue.classic("q")), {
          onFailure: () => Effect.orDie(Effect.provideService(replaceQueue, AmqpConnection.AmqpConnection, connection))
        })
        yield* asOther(
          broker,
          AmqpChannel.run(
            AmqpChannel.andThen(AmqpQueue.delete("q"), AmqpQueue.declare(AmqpQueue.classic("q", { maxLength: 1 })))
          )
        )
        const { cut } = yield* connectionOf(broker)
        yield* cut
        yield* awaitState("Recovering")
        yield* TestClock.adjust("1 second")
        yield* awaitState("Open")
        // Fails if it still exists with the other arguments.
        yield* asOther(broker, AmqpChannel.run(AmqpQueue.declare(AmqpQueue.classic("q"))))
      })
    ))

  it.effect("reports a part that is not tried again because the schedule died", () => {
    const lines: Array<string> = []
    const logger = Logger.make(({ logLevel, message }) => void lines.push(`${logLevel} ${String(message)}`))
    return recovering((broker) =>
      Effect.gen(function*() {
        const failures: Array<boolean> = []
        yield* declaring(AmqpTopology.make(exclusive("mine")), {
          onFailure: ({ willRetry }) => Effect.sync(() => failures.push(willRetry)),
          schedule: Schedule.modifyDelay(Schedule.forever, () => Effect.die(new Error("a bug")))
        })
        yield* loseQueue(broker, exclusive("mine"))
        yield* TestClock.adjust("40 seconds")
        yield* awaitState("Open")
        assert.deepStrictEqual(failures, [true, false])
        assert.lengthOf(lines.filter((line) => line.startsWith("Error ")), 1)
      })
    ).pipe(Effect.provide(Logger.layer([logger])))
  })

  it.effect("declares the exchanges of all topologies before the bindings of any", () =>
    recovering((broker) =>
      Effect.gen(function*() {
        const exchanges = Array.from({ length: 5 }, (_, index) => AmqpExchange.fanout(`e${index}`, { durable: false }))
        const bound = AmqpExchange.fanout("bound", { durable: false }).pipe(
          AmqpExchange.withBinding({ source: "e3" })
        )
        const queue = exclusive("q").pipe(AmqpQueue.withBinding({ exchange: "e4" }))
        yield* declaring(AmqpTopology.make(...exchanges))
        const failures: Array<string> = []
        const onFailure = ({ error }: AmqpTopology.DeclareFailure) => Effect.sync(() => failures.push(error.message))
        yield* declaring(AmqpTopology.make(queue, bound), { onFailure })
        yield* asOther(
          broker,
          AmqpChannel.run(AmqpChannel.forEach([...exchanges, bound], ({ name }) => AmqpExchange.delete(name)))
        )
        yield* loseConnection(broker)
        assert.deepStrictEqual(failures, [])
        const bindings = yield* broker.bindings()
        assert.includeMembers(bindings.map(({ destination, source }) => `${source} ${destination}`), [
          "e4 q",
          "e3 bound"
        ])
      })
    ))

  it.effect("B12: is declared on a few channels at a time, however large it is", () =>
    recovering((broker) =>
      Effect.gen(function*() {
        const names = Array.from({ length: 1_000 }, (_, index) => `q${String(index).padStart(4, "0")}`)
        yield* declaring(AmqpTopology.make(...names.map(exclusive)))
        let most = 0
        const watching = Effect.map(broker.connections, (connections) => {
          for (const { channels } of connections) most = Math.max(most, channels.length)
        })
        yield* Effect.forkScoped(Effect.forever(Effect.andThen(watching, Effect.yieldNow), { disableYield: true }))
        yield* loseConnection(broker)
        assert.deepStrictEqual(yield* queueNames(broker), names)
        assert.isAtLeast(most, 2)
        assert.isAtMost(most, 8)
      })
    ))

  it.effect("is not declared by a connection that does not recover", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpBroker.make()
      const connection = yield* broker.connect({ connectionName: "app", recovery: false })
      yield* Effect.provideService(
        declaring(AmqpTopology.make(exclusive("mine"))),
        AmqpConnection.AmqpConnection,
        connection
      )
      const { cut } = yield* connectionOf(broker)
      yield* cut
      assert.strictEqual((yield* Effect.flip(connection.awaitClosed)).reason._tag, "SocketLost")
      yield* TestClock.adjust("10 minutes")
      assert.deepStrictEqual(yield* queueNames(broker), [])
    }))
})

describe("the layer of a topology", () => {
  for (
    const [what, options] of [
      ["an unknown option", { onfailure: () => Effect.void }],
      ["a report that is not a function", { onFailure: "log" }],
      ["a schedule that is none", { schedule: 1000 }]
    ] as const
  ) {
    it.effect(`fails for ${what}`, () =>
      recovering(() =>
        Effect.gen(function*() {
          // Types do not check what JavaScript passes.
          const layer = AmqpTopology.layer(AmqpTopology.make(), options as never)
          const error = yield* Effect.flip(Effect.scoped(Layer.build(layer)))
          assert.strictEqual(error.reason._tag, "InvalidArgument")
        })
      ))
  }
})
