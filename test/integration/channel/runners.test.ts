import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import { AmqpConnection } from "@effect-amqp/core/AmqpConnection"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import { AmqpPublishAllError } from "@effect-amqp/core/AmqpError"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import { inspect } from "node:util"
import {
  assertReason,
  awaitMessages,
  connected,
  connection,
  declaredExchange,
  declaredQueue,
  failsWith,
  fill,
  fork,
  infoOf,
  take,
  toQueue,
  uniqueName
} from "../../support/broker.ts"
import { administration, isAdministrable } from "../../support/brokerUnderTest.ts"

const { confirmed, run, transaction } = AmqpChannel

const hello = AmqpMessage.text("hello")

/** The number of ready messages in a queue, as another connection sees it. */
const readyCount = (queue: string) =>
  Effect.provide(Effect.map(infoOf(queue), ({ messageCount }) => messageCount), connection())

const channelCount = Effect.flatMap(AmqpConnection, ({ channelCount }) => channelCount)

/** The error of a confirmed program of which some publishes failed. */
const batchFailure = <A, E extends { readonly _tag: string }, R>(self: Effect.Effect<A, E | AmqpPublishAllError, R>) =>
  Effect.map(
    Effect.flip(self),
    (error) => error instanceof AmqpPublishAllError ? error : assert.fail(`it failed with ${inspect(error)}`)
  )

const reasonsOf = ({ failures }: AmqpPublishAllError) =>
  failures.map(({ error, index }) => [index, error.reason._tag] as const)

/** A step that signals when it is reached, and then waits. */
const holding = Effect.map(Deferred.make<void>(), (begun) => ({
  begun: Deferred.await(begun),
  hold: Effect.andThen(Deferred.succeed(begun, undefined), Effect.never)
}))

describe("a confirmed program", () => {
  it.live("returns its value when all its publishes are confirmed, more than can be in flight", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const count = yield* confirmed(AmqpChannel.gen(function*() {
        for (let index = 0; index < 3000; index++) {
          yield* AmqpChannel.publish(AmqpMessage.text(String(index)), toQueue(queue))
        }
        return 3000
      }))
      assert.strictEqual(count, 3000)
      assert.strictEqual((yield* infoOf(queue)).messageCount, 3000)
      assert.strictEqual((yield* take(queue)).text, "0")
    })))

  it.live("P7: fails with the indexes of the publishes that a full queue refused", () =>
    connected(Effect.gen(function*() {
      const full = yield* declaredQueue({ maxLength: 2, overflow: "reject-publish" })
      const queue = yield* declaredQueue()
      const targets = [full, queue, full, full, queue, full]
      const error = yield* batchFailure(
        confirmed(AmqpChannel.forEach(targets, (target) => AmqpChannel.publish(hello, toQueue(target))))
      )
      assert.deepStrictEqual(reasonsOf(error), [[3, "Nacked"], [5, "Nacked"]])
      assert.deepStrictEqual([error.taken, error.confirmed, error.isRetryable], [6, 4, true])
      assert.strictEqual((yield* infoOf(queue)).messageCount, 2)
    })))

  it.live("P3: fails with the indexes of the equal mandatory messages that were returned", () =>
    connected(Effect.gen(function*() {
      const exchange = yield* declaredExchange(AmqpExchange.direct)
      const queue = yield* declaredQueue()
      yield* run(AmqpQueue.bind(queue, { exchange, routingKey: "known" }))
      const isKnown = (index: number) => index % 7 !== 3
      const error = yield* batchFailure(
        confirmed(
          AmqpChannel.forEach(
            Array(500).keys(),
            (index) =>
              AmqpChannel.publish(hello, {
                exchange,
                routingKey: isKnown(index) ? "known" : "unknown",
                mandatory: true
              })
          )
        )
      )
      const unknown = [...Array(500).keys()].filter((index) => !isKnown(index))
      assert.deepStrictEqual(reasonsOf(error), unknown.map((index) => [index, "Returned"]))
      const { exchange: returnedFrom, replyCode, routingKey } = assertReason(error.failures[0].error, "Returned")
      assert.deepStrictEqual([replyCode, returnedFrom, routingKey], [312, exchange, "unknown"])
      assert.strictEqual((yield* infoOf(queue)).messageCount, 500 - unknown.length)
    })))

  it.live("E7: fails promptly when an exchange does not exist, and the connection still works", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const missing = { exchange: uniqueName("exchange"), routingKey: "" }
      const error = yield* batchFailure(confirmed(AmqpChannel.gen(function*() {
        yield* AmqpChannel.publish(hello, missing)
        yield* AmqpChannel.publish(hello, missing)
      })))
      assert.deepStrictEqual(reasonsOf(error), [[0, "OutcomeUnknown"], [1, "OutcomeUnknown"]])
      assertReason(assertReason(error.failures[0].error, "OutcomeUnknown").cause, "NotFound")
      yield* fill(queue, hello)
    })))

  it.live("that fails does not wait for confirms, and fails with its own error", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const failing = AmqpChannel.andThen(AmqpChannel.publish(hello, toQueue(queue)), AmqpChannel.fail("no"))
      assert.strictEqual(yield* Effect.flip(confirmed(failing)), "no")
      yield* awaitMessages(queue, 1)
    })))

  it.live("fails with the index of each returned publish", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const missing = uniqueName("queue")
      const program = AmqpChannel.forEach([queue, missing, queue], (routingKey) =>
        AmqpChannel.publish(hello, { exchange: "", routingKey, mandatory: true }))
      const error = yield* Effect.flip(AmqpChannel.confirmed(program))
      if (error._tag !== "AmqpPublishAllError") {
        return assert.fail(String(error))
      }
      assert.strictEqual(error.confirmed, 2)
      assert.deepStrictEqual(
        error.failures.map(({ error, index }) => [index, error.reason._tag]),
        [[1, "Returned"]]
      )
    })))

  it.live("fails promptly when the exchange of a mandatory publish does not exist", () =>
    connected(Effect.gen(function*() {
      const publish = AmqpChannel.publish(hello, { exchange: uniqueName("exchange"), routingKey: "", mandatory: true })
      const error = yield* Effect.flip(AmqpChannel.confirmed(publish)).pipe(Effect.timeout("5 seconds"))
      if (error._tag !== "AmqpPublishAllError") return assert.fail(String(error))
      const [{ error: { reason } }] = error.failures
      if (reason._tag !== "OutcomeUnknown") return assert.fail(reason._tag)
      assert.strictEqual(reason.cause.reason._tag, "NotFound")
      assert.include(error.message, "no exchange")
    })))
})

describe("a transaction", () => {
  it.live("publishes nothing before its commit, and then everything", () =>
    connected(Effect.gen(function*() {
      const [first, second] = [yield* declaredQueue(), yield* declaredQueue()]
      const published = yield* Deferred.make<void>()
      const gate = yield* Latch.make()
      const fiber = yield* fork(transaction(AmqpChannel.gen(function*() {
        for (const queue of [first, second, first]) yield* AmqpChannel.publish(hello, toQueue(queue))
        // The broker has the messages when it replies to this.
        yield* AmqpQueue.declarePassive(first)
        yield* Deferred.succeed(published, undefined)
        yield* gate.await
        return "done"
      })))
      yield* Deferred.await(published)
      assert.deepStrictEqual([yield* readyCount(first), yield* readyCount(second)], [0, 0])
      yield* gate.open
      assert.strictEqual(yield* Fiber.join(fiber), "done")
      assert.deepStrictEqual([yield* readyCount(first), yield* readyCount(second)], [2, 1])
    })))

  it.live("publishes nothing when it fails, dies or is interrupted", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const publish = AmqpChannel.andThen(
        AmqpChannel.publish(hello, toQueue(queue)),
        AmqpQueue.declarePassive(queue)
      )
      assert.strictEqual(yield* Effect.flip(transaction(AmqpChannel.andThen(publish, AmqpChannel.fail("no")))), "no")
      yield* Effect.exit(transaction(AmqpChannel.andThen(publish, Effect.die("never"))))
      const { begun, hold } = yield* holding
      const fiber = yield* fork(transaction(AmqpChannel.andThen(publish, hold)))
      yield* begun
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(yield* readyCount(queue), 0)
      yield* transaction(publish)
      assert.strictEqual(yield* readyCount(queue), 1)
    })))

  it.live("acknowledges one message and publishes another, both or neither", () =>
    connected(Effect.gen(function*() {
      const [source, target] = [yield* declaredQueue(), yield* declaredQueue()]
      yield* fill(source, hello)
      const move = AmqpQueue.get(source, ({ redelivered, text }) =>
        AmqpChannel.as(
          AmqpChannel.publish(AmqpMessage.text(`${text} again`), toQueue(target)),
          AmqpDelivery.as(AmqpDelivery.ack, redelivered)
        ))
      yield* Effect.flip(transaction(AmqpChannel.andThen(move, AmqpChannel.fail("no"))))
      yield* awaitMessages(source, 1)
      assert.strictEqual(yield* readyCount(target), 0)

      assert.deepStrictEqual(yield* transaction(move), Option.some(true))
      assert.deepStrictEqual([yield* readyCount(source), yield* readyCount(target)], [0, 1])
      assert.strictEqual((yield* take(target)).text, "hello again")
      assert.deepStrictEqual(yield* transaction(move), Option.none())
    })))

  it.live("rejects a message only when it succeeds", () =>
    connected(Effect.gen(function*() {
      const dead = yield* declaredQueue()
      const queue = yield* declaredQueue({ deadLetterExchange: "", deadLetterRoutingKey: dead })
      yield* fill(queue, hello)
      const reject = AmqpQueue.get(queue, () => Effect.succeed(AmqpDelivery.reject))
      yield* Effect.flip(transaction(AmqpChannel.andThen(reject, AmqpChannel.fail("no"))))
      yield* awaitMessages(queue, 1)
      assert.strictEqual(yield* readyCount(dead), 0)
      yield* transaction(reject)
      yield* awaitMessages(dead, 1)
      assert.strictEqual(yield* readyCount(queue), 0)
    })))

  it.live("E2: fails with Returned for a mandatory message that no queue takes, and the rest is committed", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const missing = uniqueName("queue")
      const program = AmqpChannel.forEach(
        [queue, missing, queue],
        (routingKey) => AmqpChannel.publish(hello, { exchange: "", routingKey, mandatory: true })
      )
      assert.strictEqual((yield* failsWith(transaction(program), "Returned")).routingKey, missing)
      assert.strictEqual(yield* readyCount(queue), 2)
    })))

  it.live("fails when a full classic queue refuses a message, and succeeds when a full quorum queue does", () =>
    connected(Effect.gen(function*() {
      const full = { maxLength: 1, overflow: "reject-publish" } as const
      for (const queue of [AmqpQueue.classic(uniqueName("queue"), full), AmqpQueue.quorum(uniqueName("queue"), full)]) {
        yield* run(AmqpQueue.declare(queue))
        const publish = AmqpChannel.publish(hello, AmqpQueue.route(queue))
        yield* Effect.gen(function*() {
          // A quorum queue is full when it has one message too many.
          yield* Effect.eventually(Effect.flip(confirmed(publish)))
          const { messageCount } = yield* infoOf(queue.name)
          if (queue.type === "classic") yield* failsWith(transaction(publish), "PreconditionFailed")
          else yield* transaction(publish)
          assert.deepStrictEqual(reasonsOf(yield* batchFailure(confirmed(publish))), [[0, "Nacked"]])
          assert.strictEqual((yield* infoOf(queue.name)).messageCount, messageCount)
        }).pipe(Effect.ensuring(Effect.ignore(run(AmqpQueue.delete(queue)))))
      }
    })))

  it.live("E7: fails with NotFound when an exchange does not exist, and nothing is committed", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const program = AmqpChannel.andThen(
        AmqpChannel.publish(hello, toQueue(queue)),
        AmqpChannel.publish(hello, { exchange: uniqueName("exchange"), routingKey: "" })
      )
      yield* failsWith(transaction(program), "NotFound")
      assert.strictEqual(yield* readyCount(queue), 0)
    })))
})

describe("the channels of programs", () => {
  it.live("are reused by later programs of the same mode", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      assert.strictEqual(yield* channelCount, 1)
      for (let round = 0; round < 20; round++) {
        yield* infoOf(queue)
        yield* fill(queue, hello)
        yield* transaction(AmqpChannel.publish(hello, toQueue(queue)))
        assert.isAtMost(yield* channelCount, 3)
      }
      assert.strictEqual(yield* channelCount, 3)
      assert.strictEqual((yield* infoOf(queue)).messageCount, 40)
    })))

  it.live("are as many as the running programs, and maxIdleChannels of them are kept", () =>
    connected(
      Effect.gen(function*() {
        const queue = yield* declaredQueue()
        const gate = yield* Latch.make()
        const running = yield* Effect.forEach(Array(6), () =>
          Effect.gen(function*() {
            const { begun, hold } = yield* holding
            const program = AmqpChannel.andThen(
              AmqpQueue.declarePassive(queue),
              Effect.raceFirst(hold, gate.await)
            )
            const fiber = yield* fork(run(program))
            yield* begun
            return fiber
          }))
        assert.strictEqual(yield* channelCount, 6)
        yield* gate.open
        yield* Effect.forEach(running, Fiber.join)
        assert.strictEqual(yield* channelCount, 2)
      }),
      { maxIdleChannels: 2 }
    ))

  it.live("are not reused when a program leaves state on them", () =>
    connected(
      Effect.gen(function*() {
        const queue = yield* declaredQueue()
        const before = yield* channelCount
        assert.strictEqual(before, 1)
        const runs: ReadonlyArray<Effect.Effect<unknown, unknown, AmqpConnection>> = [
          run(AmqpChannel.publish(hello, toQueue(queue))),
          run(AmqpChannel.qos({ prefetchCount: 7 })),
          run(AmqpChannel.fail("no")),
          run(AmqpQueue.declarePassive(uniqueName("queue")))
        ]
        for (const running of runs) {
          yield* Effect.exit(running)
          assert.strictEqual(yield* channelCount, 0)
          yield* infoOf(queue)
          assert.strictEqual(yield* channelCount, 1)
        }
      })
    ))

  it.live("belong to one program each, also when programs are nested", () =>
    connected(
      Effect.gen(function*() {
        const queue = yield* declaredQueue()
        const [inner, published, outer] = yield* transaction(AmqpChannel.gen(function*() {
          yield* AmqpChannel.publish(hello, toQueue(queue))
          // Ordinary effects, each on another channel: they are not part of the transaction.
          const counts = [(yield* infoOf(queue)).messageCount]
          yield* fill(queue, hello, hello)
          counts.push((yield* infoOf(queue)).messageCount, yield* channelCount)
          return counts
        }))
        assert.deepStrictEqual([inner, published, outer], [0, 2, 3])
        assert.strictEqual((yield* infoOf(queue)).messageCount, 3)
      })
    ))

  it.live.runIf(isAdministrable)("have the mode of their program on the broker", () => {
    const connectionName = uniqueName("connection")
    return connected(
      Effect.gen(function*() {
        const queue = yield* declaredQueue()
        yield* fill(queue, hello)
        yield* transaction(AmqpChannel.publish(hello, toQueue(queue)))
        const channels = yield* administration().channelsOf(connectionName)
        assert.deepStrictEqual(channels.map(({ mode }) => mode), ["plain", "confirm", "transaction"])
      }),
      { connectionName, url: administration().url }
    )
  })
})
