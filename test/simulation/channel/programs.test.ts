import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import type * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpRpc from "@effect-amqp/core/AmqpRpc"
import * as AmqpBroker from "@effect-amqp/core/testing/AmqpBroker"
import { assert, describe, it, layer } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Logger from "effect/Logger"
import type * as Scope from "effect/Scope"
import { connected, exitOf, fork } from "../../support/scriptedPeer.ts"

/** The message of the error that an effect dies with. */
const defectOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.exit(effect), (exit) => {
    const defect = Exit.isFailure(exit) ? exit.cause.reasons.find(Cause.isDieReason)?.defect : undefined
    return defect instanceof Error ? defect.message : assert.fail(`it did not die: ${String(exit)}`)
  })

/** The lines that an effect logs. */
const logged = <A, E, R>(effect: Effect.Effect<A, E, R>) => {
  const lines: Array<string> = []
  const logger = Logger.map(Logger.formatSimple, (line) => void lines.push(line))
  return Effect.as(Effect.provide(effect, Logger.layer([logger])), lines)
}

const message = AmqpMessage.text("message")

const declareAndPublish = function*(queue: string) {
  const { name } = yield* AmqpQueue.declare(queue)
  yield* AmqpChannel.publish(AmqpMessage.text("1"), AmqpQueue.route(name))
  yield* AmqpChannel.publish(AmqpMessage.text("2"), AmqpQueue.route(name))
  return name
}

const depth = (queue: string) =>
  Effect.map(AmqpChannel.run(AmqpQueue.declarePassive(queue)), ({ messageCount }) => messageCount)

layer(AmqpBroker.layer())("the generator of a program", (it) => {
  it.effect("is refused in a second run, which would share its steps with the first", () =>
    Effect.gen(function*() {
      const steps = declareAndPublish("shared")
      const program = AmqpChannel.gen(() => steps)
      const [first, second] = yield* Effect.all([
        Effect.exit(AmqpChannel.transaction(program)),
        defectOf(AmqpChannel.transaction(program))
      ], { concurrency: 2 })
      assert.deepStrictEqual(first, Exit.succeed("shared"))
      assert.include(second, "a generator that another run has begun")
      assert.include(second, "AmqpChannel.gen(function*() { ... })")
      assert.include(yield* defectOf(AmqpChannel.run(program)), "a generator that another run has begun")
      assert.strictEqual(yield* depth("shared"), 2)
    }))

  it.effect("fails the run when anything but the runner takes a step", () =>
    Effect.gen(function*() {
      for (const isRunning of [false, true]) {
        const gate = Latch.makeUnsafe()
        const started = Latch.makeUnsafe()
        const waiting = function*() {
          yield* started.open
          yield* gate.await
          return yield* declareAndPublish("taken")
        }
        const steps: Generator<unknown, string, unknown> = isRunning ? waiting() : declareAndPublish("taken")
        const run = yield* Effect.forkChild(
          AmqpChannel.confirmed(AmqpChannel.gen(() => steps as ReturnType<typeof waiting>))
        )
        if (isRunning) yield* Effect.andThen(started.await, Effect.yieldNow)
        steps.next()
        yield* gate.open
        assert.include(String(yield* Fiber.await(run)), "was taken by something other than the runner")
      }
      assert.strictEqual((yield* Effect.flip(depth("taken"))).reason._tag, "NotFound")
    }))

  it("throws when it is iterated by hand", () => {
    const steps: Iterator<unknown, unknown, unknown> = AmqpQueue.declare("never")[Symbol.iterator]()
    steps.next()
    assert.throws(() => steps.next("not a QueueInfo"), "was taken by something other than the runner")
  })

  it.effect("needs yield* at each step that is a program", () =>
    Effect.gen(function*() {
      const program = AmqpChannel.gen(function*() {
        const info = yield AmqpQueue.declare("star")
        return info
      })
      assert.include(yield* defectOf(AmqpChannel.run(program)), "Write `yield*`")
    }))

  it.effect("lets other fibers run between many publishes, whatever else it does in between", () =>
    Effect.gen(function*() {
      for (const between of [AmqpChannel.succeed(1), Effect.succeed(1), Effect.void]) {
        let turns = 0
        const other = yield* Effect.forkChild(
          Effect.forever(Effect.andThen(Effect.sync(() => turns++), Effect.yieldNow))
        )
        yield* AmqpChannel.run(AmqpChannel.gen(function*() {
          for (let index = 0; index < 10_000; index++) {
            yield* AmqpChannel.publish(message, AmqpQueue.route("none"))
            yield* between
          }
        }))
        yield* Fiber.interrupt(other)
        assert.isAtLeast(turns, 4)
      }
    }))

  it.effect("lets other fibers run between many generators with few publishes each", () =>
    Effect.gen(function*() {
      let turns = 0
      const other = yield* Effect.forkChild(Effect.forever(Effect.andThen(Effect.sync(() => turns++), Effect.yieldNow)))
      const few = AmqpChannel.gen(function*() {
        for (let index = 0; index < 500; index++) yield* AmqpChannel.publish(message, AmqpQueue.route("none"))
      })
      yield* AmqpChannel.run(AmqpChannel.gen(function*() {
        for (let index = 0; index < 20; index++) yield* few
      }))
      yield* Fiber.interrupt(other)
      assert.isAtLeast(turns, 4)
    }))

  it.effect("publishes when it runs and not when it is made, each time", () =>
    Effect.gen(function*() {
      yield* AmqpChannel.run(AmqpQueue.declare("again"))
      const publish = AmqpChannel.publish(message, AmqpQueue.route("again"))
      const mapped = AmqpChannel.run(AmqpChannel.map(publish, () => "published"))
      const counts: Array<number> = [yield* depth("again")]
      for (const run of [mapped, mapped, AmqpChannel.confirmed(publish), Effect.repeat(mapped, { times: 2 })]) {
        yield* run
        counts.push(yield* depth("again"))
      }
      yield* AmqpChannel.run(AmqpChannel.gen(function*() {
        yield* publish
        yield* publish
      }))
      assert.deepStrictEqual([...counts, yield* depth("again")], [0, 1, 2, 3, 6, 8])
    }))

  it.effect("can be run any number of times when it is new in each run", () =>
    Effect.gen(function*() {
      const program = AmqpChannel.gen(() => declareAndPublish("own"))
      yield* Effect.all([AmqpChannel.run(program), AmqpChannel.confirmed(program)], { concurrency: 2 })
      yield* AmqpChannel.run(AmqpChannel.all([program, program]))
      assert.strictEqual(yield* depth("own"), 8)
    }))

  it.effect("stops at a failed step like that of Effect.gen: neither catch nor finally runs", () =>
    Effect.gen(function*() {
      const steps: Array<string> = []
      const body = (step: Effect.Effect<never, string>) =>
        function*(): Generator<Effect.Effect<never, string>, void, never> {
          try {
            yield* step
          } catch {
            steps.push("catch")
          } finally {
            steps.push("finally")
          }
        }
      for (const step of [Effect.fail("no"), Effect.die("no"), Effect.interrupt]) {
        const ofEffect = yield* Effect.exit(Effect.gen(body(step)))
        const ofProgram = yield* Effect.exit(AmqpChannel.run(AmqpChannel.gen(body(step))))
        assert.deepStrictEqual(String(ofProgram).replace(/\d+/, ""), String(ofEffect).replace(/\d+/, ""))
      }
      assert.deepStrictEqual(steps, [])
    }))
})

class NoStock extends Data.TaggedError("NoStock")<{ readonly article: string }> {}
class NoMoney extends Data.TaggedError("NoMoney")<{ readonly missing: number }> {}

layer(AmqpBroker.layer())("the cases of catchTags", (it) => {
  const fails: AmqpChannel.AmqpChannel<1, NoStock | NoMoney> = AmqpChannel.fail(new NoStock({ article: "a" }))

  it.effect("can be missing, and then the error passes through", () =>
    Effect.gen(function*() {
      const cases: ReadonlyArray<{ readonly NoStock?: (() => AmqpChannel.AmqpChannel<2>) | undefined }> = [
        {},
        { NoStock: undefined }
      ]
      for (const missing of cases) {
        const error = yield* Effect.flip(AmqpChannel.run(AmqpChannel.catchTags(fails, missing)))
        assert.strictEqual(error._tag, "NoStock")
      }
    }))

  it.effect("can be inherited", () =>
    Effect.gen(function*() {
      class Cases {
        readonly prefix = "no "
        NoStock({ article }: NoStock) {
          return AmqpChannel.succeed(this.prefix + article)
        }
      }
      class More extends Cases {
        NoMoney(_error: NoMoney) {
          return AmqpChannel.succeed("no money")
        }
      }
      const handled: AmqpChannel.AmqpChannel<1 | string> = AmqpChannel.catchTags(fails, new More())
      assert.strictEqual(yield* AmqpChannel.run(handled), "no a")
    }))

  it.effect("do not include what every object inherits", () =>
    Effect.gen(function*() {
      const odd = AmqpChannel.fail({ _tag: "toString" as const })
      assert.deepStrictEqual(yield* Effect.flip(AmqpChannel.run(AmqpChannel.catchTags(odd, {}))), { _tag: "toString" })
    }))
})

describe("an operation inside a transaction that is not part of it", () => {
  const publish = AmqpChannel.publish(AmqpMessage.text("m"), AmqpQueue.route("q"))
  const withBroker = <A, E>(body: Effect.Effect<A, E, AmqpConnection.AmqpConnection | Scope.Scope>) =>
    Effect.provide(Effect.scoped(Effect.andThen(AmqpChannel.run(AmqpQueue.declare("q")), body)), AmqpBroker.layer())

  it.effect("is logged once, for publishers, calls and other runners", () =>
    withBroker(Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.make()
      const client = yield* AmqpRpc.makeClient()
      const message = AmqpMessage.text("m")
      const route = AmqpQueue.route("q")
      const operations: Readonly<Record<string, Effect.Effect<unknown, unknown, AmqpConnection.AmqpConnection>>> = {
        "AmqpPublisher.publish": publisher.publish(message, route),
        "AmqpPublisher.publishAll": publisher.publishAll([message], route),
        "AmqpRpcClient.call": Effect.timeoutOption(client.call(message, route), 0),
        "AmqpChannel.run": AmqpChannel.run(publish),
        "AmqpChannel.confirmed": AmqpChannel.confirmed(publish),
        "AmqpChannel.transaction": AmqpChannel.transaction(publish)
      }
      for (const [name, operation] of Object.entries(operations)) {
        const once = yield* logged(AmqpChannel.transaction(AmqpChannel.fromEffect(operation)))
        assert.lengthOf(once, 1, name)
        assert.include(once[0], `${name} was called inside AmqpChannel.transaction and is not part of the transaction`)
        // Not a second time.
        assert.deepStrictEqual(yield* logged(AmqpChannel.transaction(AmqpChannel.fromEffect(operation))), [])
      }
    })))

  it.effect("is not logged outside a transaction, or after the transaction has ended", () =>
    withBroker(Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.make()
      const operation = publisher.publish(AmqpMessage.text("m"), AmqpQueue.route("q"))
      const lines = yield* logged(Effect.gen(function*() {
        yield* operation
        yield* AmqpChannel.run(AmqpChannel.fromEffect(operation))
        yield* AmqpChannel.run(AmqpChannel.fromEffect(AmqpChannel.run(publish)))
        yield* AmqpChannel.confirmed(AmqpChannel.fromEffect(operation))
        yield* AmqpChannel.transaction(publish)
        // The fiber inherits the transaction, which has ended by the time of the publish.
        const later = AmqpChannel.fromEffect(Effect.forkDetach(Effect.andThen(Effect.yieldNow, operation)))
        yield* Fiber.join(yield* AmqpChannel.transaction(later))
      }))
      assert.deepStrictEqual(lines, [])
    })))

  it.effect("takes effect even if the transaction is rolled back", () =>
    withBroker(Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.make()
      yield* logged(Effect.exit(AmqpChannel.transaction(AmqpChannel.gen(function*() {
        yield* publish
        yield* publisher.publish(AmqpMessage.text("publisher"), AmqpQueue.route("q"))
        yield* Effect.fail("no")
      }))))
      assert.strictEqual(yield* depth("q"), 1)
    })))

  it.effect("is also logged inside a confirmed program when it publishes without confirms", () =>
    withBroker(Effect.gen(function*() {
      const lines = yield* logged(AmqpChannel.confirmed(AmqpChannel.fromEffect(AmqpChannel.run(publish))))
      assert.lengthOf(lines, 1)
      assert.include(lines[0], "AmqpChannel.run was called inside AmqpChannel.confirmed")
    })))
})

describe("an interrupted transaction", () => {
  const begun = (peer: Parameters<Parameters<typeof connected>[0]>[0]) =>
    Effect.gen(function*() {
      const fiber = yield* fork(
        AmqpChannel.transaction(AmqpChannel.publish(AmqpMessage.text("m"), AmqpQueue.route("q")))
      )
      yield* peer.openChannel()
      yield* peer.answer(1, "tx.select", { _tag: "tx.select-ok" })
      yield* peer.expectPublish("m")
      return fiber
    })

  it.effect("waits for a commit that was sent, and then closes the channel", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const fiber = yield* begun(peer)
        yield* peer.expect("tx.commit")
        const interrupting = yield* fork(Fiber.interrupt(fiber))
        // A close right after the commit could reach the broker before it has committed.
        yield* peer.expectNothing
        assert.isUndefined(interrupting.pollUnsafe())
        yield* peer.send(1, { _tag: "tx.commit-ok" })
        yield* peer.closeChannel()
        assert.isTrue(Exit.hasInterrupts(yield* exitOf(fiber)))
      })
    ))
})

describe("a message from basic.get", () => {
  const settling = (value: unknown) => (delivery: AmqpDelivery.ReceivedMessage) =>
    // A handler in JavaScript, or one that uses `any`, can return this.
    Effect.as(Effect.log(delivery.text), value as AmqpDelivery.Settlement)

  it.effect("is requeued and the program dies when the handler returns anything but a settlement", () =>
    Effect.gen(function*() {
      yield* AmqpChannel.run(AmqpQueue.declare("odd"))
      yield* AmqpChannel.confirmed(AmqpChannel.publish(AmqpMessage.text("m"), AmqpQueue.route("odd")))
      const odd = [undefined, null, "Ack", 1, {}, [], { _tag: "Ack", value: undefined }, { _tag: "Reject" }, {
        ...AmqpDelivery.reject
      }]
      for (const value of odd) {
        const get = AmqpQueue.get("odd", settling(value))
        const getAll = AmqpQueue.getAll("odd", settling(value))
        for (const program of [get, getAll]) {
          assert.include(yield* defectOf(AmqpChannel.run<unknown, unknown, never>(program)), "instead of a settlement")
          assert.strictEqual(yield* depth("odd"), 1)
        }
      }
    }).pipe(Effect.provide(Logger.layer([])), Effect.provide(AmqpBroker.layer())))
})
