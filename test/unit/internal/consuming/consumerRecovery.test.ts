import { AccessRefused, AmqpChannelError, AmqpConsumerCancelled, NotFound } from "@effect-amqp/core/AmqpError"
import { resolveConsumerRecovery, Restarts } from "@effect-amqp/core/internal/consuming/consumerRecovery"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"

const missing = (queue: string) =>
  new AmqpChannelError({
    reason: new NotFound({
      replyCode: 404,
      replyText: `NOT_FOUND - no queue '${queue}' in vhost '/'`,
      method: "basic.consume"
    })
  })

const cancelled = new AmqpConsumerCancelled({ queue: "q", consumerTag: "c" })

const inUse = new AmqpChannelError({
  reason: new AccessRefused({ replyCode: 403, replyText: "ACCESS_REFUSED - queue 'q' in exclusive use", method: "" })
})

const forbidden = new AmqpChannelError({
  reason: new AccessRefused({ replyCode: 403, replyText: "ACCESS_REFUSED - access to queue 'q' refused", method: "" })
})

describe("whether a consumer starts again", () => {
  it("depends on whether the reason may pass", () => {
    const restarts = new Restarts(resolveConsumerRecovery(undefined), true)
    assert.isTrue(restarts.mayRestart(cancelled))
    assert.isTrue(restarts.mayRestart(inUse))
    assert.isFalse(restarts.mayRestart(forbidden))
    assert.isFalse(restarts.mayRestart(missing("q")))
  })

  it("ends after three equal 404s in a row", () => {
    const restarts = new Restarts(resolveConsumerRecovery(true), false)
    assert.deepStrictEqual(
      [missing("a"), missing("b"), missing("b"), missing("b")].map((error) => restarts.mayRetry(error, false)),
      [
        true,
        true,
        true,
        false
      ]
    )
    restarts.started()
    assert.isTrue(restarts.mayRetry(missing("b"), false))
  })

  it("is as its connection says, unless its own option says otherwise", () => {
    assert.isFalse(new Restarts(resolveConsumerRecovery(undefined), false).mayRestart(cancelled))
    assert.isTrue(new Restarts(resolveConsumerRecovery({}), false).mayRestart(cancelled))
    assert.isFalse(new Restarts(resolveConsumerRecovery(false), true).mayRestart(cancelled))
  })

  it.effect("pauses for at least a second after a 404, and otherwise as the schedule says, but for at least 50 ms", () =>
    Effect.gen(function*() {
      const after = (pause: Duration.Input) =>
        new Restarts(resolveConsumerRecovery({ schedule: Schedule.spaced(pause) }), true)
      assert.deepStrictEqual(yield* after("100 millis").pauseAfter(cancelled), Duration.millis(100))
      assert.deepStrictEqual(yield* after(0).pauseAfter(cancelled), Duration.millis(50))
      assert.deepStrictEqual(yield* after("100 millis").pauseAfter(missing("q")), Duration.seconds(1))
    }))

  it.effect("pauses by default for random parts of 250 milliseconds, doubled up to 30 seconds", () =>
    Effect.gen(function*() {
      const restarts = new Restarts(resolveConsumerRecovery(undefined), true)
      const pauses: Array<number> = []
      for (let attempt = 0; attempt < 100; attempt++) {
        const pause = yield* restarts.pauseAfter(cancelled)
        if (pause === undefined) return assert.fail("the schedule has ended")
        assert.isAtMost(Duration.toMillis(pause), Math.min(250 * 2 ** attempt, 30_000))
        pauses.push(Duration.toMillis(pause))
      }
      assert.isAbove(Math.max(...pauses), 20_000)
    }))

  for (const given of [null, 5, { schedule: "x" }, { stableAfter: -1 }, { isRecoverable: true }, { retries: 3 }]) {
    it(`refuses ${JSON.stringify(given)}`, () => {
      // What JavaScript may pass.
      const untyped = given as unknown as boolean
      assert.throws(() => resolveConsumerRecovery(untyped))
    })
  }
})
