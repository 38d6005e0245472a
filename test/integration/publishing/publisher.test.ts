import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import {
  assertReason,
  connected,
  declaredQueue,
  eventually,
  failsWith,
  failureOf,
  fork,
  infoOf,
  take,
  toQueue,
  uniqueName
} from "../../support/broker.ts"

const hello = AmqpMessage.text("hello")

/** A queue that accepts one message and refuses more. */
const queueForOne = declaredQueue({ maxLength: 1, overflow: "reject-publish" })

describe("a publisher", () => {
  it.live("has each message in its queue when it is confirmed", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const { publish } = yield* AmqpPublisher.make()
      for (let count = 1; count <= 5; count++) {
        yield* publish(hello, toQueue(queue))
        assert.strictEqual((yield* infoOf(queue)).messageCount, count)
      }
    })))

  it.live("publishes a batch of 5,000 messages in order", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const { publishAll } = yield* AmqpPublisher.make()
      yield* publishAll(Array.from({ length: 5000 }, (_, index) => AmqpMessage.text(String(index))), toQueue(queue))
      assert.strictEqual((yield* infoOf(queue)).messageCount, 5000)
      for (const text of ["0", "1", "2"]) assert.strictEqual((yield* take(queue)).text, text)
    })))

  it.live("can be used by 200 fibers at once", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const { publish } = yield* AmqpPublisher.make({ maxInFlight: 50 })
      yield* Effect.forEach(Array(200).keys(), (index) => publish(AmqpMessage.text(String(index)), toQueue(queue)), {
        concurrency: "unbounded",
        discard: true
      })
      assert.strictEqual((yield* infoOf(queue)).messageCount, 200)
    })))

  it.live("republishes messages that failed because of another message, but not that message", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const { publish } = yield* AmqpPublisher.make({ retry: Schedule.recurs(5) })
      const results = yield* Effect.forEach(
        Array(300).keys(),
        (index) =>
          Effect.result(
            publish(
              AmqpMessage.text(String(index)),
              index % 100 === 50 ? { exchange: uniqueName("missing"), routingKey: "" } : toQueue(queue)
            )
          ),
        { concurrency: "unbounded" }
      )
      for (const [index, result] of results.entries()) {
        if (index % 100 !== 50) assert.isTrue(Result.isSuccess(result), String(index))
        else if (Result.isSuccess(result)) assert.fail(`${index} was published`)
        else {
          assert.isFalse(result.failure.isRetryable)
          const { cause } = assertReason(result.failure, "OutcomeUnknown")
          assert.include(cause.reason, { _tag: "NotFound", method: "basic.publish" })
        }
      }
      assert.isAtLeast((yield* infoOf(queue)).messageCount, 297)
    })))

  it.live("loses no other message while a failing message is published repeatedly", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const { publish } = yield* AmqpPublisher.make({ retry: Schedule.recurs(3) })
      const failing = yield* fork(
        Effect.forever(Effect.ignore(publish(hello, { exchange: uniqueName("missing"), routingKey: "" })))
      )
      yield* Effect.forEach(
        Array(500).keys(),
        (index) => publish(AmqpMessage.text(String(index)), toQueue(queue)),
        { concurrency: 50, discard: true }
      )
      yield* Fiber.interrupt(failing)
      assert.isAtLeast((yield* infoOf(queue)).messageCount, 500)
    })))

  it.live("P7: fails with Nacked when a full queue refuses the message", () =>
    connected(Effect.gen(function*() {
      const queue = yield* queueForOne
      const { publish } = yield* AmqpPublisher.make()
      yield* publish(hello, toQueue(queue))
      const reason = yield* failsWith(publish(hello, toQueue(queue)), "Nacked")
      assert.isTrue(reason.isRetryable)
      assert.strictEqual((yield* take(queue)).text, "hello")
      yield* publish(hello, toQueue(queue))
    })))

  it.live("P7: fails with the indexes of the nacked messages of a batch", () =>
    connected(Effect.gen(function*() {
      const full = yield* queueForOne
      const queue = yield* declaredQueue()
      const { publishAll } = yield* AmqpPublisher.make()
      const targets = [full, queue, full, queue, full]
      const error = yield* Effect.flip(publishAll(targets.map(() => hello), (_, index) => toQueue(targets[index])))
      assert.strictEqual(error.confirmed, 3)
      assert.deepStrictEqual(error.failures.map(({ error, index }) => [index, error.reason._tag]), [
        [2, "Nacked"],
        [4, "Nacked"]
      ])
    })))

  it.live("E7: fails promptly for an exchange that does not exist, and works afterwards", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const exchange = uniqueName("exchange")
      const { publish, publishAll } = yield* AmqpPublisher.make()
      for (const mandatory of [false, true]) {
        const failing = publish(hello, { exchange, routingKey: "", mandatory }).pipe(Effect.timeoutOrElse({
          duration: "5 seconds",
          orElse: () => Effect.die(new Error("the publish hangs"))
        }))
        const { cause, message } = yield* failsWith(failing, "OutcomeUnknown")
        const { replyText } = assertReason(cause, "NotFound")
        assert.include(replyText, exchange)
        assert.include(message, `no exchange '${exchange}'`)
        yield* publish(hello, toQueue(queue))
      }
      const error = yield* Effect.flip(publishAll([hello, hello], { exchange, routingKey: "" }))
      assert.strictEqual(error.failures.length, 2)
      yield* publishAll([hello, hello], toQueue(queue))
      assert.strictEqual((yield* infoOf(queue)).messageCount, 4)
    })))

  it.live("P4: reports the true outcome of each message in flight when the broker closes its channel", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const { publish } = yield* AmqpPublisher.make()
      const bad = { exchange: uniqueName("exchange"), routingKey: "" }
      const results = yield* Effect.forEach(
        Array(200).keys(),
        (index) => Effect.result(publish(hello, index === 100 ? bad : toQueue(queue))),
        { concurrency: "unbounded" }
      )
      let confirmed = 0
      for (const [index, result] of results.entries()) {
        if (Result.isSuccess(result)) {
          confirmed++
          continue
        }
        const { cause } = assertReason(result.failure, "OutcomeUnknown")
        // The other messages are valid, and can be retried.
        if (index === 100) assertReason(cause, "NotFound")
        else assert.strictEqual(assertReason(cause, "ChannelLost").cause._tag, "NotFound")
        assert.strictEqual(result.failure.isRetryable, index !== 100)
      }
      assert.isTrue(Result.isFailure(results[100]))
      const { messageCount } = yield* infoOf(queue)
      assert.isAtLeast(messageCount, confirmed)
      assert.isAtMost(messageCount, 199)
      // The broker handles all messages before the bad one.
      assert.isAtLeast(messageCount, 100)
    })))

  it.live("P3: fails the publish of each unroutable mandatory message, and no other", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const missing = uniqueName("queue")
      const { publish } = yield* AmqpPublisher.make()
      const isRoutable = (index: number) => index % 3 !== 0
      const results = yield* Effect.forEach(
        Array(300).keys(),
        (index) => {
          // Some bodies are empty, and many messages are equal.
          const message = AmqpMessage.text(index % 2 === 0 ? "" : String(index % 10))
          const routingKey = isRoutable(index) ? queue : missing
          return Effect.result(publish(message, { exchange: "", routingKey, mandatory: true }))
        },
        { concurrency: "unbounded" }
      )
      for (const [index, result] of results.entries()) {
        assert.strictEqual(Result.isSuccess(result), isRoutable(index), `message ${index}`)
        if (Result.isFailure(result)) {
          const reason = assertReason(result.failure, "Returned")
          assert.strictEqual(reason.replyCode, 312)
          assert.strictEqual(reason.replyText, "NO_ROUTE")
          assert.strictEqual(reason.routingKey, missing)
        }
      }
      assert.strictEqual((yield* infoOf(queue)).messageCount, 200)
    })))

  it.live("C19: refuses a routing key that is too long before anything is sent, and still works", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const { publish } = yield* AmqpPublisher.make()
      const tooLong = publish(hello, { exchange: "", routingKey: "é".repeat(128) })
      const { cause } = yield* failsWith(tooLong, "NotSent")
      assertReason(cause, "InvalidArgument")
      yield* publish(hello, toQueue(queue))
      assert.strictEqual((yield* infoOf(queue)).messageCount, 1)
    })))

  it.live("stops taking messages from an endless batch when they can no longer be sent", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue({ maxLength: 10 })
      const batch = { taken: 0, takenLate: 0, hasEnded: false }
      function* endless() {
        // Endless, except for a bound that lets a failing test end.
        while (batch.takenLate < 1000) {
          if (batch.hasEnded) batch.takenLate++
          batch.taken++
          yield hello
        }
      }
      const scope = yield* Scope.make()
      const { publishAll } = yield* Scope.provide(AmqpPublisher.make(), scope)
      const publishing = yield* fork(publishAll(endless(), toQueue(queue)))
      yield* eventually(Effect.sync(() => batch.taken), (taken) => taken > 2000)
      batch.hasEnded = true
      yield* Scope.close(scope, Exit.void)
      const { failures } = yield* failureOf(publishing)
      assertReason(failures[failures.length - 1].error, "NotSent")
      assert.isBelow(batch.takenLate, 2)
    })))

  it.live("has sent all messages and received their confirms when its scope closes", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const publishing = Effect.flatMap(AmqpPublisher.make(), ({ publish }) =>
        Effect.forkDetach(
          Effect.forEach(Array(100), () => publish(hello, toQueue(queue)), {
            concurrency: "unbounded",
            discard: true
          }),
          { startImmediately: true }
        ))
      yield* Effect.scoped(publishing)
      assert.strictEqual((yield* infoOf(queue)).messageCount, 100)
    })))
})
