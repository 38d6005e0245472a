import type { PublishJob } from "@effect-amqp/core/internal/publishing/publishJob"
import { ResendLine } from "@effect-amqp/core/internal/publishing/resendLine"
import type { Resend } from "@effect-amqp/core/internal/publishing/resendLine"
import { WaitingLine } from "@effect-amqp/core/internal/publishing/waitingLine"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"

const jobOf = (body: Uint8Array): PublishJob => ({
  waitingSince: 0,
  get waitingBytes() {
    return body.length
  },
  body,
  properties: {},
  options: { exchange: "", routingKey: "q" },
  owner: { settled: () => {} },
  index: 0,
  hasMore: false,
  next: () => true,
  hold: () => {},
  failed: () => {},
  refuse: () => {}
})

describe("a line of waiting jobs", () => {
  it("counts its bytes, even if a body is transferred while it waits", () => {
    const line = new WaitingLine()
    const [one, two] = [jobOf(new Uint8Array(10)), jobOf(new Uint8Array(5))]
    line.add(one, 1)
    line.add(two, 2)
    assert.deepStrictEqual([line.size, line.bytes], [2, 15])
    structuredClone(one.body.buffer, { transfer: [one.body.buffer as ArrayBuffer] })
    assert.isTrue(line.delete(one))
    assert.isFalse(line.delete(one))
    assert.deepStrictEqual([line.size, line.bytes], [1, 5])
    assert.deepStrictEqual(line.takeAll(), [two])
    assert.deepStrictEqual([line.size, line.bytes, line.first], [0, 0, undefined])
  })

  it("puts a job that is added again at the end", () => {
    const line = new WaitingLine()
    const [one, two] = [jobOf(new Uint8Array(1)), jobOf(new Uint8Array(1))]
    line.add(one, 1)
    line.add(two, 2)
    line.add(one, 3)
    assert.deepStrictEqual([...line], [two, one])
    assert.strictEqual(line.first, two)
    assert.deepStrictEqual([line.bytes, one.waitingSince], [2, 3])
  })
})

/** A message that is sent now, and whose schedule decides like this. */
const sent = (line: ResendLine, mayGoOn: Effect.Effect<boolean> = Effect.succeed(true)): Resend => ({
  job: jobOf(new Uint8Array(1)),
  place: line.nextPlace(),
  mayGoOn,
  refuse: () => {}
})

describe("a line of messages that are published again", () => {
  it.effect("has them in the order in which they were sent, whatever the order of their losses", () =>
    Effect.gen(function*() {
      const line = new ResendLine({ maxWaiting: 100, maxWaitingBytes: 1_000 })
      const [one, two, three, four] = [sent(line), sent(line), sent(line), sent(line)]
      line.addLost(three)
      line.addLost(four)
      yield* line.decide
      line.addLost(two)
      line.addLost(one)
      assert.isFalse(line.isEmpty)
      yield* line.decide
      assert.deepStrictEqual([...line], [one, two, three, four])
    }))

  it.effect("leaves out those whose schedule has ended, and those that end while others are decided", () =>
    Effect.gen(function*() {
      const line = new ResendLine({ maxWaiting: 100, maxWaitingBytes: 1_000 })
      const one = sent(line)
      const two = sent(line, Effect.succeed(false))
      const three = sent(
        line,
        Effect.sync(() => {
          line.delete(one)
          line.delete(five)
          return true
        })
      )
      const four = sent(line)
      const five = sent(line, Effect.die("not asked"))
      for (const message of [one, two, three, four, five]) line.addLost(message)
      yield* line.decide
      assert.deepStrictEqual([...line], [three, four])
      line.sent(three)
      line.delete(four)
      assert.isTrue(line.isEmpty)
    }))

  it.effect("gives up all, in whichever state they are", () =>
    Effect.gen(function*() {
      const line = new ResendLine({ maxWaiting: 100, maxWaitingBytes: 1_000 })
      const [ready, lost, paused] = [sent(line), sent(line), sent(line)]
      line.addLost(ready)
      yield* line.decide
      line.addLost(lost)
      line.addPaused(paused)
      assert.sameMembers([...line.takeAll()], [ready, lost, paused])
      assert.isTrue(line.isEmpty)
      assert.deepStrictEqual(line.takeAll(), [])
    }))
})
