import { Consumers } from "@effect-amqp/core/internal/channel/consumers"
import type { ConsumerSink } from "@effect-amqp/core/internal/channel/consumers"
import { assert, describe, it } from "@effect/vitest"

/** A sink that has buffered this many deliveries, and counts how often it is flushed. */
const makeSink = (buffered: number, expectsReply = false) => {
  const sink = {
    noAck: false,
    expectsReply,
    buffered,
    flushes: 0,
    deliver: () => {},
    flush: () => void sink.flushes++,
    cancelled: () => {},
    failed: () => {}
  }
  return sink satisfies ConsumerSink
}

describe("the consumers of a channel", () => {
  it("have different tags", () => {
    const consumers = new Consumers(7)
    assert.deepStrictEqual([consumers.newTag(), consumers.newTag()], ["effect-amqp-7-1", "effect-amqp-7-2"])
  })

  it("are found by their tags, with what their sink has registered, until they are removed", () => {
    const consumers = new Consumers(1)
    const sink = makeSink(0)
    consumers.add("a", sink, 1)
    consumers.add("b", sink, 2)
    assert.deepStrictEqual(consumers.find("b"), { sink, consumer: 2 })
    assert.deepStrictEqual(consumers.remove("b"), { sink, consumer: 2 })
    assert.isUndefined(consumers.find("b"))
    assert.isUndefined(consumers.remove("b"))
    assert.deepStrictEqual(consumers.find("a"), { sink, consumer: 1 })
  })

  it("of one sink are counted and flushed once", () => {
    const consumers = new Consumers(1)
    const shared = makeSink(3)
    const other = makeSink(4)
    consumers.add("a", shared, "queue a")
    consumers.add("b", other, "queue b")
    consumers.add("c", shared, "queue c")
    assert.strictEqual(consumers.buffered, 7)
    consumers.flush()
    assert.deepStrictEqual([shared.flushes, other.flushes], [1, 1])
    consumers.remove("a")
    assert.strictEqual(consumers.buffered, 7)
    consumers.remove("c")
    assert.strictEqual(consumers.buffered, 4)
    assert.deepStrictEqual(consumers.clear(), [other])
    assert.strictEqual(consumers.buffered, 0)
  })

  it("expect a reply if one of their sinks does", () => {
    const consumers = new Consumers(1)
    consumers.add("a", makeSink(0), undefined)
    assert.isFalse(consumers.expectsReply)
    consumers.add("b", makeSink(0, true), undefined)
    assert.isTrue(consumers.expectsReply)
    consumers.remove("b")
    assert.isFalse(consumers.expectsReply)
  })
})
