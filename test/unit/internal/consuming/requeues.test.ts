import { Acknowledgements } from "@effect-amqp/core/internal/channel/acknowledgements"
import { Requeues } from "@effect-amqp/core/internal/consuming/requeues"
import { Counts } from "@effect-amqp/core/internal/telemetry/counters"
import { Outbound } from "@effect-amqp/core/internal/wire/outbound"
import { FrameParser } from "@effect-amqp/core/protocol/FrameParser"
import type { Method } from "@effect-amqp/core/protocol/methods.generated"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { outboundHost } from "../../../support/outboundHost.ts"

const range = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, index) => first + index)

/** Requeues on a channel with these open deliveries. `sent` are the methods since the last call: `nack 1`, or `nack ...3` for all up to 3. */
const requeuing = (tags: ReadonlyArray<number>, hasNack = true) => {
  const counts = new Counts()
  const outbound = new Outbound(counts, outboundHost)
  const acknowledgements = new Acknowledgements(outbound, 1, hasNack, counts)
  for (const tag of tags) acknowledgements.delivered(tag)
  const sent = (): ReadonlyArray<string> => {
    acknowledgements.flush()
    const found: Array<string> = []
    const parser = new FrameParser({
      onMethod: (_: number, method: Method) => {
        if (!("deliveryTag" in method)) return assert.fail(method._tag)
        const all = "multiple" in method && method.multiple ? "..." : ""
        found.push(`${method._tag.slice("basic.".length)} ${all}${method.deliveryTag}`)
      },
      onHeader: () => {},
      onBody: () => {},
      onHeartbeat: () => {}
    }, { maxFrameSize: 0 })
    for (const chunk of outbound.writer.take()) parser.push(chunk)
    return found
  }
  return { acknowledgements, counts, requeues: new Requeues(acknowledgements), sent }
}

describe("messages that are requeued when a consumer stops", () => {
  it("share a method while they are the oldest open ones, 32 at most", () => {
    const { counts, requeues, sent } = requeuing(range(1, 70))
    requeues.add(range(1, 70))
    assert.deepStrictEqual(sent(), ["nack ...32", "nack ...64", "nack ...70"])
    assert.strictEqual(counts.requeued, 70)
  })

  it("have a method each while a handler is running with an older one", () => {
    const { acknowledgements, requeues, sent } = requeuing(range(1, 5))
    requeues.add([3, 4, 5])
    assert.deepStrictEqual(sent(), ["nack 3", "nack 4", "nack 5"])
    assert.deepStrictEqual(acknowledgements.openTags(), [1, 2])
  })

  it("never take the message of a handler that is between them", () => {
    const { acknowledgements, requeues, sent } = requeuing(range(1, 6))
    requeues.add([1, 2, 4, 5, 6])
    assert.deepStrictEqual(sent(), ["nack ...2", "nack 4", "nack 5", "nack 6"])
    assert.deepStrictEqual(acknowledgements.openTags(), [3])
  })

  it.effect("are requeued 16 at a time while a handler is running, and together when it has ended", () =>
    Effect.gen(function*() {
      const { acknowledgements, requeues, sent } = requeuing(range(1, 100))
      requeues.add(range(2, 100))
      assert.deepStrictEqual(sent(), range(2, 17).map((tag) => `nack ${tag}`))
      const rest = yield* Effect.forkChild(requeues.rest, { startImmediately: true })
      yield* TestClock.adjust("99 millis")
      assert.deepStrictEqual(sent(), [])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(sent(), range(18, 33).map((tag) => `nack ${tag}`))
      acknowledgements.ack(1)
      yield* TestClock.adjust("100 millis")
      assert.deepStrictEqual(sent(), ["ack 1", "nack ...65", "nack ...97", "nack ...100"])
      assert.isDefined(rest.pollUnsafe())
    }))

  it("are rejected one by one if the broker does not support basic.nack", () => {
    const { requeues, sent } = requeuing([1, 2], false)
    requeues.add([1, 2])
    assert.deepStrictEqual(sent(), ["reject 1", "reject 2"])
  })

  // 0: a handler has it, 1: it is requeued, 2: the same, but it is settled first.
  const kinds = Schema.Array(Schema.Literals([0, 1, 1, 1, 2]))

  it.effect.prop(
    "are exactly the given ones, whatever is open and settled",
    [kinds, kinds, kinds],
    (parts) =>
      Effect.gen(function*() {
        const kindOf = parts.flatMap((kinds) => [...kinds, ...kinds, ...kinds])
        const tags = kindOf.map((_, index) => index + 1)
        const ofKind = (...kinds: ReadonlyArray<number>) => tags.filter((tag) => kinds.includes(kindOf[tag - 1]))
        const { acknowledgements, requeues, sent } = requeuing(tags)
        for (const tag of ofKind(2)) acknowledgements.ack(tag)
        sent()
        requeues.add(ofKind(1, 2))
        const rest = yield* Effect.forkChild(requeues.rest, { startImmediately: true })
        yield* TestClock.adjust("10 seconds")
        assert.isDefined(rest.pollUnsafe())
        assert.deepStrictEqual(acknowledgements.openTags(), ofKind(0))
        const handled = Math.min(...ofKind(0))
        for (const method of sent()) {
          const [, multiple, tag = ""] = /^nack (\.*)(\d+)$/.exec(method) ?? assert.fail(method)
          if (multiple !== "") assert.isBelow(Number(tag), handled)
          else assert.strictEqual(kindOf[Number(tag) - 1], 1)
        }
      })
  )
})
