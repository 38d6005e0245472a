/** The embedded broker as other versions of RabbitMQ, seen from the client. */
import { AmqpChannel, AmqpConnection, AmqpConsumer, AmqpMessage, AmqpQueue } from "@effect-amqp/core"
import { AmqpBroker } from "@effect-amqp/core/testing"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"

const settled = Effect.repeat(Effect.yieldNow, { times: 50 })

/** Lets a consumer keep a message for too long. Returns where the message is afterwards, and what was refused. */
const keepTooLong = (queue: ReturnType<typeof AmqpQueue.classic> | ReturnType<typeof AmqpQueue.quorum>) =>
  Effect.gen(function*() {
    const broker = yield* AmqpBroker.AmqpBroker
    yield* AmqpChannel.confirmed(AmqpChannel.gen(function*() {
      yield* AmqpQueue.declare(queue)
      yield* AmqpChannel.publish(AmqpMessage.text("a"), AmqpQueue.route(queue))
    }))
    const consuming = AmqpConsumer.stream(queue, { prefetch: 1 }).pipe(
      Stream.take(1),
      Stream.runForEach(() => Effect.never)
    )
    yield* Effect.forkScoped(Effect.exit(consuming), { startImmediately: true })
    yield* settled
    const [before] = yield* broker.queues()
    assert.strictEqual(before.messagesUnacknowledged, 1)
    yield* TestClock.adjust("30 minutes")
    yield* settled
    const [{ messagesReady, messagesUnacknowledged }] = yield* broker.queues()
    const refusals = yield* broker.refusals
    return { messagesReady, messagesUnacknowledged, refused: refusals.map(({ replyCode }) => replyCode) }
  })

describe("a message that is unacknowledged for half an hour", () => {
  const closed = { messagesReady: 1, messagesUnacknowledged: 0, refused: [406] }
  const cancelled = { messagesReady: 1, messagesUnacknowledged: 0, refused: [] }
  const untouched = { messagesReady: 0, messagesUnacknowledged: 1, refused: [] }

  it.effect.each(
    [
      ["3.10", "classic", "is requeued and its channel closed", closed],
      ["3.10", "quorum", "is requeued and its channel closed", closed],
      ["4.0", "classic", "is requeued and its channel closed", closed],
      ["4.0", "quorum", "is requeued and its channel closed", closed],
      ["4.3", "classic", "stays unacknowledged", untouched],
      ["4.3", "quorum", "is requeued and its consumer cancelled", cancelled]
    ] as const
  )("in RabbitMQ %s and a %s queue %s", ([version, type, _, expected]) =>
    Effect.gen(function*() {
      const queue = type === "classic" ? AmqpQueue.classic("q") : AmqpQueue.quorum("q")
      assert.deepStrictEqual(yield* keepTooLong(queue), { ...expected, refused: [...expected.refused] })
    }).pipe(
      Effect.scoped,
      Effect.provide(AmqpBroker.layer({ version, heartbeat: 0, connection: { closeTimeout: 0 } }))
    ))
})

describe("the version of a broker", () => {
  it.live("sets the maximum message size, unless that is given", () =>
    Effect.gen(function*() {
      const size = 16 * 2 ** 20
      const larger = [{ version: "4.0" }, { version: "4.3" }, { version: "4.3", maxMessageSize: 2 * size }, {}] as const
      const refused = yield* Effect.forEach(larger, (options) =>
        Effect.gen(function*() {
          const broker = yield* AmqpBroker.make(options)
          const connection = yield* broker.connect()
          yield* AmqpChannel.confirmed(
            AmqpChannel.publish(AmqpMessage.make(new Uint8Array(size + 1)), { exchange: "", routingKey: "q" })
          ).pipe(Effect.provideService(AmqpConnection.AmqpConnection, connection), Effect.exit)
          return (yield* broker.refusals).map(({ replyText }) => replyText)
        }).pipe(Effect.scoped))
      const text = `PRECONDITION_FAILED - message size ${size + 1} is larger than configured max size ${size}`
      assert.deepStrictEqual(refused, [[text], [text], [], []])
    }))

  it.effect("is refused when it is unknown", () =>
    Effect.gen(function*() {
      // Untyped code can pass this.
      const exit = yield* Effect.exit(AmqpBroker.make({ version: "3.9" as "3.10" }).pipe(Effect.scoped))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      assert.include(
        String(Exit.isFailure(exit) ? Cause.squash(exit.cause) : ""),
        "version: must be one of 3.10, 4.0, 4.3"
      )
    }))
})
