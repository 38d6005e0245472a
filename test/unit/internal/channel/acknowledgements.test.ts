import { Acknowledgements } from "@effect-amqp/core/internal/channel/acknowledgements"
import { Counts } from "@effect-amqp/core/internal/telemetry/counters"
import { Outbound } from "@effect-amqp/core/internal/wire/outbound"
import { FrameParser } from "@effect-amqp/core/protocol/FrameParser"
import type { Method } from "@effect-amqp/core/protocol/methods.generated"
import { ProtocolError } from "@effect-amqp/core/protocol/ProtocolError"
import { assert, describe, it } from "@effect/vitest"
import { outboundHost } from "../../../support/outboundHost.ts"

/** The acknowledgements of a channel, and a short form of what they send. */
const settling = () => {
  const counts = new Counts()
  const outbound = new Outbound(counts, outboundHost)
  const acknowledgements = new Acknowledgements(outbound, 1, true, counts)
  const sent = (): ReadonlyArray<string> => {
    acknowledgements.flush()
    const found: Array<string> = []
    const parser = new FrameParser({
      onMethod: (_: number, method: Method) => {
        if (!("deliveryTag" in method)) return assert.fail(method._tag)
        const all = "multiple" in method && method.multiple ? "..." : ""
        found.push(`${method._tag.slice(6)} ${all}${method.deliveryTag}`)
      },
      onHeader: () => {},
      onBody: () => {},
      onHeartbeat: () => {}
    }, { maxFrameSize: 0 })
    for (const chunk of outbound.writer.take()) parser.push(chunk)
    return found
  }
  return { acknowledgements, sent }
}

describe("the acknowledgements of a channel", () => {
  for (
    const [what, tags] of [
      ["do not start at 1", [101, 102, 103]],
      ["have gaps", [1, 5, 9]],
      ["have very large gaps", [1, 2 ** 40, 2 ** 52]],
      ["are bigints", [1n, 2n, 3n]]
    ] as const
  ) {
    it(`use the server's delivery tags, even if they ${what}`, () => {
      const { acknowledgements, sent } = settling()
      for (const tag of tags) acknowledgements.delivered(tag)
      const [first, second, third] = tags.map(Number)
      assert.strictEqual(acknowledgements.openCount, 3)
      assert.deepStrictEqual(acknowledgements.openTags(), [first, second, third])
      assert.isTrue(acknowledgements.ack(second))
      assert.isFalse(acknowledgements.ack(second))
      assert.isFalse(acknowledgements.ack(second + 1 === third ? third + 1 : second + 1))
      assert.deepStrictEqual(sent(), [`ack ${second}`])
      assert.isTrue(acknowledgements.ack(first))
      assert.isTrue(acknowledgements.ack(third))
      assert.deepStrictEqual(sent(), [`ack ...${third}`])
      assert.isFalse(acknowledgements.open)
    })
  }

  it("never cover an unsettled delivery, whatever tags are missing before it", () => {
    const { acknowledgements, sent } = settling()
    for (const tag of [3, 4, 10, 11, 500, 501]) acknowledgements.delivered(tag)
    for (const tag of [3, 4, 11, 500]) acknowledgements.ack(tag)
    assert.deepStrictEqual(sent(), ["ack ...4", "ack 11", "ack 500"])
    acknowledgements.nack(10, true)
    acknowledgements.ack(501)
    assert.deepStrictEqual(sent(), ["nack 10", "ack 501"])
  })

  it("use no memory for missing tags and settled deliveries", () => {
    const { acknowledgements, sent } = settling()
    let tag = 1
    for (let round = 0; round < 10_000; round++) {
      tag += 2 ** 37
      acknowledgements.delivered(tag)
      assert.isTrue(acknowledgements.ack(tag))
      sent()
    }
    assert.isBelow(JSON.stringify(Reflect.get(acknowledgements, "states")).length, 10_000)
  })

  it("find each of many deliveries, with and without gaps between them", () => {
    const { acknowledgements, sent } = settling()
    const tags = Array.from({ length: 5000 }, (_, index) => 7 + index + (index % 3 === 0 ? index * 11 : index * 11 + 1))
    for (const tag of tags) acknowledgements.delivered(tag)
    for (const tag of tags.toReversed()) assert.isTrue(acknowledgements.ack(tag), String(tag))
    assert.deepStrictEqual(sent(), [`ack ...${tags.at(-1)}`])
  })

  for (const [before, tag] of [[5, 5], [5, 4], [0, 0], [0, -1], [5, 2 ** 53], [5, Number.NaN]] as const) {
    it(`refuse the tag ${tag} after ${before}`, () => {
      const { acknowledgements } = settling()
      if (before > 0) acknowledgements.delivered(before)
      assert.throws(() => acknowledgements.delivered(tag), ProtocolError)
    })
  }
})
