import type { Acknowledgements } from "@effect-amqp/core/internal/channel/acknowledgements"
import { StreamPosition } from "@effect-amqp/core/internal/consuming/streamPosition"
import { encodeProperties } from "@effect-amqp/core/protocol/BasicProperties"
import { assert, describe, it } from "@effect/vitest"
import { written } from "../../protocol/support.ts"

const at = (offset: number | bigint) =>
  written((writer) => encodeProperties(writer, { headers: { "x-stream-offset": offset } }))

const settledBelow = (tag: number): Acknowledgements => {
  const acknowledgements: object = { settledBelow: tag }
  // Nothing else is read.
  return acknowledgements as Acknowledgements
}

const nothing: ReadonlySet<number> = new Set()

describe("the position in a stream", () => {
  it("is that of the options until a message was delivered", () => {
    const position = new StreamPosition()
    position.channelClosed(nothing)
    assert.isFalse(position.isKnown)
    assert.isUndefined(position.afterHandled())
    assert.isUndefined(position.afterDelivered())
  })

  it("is at the first message that was not settled, and otherwise after the last one (K11)", () => {
    const position = new StreamPosition()
    for (let tag = 1; tag <= 5; tag++) position.delivered(tag, at(tag * 10), settledBelow(1))
    assert.strictEqual(position.afterDelivered(), 51n)
    position.channelClosed(new Set([3, 5]))
    assert.strictEqual(position.afterHandled(), 30n)
    position.delivered(1, at(30), settledBelow(1))
    position.channelClosed(nothing)
    assert.strictEqual(position.afterHandled(), 31n)
    position.channelClosed(nothing)
    assert.strictEqual(position.afterHandled(), 31n)
  })

  it("counts beyond 2^53 exactly", () => {
    const position = new StreamPosition()
    position.delivered(1, at(2n ** 60n + 1n), settledBelow(1))
    assert.strictEqual(position.afterDelivered(), 2n ** 60n + 2n)
  })

  it("finds the first unsettled message after many that were settled", () => {
    const position = new StreamPosition()
    for (let tag = 1; tag <= 10_000; tag++) position.delivered(tag, at(tag), settledBelow(Math.max(1, tag - 100)))
    position.channelClosed(new Set([9_950, 10_000]))
    assert.strictEqual(position.afterHandled(), 9_950n)
  })
})
