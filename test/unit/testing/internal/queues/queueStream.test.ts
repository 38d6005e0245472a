import { TypedField } from "@effect-amqp/core/protocol/fieldTable"
import type { FieldValue } from "@effect-amqp/core/protocol/fieldTable"
import type { Queue } from "@effect-amqp/core/testing/internal/queues/queue"
import { assert, describe, it } from "@effect/vitest"
import { inspect } from "node:util"
import type { TestConsumer } from "./queueSupport.ts"
import { consume, message, publish, refusal, TestHost, texts } from "./queueSupport.ts"

const from = (queue: Queue, offset: FieldValue | undefined, prefetch = 100) =>
  consume(queue, { prefetch, arguments: { "x-stream-offset": offset } })

/** What a consumer receives that begins at the offset. */
const read = (queue: Queue, offset: FieldValue | undefined): ReadonlyArray<string> => {
  const consumer = from(queue, offset)
  queue.cancel(consumer)
  return texts(consumer.received)
}

describe("a stream", () => {
  it("delivers every message to every consumer with its offset, and keeps it", () => {
    const queue = new TestHost().queue("stream")
    queue.publish(message("a", { headers: { k: "v" }, expiration: "5" }))
    publish(queue, "b")
    const consumers = [from(queue, "first"), from(queue, "first")]
    publish(queue, "c")
    for (const consumer of consumers) {
      assert.deepStrictEqual(texts(consumer.received), ["a", "b", "c"])
      assert.deepStrictEqual(
        consumer.received.map(({ message }) => message.properties.headers?.["x-stream-offset"]),
        [0, 1, 2].map((offset) => TypedField.int64(offset))
      )
      assert.deepInclude(consumer.received[0].message.properties, { expiration: "5" })
      assert.deepInclude(consumer.received[0].message.properties.headers, { k: "v" })
      consumer.acknowledge(...consumer.unsettled)
    }
    assert.deepStrictEqual([queue.messageCount, queue.unacknowledgedCount, queue.consumerCount], [3, 0, 2])
    assert.deepStrictEqual(texts(queue.messages), ["a", "b", "c"])
  })

  it("begins at the x-stream-offset of the consumer", () => {
    const host = new TestHost()
    const queue = host.queue("stream")
    assert.deepStrictEqual(read(queue, "last"), [])
    for (const text of ["a", "b", "c", "d", "e"]) {
      publish(queue, text)
      host.timers.advance(1000)
    }
    const all = ["a", "b", "c", "d", "e"]
    const ago = (seconds: number) => new Date(host.timers.now() - 1000 * seconds)
    const cases: ReadonlyArray<readonly [FieldValue | undefined, ReadonlyArray<string>]> = [
      ["first", all],
      ["last", ["e"]],
      ["next", []],
      [undefined, []],
      [2, ["c", "d", "e"]],
      [3n, ["d", "e"]],
      [-1, all],
      [100, []],
      ["1h", all],
      ["2s", ["d", "e"]],
      [ago(3), ["c", "d", "e"]],
      [new Date(0), all],
      [ago(-1000), []],
      [TypedField.timestamp(2n ** 63n), []]
    ]
    for (const [offset, expected] of cases) assert.deepStrictEqual(read(queue, offset), expected, inspect(offset))
  })

  it("delivers nothing until the offset of a consumer is reached", () => {
    const queue = new TestHost().queue("stream")
    publish(queue, "a", "b")
    const [fourth, next] = [from(queue, 3), from(queue, "next")]
    publish(queue, "c", "d", "e")
    assert.deepStrictEqual(texts(fourth.received), ["d", "e"])
    assert.deepStrictEqual(texts(next.received), ["c", "d", "e"])
  })

  it("refuses an invalid offset", () => {
    const queue = new TestHost().queue("stream")
    const invalid = "406 PRECONDITION_FAILED - invalid arg 'x-stream-offset' for queue 'q' in vhost '/': "
    assert.strictEqual(
      refusal(() => from(queue, "1y")),
      `${invalid}{invalid_stream_offset_arg,{longstr,<<"1y">>}}`
    )
    // RabbitMQ 3.10 crashes on these.
    const odd = [true, 1.5, TypedField.double(5), TypedField.float(5), null, [1], { a: 1 }]
    for (const offset of ["", "h", "y1", ...odd]) {
      assert.strictEqual(refusal(() => from(queue, offset)), "541 INTERNAL_ERROR", inspect(offset))
    }
    assert.strictEqual(queue.consumerCount, 0)
    // RabbitMQ 4.3 crashes only on those that are not text.
    const newer = new TestHost("4.3").queue("stream")
    assert.strictEqual(
      refusal(() => from(newer, "h")),
      `${invalid}{invalid_stream_offset_arg,{longstr,<<"h">>}}`
    )
    for (const offset of odd) {
      assert.strictEqual(refusal(() => from(newer, offset)), "541 INTERNAL_ERROR", inspect(offset))
    }
  })

  it("delivers more after an acknowledgement", () => {
    const queue = new TestHost().queue("stream")
    publish(queue, "a", "b", "c", "d")
    const consumer = from(queue, "first", 2)
    assert.deepStrictEqual(texts(consumer.received), ["a", "b"])
    assert.strictEqual(queue.unacknowledgedCount, 2)
    consumer.acknowledge(consumer.unsettled[1])
    assert.deepStrictEqual(texts(consumer.received), ["a", "b", "c"])
  })

  it("does not redeliver the messages of a closed channel", () => {
    const queue = new TestHost().queue("stream")
    publish(queue, "a")
    const consumer = from(queue, "first")
    queue.cancel(consumer)
    queue.release(consumer.unsettled)
    assert.deepStrictEqual([queue.messageCount, queue.unacknowledgedCount, queue.consumerCount], [1, 0, 0])
    publish(queue, "b")
    assert.deepStrictEqual(texts(consumer.received), ["a"])
  })

  it("refuses the same operations as RabbitMQ, with the same texts", () => {
    const queue = new TestHost().queue("stream")
    publish(queue, "a")
    const unsupported = (what: string) =>
      `540 NOT_IMPLEMENTED - ${what} not supported by stream queues queue 'q' in vhost '/'`
    const { unsettled } = from(queue, "first")
    assert.strictEqual(refusal(() => queue.get(true)), unsupported("basic.get"))
    assert.strictEqual(refusal(() => queue.purge()), unsupported("queue.purge"))
    assert.strictEqual(refusal(() => queue.requeue(unsettled)), unsupported("basic.nack and basic.reject"))
    assert.strictEqual(refusal(() => queue.reject(unsettled)), unsupported("basic.nack and basic.reject"))
    assert.strictEqual(
      refusal(() => consume(queue, { prefetch: 1, noAck: true })),
      unsupported("automatic acknowledgement")
    )
    for (const noAck of [true, false]) {
      assert.strictEqual(
        refusal(() => consume(queue, { noAck })),
        "406 PRECONDITION_FAILED - consumer prefetch count is not set for 'queue 'q' in vhost '/''"
      )
    }
    assert.strictEqual(
      refusal(() => consume(queue, { prefetch: 1, globalPrefetch: true })),
      "540 NOT_IMPLEMENTED - queue 'q' in vhost '/' does not support global qos"
    )
    assert.strictEqual(
      refusal(() => consume(queue, { prefetch: 1, arguments: { "x-priority": 3 } })),
      "406 PRECONDITION_FAILED - invalid arg 'x-priority' for queue 'q' in vhost '/' of queue type rabbit_stream_queue"
    )
    assert.strictEqual(queue.consumerCount, 1)
  })

  it("cancels its consumers and drops everything when it is deleted", () => {
    const queue = new TestHost().queue("stream")
    publish(queue, "a")
    const consumer = from(queue, "first")
    queue.delete()
    assert.isTrue(consumer.isCancelled)
    assert.deepStrictEqual([queue.messageCount, queue.unacknowledgedCount, queue.consumerCount], [0, 0, 0])
  })

  it("drops its oldest segments beyond x-max-length-bytes when a new one begins", () => {
    const queue = new TestHost().queue("stream", {
      "x-max-length-bytes": 20,
      "x-stream-max-segment-size-bytes": 10
    })
    const slow = from(queue, "first", 1)
    for (let number = 10; number < 30; number++) publish(queue, String(number))
    const kept = () => [texts(queue.messages).at(0), queue.messageCount]
    assert.deepStrictEqual(kept(), ["15", 15])
    publish(queue, "30")
    assert.deepStrictEqual(kept(), ["20", 11])
    assert.deepStrictEqual(read(queue, "first").at(0), "20")
    assert.deepStrictEqual(read(queue, 3).at(0), "20")
    assert.deepStrictEqual(read(queue, 12).at(0), "22")
    slow.acknowledge(...slow.unsettled)
    assert.deepStrictEqual(texts(slow.received), ["10", "20"])
  })

  it("drops segments older than x-max-age when a new one begins", () => {
    const host = new TestHost()
    const queue = host.queue("stream", { "x-max-age": "1m", "x-stream-max-segment-size-bytes": 2 })
    publish(queue, "a", "b", "c")
    host.timers.advance(30_000)
    publish(queue, "d", "e", "f")
    host.timers.advance(30_001)
    publish(queue, "g")
    assert.deepStrictEqual(texts(queue.messages), ["c", "d", "e", "f", "g"])
  })

  it("delivers nothing to a consumer that was cancelled during the delivery to another one", () => {
    const queue = new TestHost().queue("stream")
    const last: Array<TestConsumer> = []
    consume(queue, { prefetch: 1, onDelivery: () => queue.cancel(last[0]) })
    last.push(from(queue, "next"))
    publish(queue, "a", "b")
    assert.deepStrictEqual(texts(last[0].received), [])
  })

  it("delivers in order when consumers publish, acknowledge, start and stop during deliveries", () => {
    const queue = new TestHost().queue("stream")
    const count = 5000
    const late: Array<TestConsumer> = []
    const consumer = consume(queue, {
      prefetch: 1,
      onDelivery: (entry, self) => {
        if (self.received.length < count) publish(queue, String(self.received.length))
        if (self.received.length === 10) late.push(from(queue, "first"))
        if (self.received.length === 20) queue.cancel(late[0])
        self.acknowledge(entry)
      }
    })
    publish(queue, "0")
    const expected = Array.from({ length: count }, (_, index) => String(index))
    assert.deepStrictEqual(texts(consumer.received), expected)
    const seen = texts(late[0].received)
    assert.isAbove(seen.length, 0)
    assert.isBelow(seen.length, 20)
    assert.deepStrictEqual(seen, expected.slice(0, seen.length))
  })
})
