/** What classic queues and quorum queues have in common. */
import { assert, describe, it } from "@effect/vitest"
import {
  consume,
  getAll,
  getOne,
  message,
  publish,
  refusal,
  TestConsumer,
  TestHost,
  textOf,
  texts
} from "./queueSupport.ts"

for (const type of ["classic", "quorum"] as const) {
  describe(`a ${type} queue`, () => {
    it("returns messages in the order in which they were published", () => {
      const queue = new TestHost().queue(type)
      publish(queue, "a", "b", "c")
      assert.deepStrictEqual(texts(queue.messages), ["a", "b", "c"])
      assert.deepStrictEqual(texts(getAll(queue)), ["a", "b", "c"])
      assert.isUndefined(queue.get(false))
    })

    it("keeps the order of thousands of messages while some are taken", () => {
      const queue = new TestHost().queue(type)
      const received: Array<string> = []
      const take = (count: number) => {
        for (let index = 0; index < count; index++) received.push(textOf(getOne(queue).message))
      }
      for (let number = 0; number < 6000; number++) publish(queue, String(number))
      take(4000)
      for (let number = 6000; number < 8000; number++) publish(queue, String(number))
      take(4000)
      assert.deepStrictEqual(received, Array.from({ length: 8000 }, (_, index) => String(index)))
    })

    it("counts ready messages, unacknowledged messages and consumers", () => {
      const queue = new TestHost().queue(type)
      const counts = () => [queue.messageCount, queue.unacknowledgedCount, queue.consumerCount]
      publish(queue, "a", "b", "c", "d")
      assert.deepStrictEqual(counts(), [4, 0, 0])
      const first = getOne(queue)
      assert.deepStrictEqual(counts(), [3, 1, 0])
      queue.get(true)
      assert.deepStrictEqual(counts(), [2, 1, 0])
      const consumer = consume(queue, { prefetch: 1 })
      assert.deepStrictEqual(counts(), [1, 2, 1])
      queue.requeue([first])
      assert.deepStrictEqual(counts(), [2, 1, 1])
      consumer.acknowledge(...consumer.unsettled)
      assert.deepStrictEqual(counts(), [1, 1, 1])
      consumer.reject(...consumer.unsettled)
      assert.deepStrictEqual(counts(), [0, 1, 1])
      queue.cancel(consumer)
      assert.deepStrictEqual(counts(), [0, 1, 0])
    })

    it("delivers to a consumer only when it is ready", () => {
      const queue = new TestHost().queue(type)
      const consumer = consume(queue, { prefetch: 2 })
      publish(queue, "a", "b", "c", "d")
      assert.deepStrictEqual(texts(consumer.received), ["a", "b"])
      consumer.acknowledge(...consumer.unsettled)
      assert.deepStrictEqual(texts(consumer.received), ["a", "b", "c", "d"])
    })

    it("serves its consumers round-robin", () => {
      const queue = new TestHost().queue(type)
      const log: Array<string> = []
      for (const tag of ["A", "B", "C"]) consume(queue, { tag, log })
      publish(queue, "1", "2", "3", "4")
      assert.deepStrictEqual(log, ["A1", "B2", "C3", "A4"])
    })

    it("serves consumers with a higher priority first, as long as they are ready", () => {
      const queue = new TestHost().queue(type)
      const log: Array<string> = []
      for (const [tag, priority] of [["A", 0], ["B", 0], ["P", 3], ["C", 0]] as const) {
        consume(queue, { tag, priority, log, prefetch: 2 })
      }
      for (let number = 0; number < 10; number++) publish(queue, String(number))
      assert.deepStrictEqual(log, ["P0", "P1", "A2", "B3", "C4", "A5", "B6", "C7"])
      assert.strictEqual(queue.messageCount, 2)
    })

    it("does not keep messages that are delivered without acknowledgement", () => {
      const queue = new TestHost().queue(type)
      const consumer = consume(queue, { noAck: true })
      publish(queue, "a", "b")
      assert.strictEqual(consumer.received.length, 2)
      assert.strictEqual(queue.unacknowledgedCount, 0)
    })

    it("marks only messages that were put back as redelivered", () => {
      const queue = new TestHost().queue(type)
      publish(queue, "a", "b")
      queue.release([getOne(queue)])
      assert.deepStrictEqual(texts(getAll(queue)), ["a'", "b"])
    })

    it("ignores a second settlement, and one after it was deleted", () => {
      const host = new TestHost()
      const queue = host.queue(type, { "x-dead-letter-exchange": "dlx" })
      publish(queue, "a", "b")
      const [first, second] = getAll(queue)
      queue.acknowledge([first])
      queue.requeue([first])
      queue.reject([first])
      assert.strictEqual(queue.messageCount, 0)
      queue.requeue([second])
      queue.requeue([second])
      queue.acknowledge([second])
      assert.deepStrictEqual(texts(queue.messages), ["b'"])
      const again = getOne(queue)
      queue.delete()
      queue.requeue([again])
      queue.reject([again])
      assert.strictEqual(queue.messageCount, 0)
      assert.deepStrictEqual(host.deadLetters, [])
    })

    it("purges ready messages and keeps unacknowledged ones", () => {
      const queue = new TestHost().queue(type)
      publish(queue, "a", "b", "c")
      const first = getOne(queue)
      assert.strictEqual(queue.purge(), 2)
      assert.deepStrictEqual([queue.messageCount, queue.unacknowledgedCount], [0, 1])
      queue.requeue([first])
      assert.deepStrictEqual(texts(getAll(queue)), ["a'"])
    })

    it("cancels its consumers and drops everything when it is deleted", () => {
      const host = new TestHost()
      const queue = host.queue(type, { "x-message-ttl": 1000, "x-expires": 1000 }, { autoDelete: true })
      const consumers = [consume(queue, { prefetch: 1 }), consume(queue, { prefetch: 1 })]
      publish(queue, "a", "b", "c")
      queue.delete()
      assert.deepStrictEqual(consumers.map(({ isCancelled }) => isCancelled), [true, true])
      assert.deepStrictEqual([queue.messageCount, queue.unacknowledgedCount, queue.consumerCount], [0, 0, 0])
      assert.deepStrictEqual(host.unused, [])
      assert.strictEqual(host.timers.pendingCount, 0)
    })

    it("is unused when it is auto-delete and loses its last consumer, but not before it had one", () => {
      const host = new TestHost()
      const queue = host.queue(type, {}, { autoDelete: true })
      queue.cancel(new TestConsumer(queue))
      assert.deepStrictEqual(host.unused, [])
      const [first, second] = [consume(queue), consume(queue)]
      queue.cancel(first)
      assert.deepStrictEqual(host.unused, [])
      queue.cancel(second)
      assert.deepStrictEqual(host.unused, ["q"])
    })

    it("expires after x-expires without consumers, gets and declarations", () => {
      const host = new TestHost()
      const { timers } = host
      const queue = host.queue(type, { "x-expires": 600 })
      timers.advance(400)
      queue.get(false)
      timers.advance(400)
      queue.touch()
      timers.advance(400)
      const consumer = consume(queue)
      timers.advance(5000)
      queue.get(false)
      queue.touch()
      timers.advance(5000)
      queue.cancel(consumer)
      timers.advance(400)
      publish(queue, "publishing is no use")
      timers.advance(199)
      assert.deepStrictEqual(host.unused, [])
      timers.advance(1)
      assert.deepStrictEqual(host.unused, ["q"])
    })

    it("delivers in order when a consumer publishes and settles during deliveries, thousands of times", () => {
      const queue = new TestHost().queue(type)
      const count = 20_000
      const consumer = consume(queue, {
        prefetch: 1,
        onDelivery: (entry, self) => {
          if (self.received.length < count) publish(queue, String(self.received.length))
          self.acknowledge(entry)
        }
      })
      publish(queue, "0")
      assert.deepStrictEqual(texts(consumer.received), Array.from({ length: count }, (_, index) => String(index)))
      assert.deepStrictEqual([queue.messageCount, queue.unacknowledgedCount], [0, 0])
    })

    it("stops delivering when a consumer deletes it during a delivery", () => {
      const queue = new TestHost().queue(type)
      publish(queue, "a", "b")
      const consumer = consume(queue, { onDelivery: () => queue.delete() })
      assert.deepStrictEqual(texts(consumer.received), ["a"])
      assert.isTrue(consumer.isCancelled)
    })

    it("continues to deliver after a consumer threw", () => {
      const queue = new TestHost().queue(type)
      const broken = consume(queue, {
        onDelivery: () => {
          throw new Error("broken")
        }
      })
      assert.throws(() => queue.publish(message("a")), "broken")
      queue.cancel(broken)
      const consumer = consume(queue)
      publish(queue, "b")
      assert.deepStrictEqual(texts(consumer.received), ["b"])
    })

    it("refuses arguments of basic.consume for other types of queues or with wrong values", () => {
      const queue = new TestHost().queue(type)
      const refused = (args: TestConsumer["arguments"]) => refusal(() => consume(queue, { arguments: args }))
      assert.strictEqual(
        refused({ "x-stream-offset": 1 }),
        `406 PRECONDITION_FAILED - invalid arg 'x-stream-offset' for queue 'q' in vhost '/' of queue type rabbit_${type}_queue`
      )
      assert.strictEqual(
        refused({ "x-priority": "high" }),
        "406 PRECONDITION_FAILED - invalid arg 'x-priority' for queue 'q' in vhost '/': \"expected integer, got longstr\""
      )
      assert.strictEqual(
        refused({ "x-priority": 1.5 }),
        "406 PRECONDITION_FAILED - invalid arg 'x-priority' for queue 'q' in vhost '/': \"expected integer, got double\""
      )
      assert.include(
        refused({ "x-cancel-on-ha-failover": 3 }),
        type === "classic" ? ": {unacceptable_type,byte}" : " of queue type rabbit_quorum_queue"
      )
      assert.strictEqual(queue.consumerCount, 0)
      consume(queue, { arguments: { "x-priority": 3, "x-unknown": 1 } })
      assert.strictEqual(queue.consumerCount, 1)
    })
  })
}

describe("a classic queue", () => {
  it("puts messages back in their original places, whatever the order of the requeues", () => {
    const queue = new TestHost().queue("classic")
    publish(queue, "a", "b", "c", "d", "e", "f")
    const [a, b, c, d] = [getOne(queue), getOne(queue), getOne(queue), getOne(queue)]
    queue.requeue([d])
    queue.requeue([a])
    assert.deepStrictEqual(texts(queue.messages), ["a'", "d'", "e", "f"])
    queue.requeue([c, b])
    publish(queue, "g")
    assert.deepStrictEqual(texts(queue.messages), ["a'", "b'", "c'", "d'", "e", "f", "g"])
    assert.deepStrictEqual(texts(getAll(queue)), ["a'", "b'", "c'", "d'", "e", "f", "g"])
  })

  it("delivers messages with a higher priority first, up to x-max-priority, and treats a missing one as 0", () => {
    const queue = new TestHost().queue("classic", { "x-max-priority": 3 })
    for (const [text, priority] of [["a", 1], ["b", undefined], ["c", 9], ["d", 3], ["e", 0]] as const) {
      queue.publish(message(text, { priority }))
    }
    assert.deepStrictEqual(texts(queue.messages), ["c", "d", "a", "b", "e"])
    const [c, d, a] = getAll(queue)
    queue.requeue([a, d, c])
    queue.publish(message("f", { priority: 3 }))
    assert.deepStrictEqual(texts(getAll(queue)), ["c'", "d'", "f", "a'"])
  })

  it("ignores priorities without x-max-priority", () => {
    const queue = new TestHost().queue("classic")
    queue.publish(message("a", { priority: 1 }))
    queue.publish(message("b", { priority: 9 }))
    assert.deepStrictEqual(texts(getAll(queue)), ["a", "b"])
  })

  it("refuses an exclusive consumer beside others, and others beside it", () => {
    const inUse = "403 ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use"
    const exclusive = new TestHost().queue("classic")
    const first = consume(exclusive, { exclusive: true })
    assert.strictEqual(refusal(() => consume(exclusive)), inUse)
    assert.strictEqual(refusal(() => consume(exclusive, { exclusive: true })), inUse)
    exclusive.cancel(first)
    consume(exclusive)
    assert.strictEqual(refusal(() => consume(exclusive, { exclusive: true })), inUse)
    const active = new TestHost().queue("classic", { "x-single-active-consumer": true })
    assert.strictEqual(refusal(() => consume(active, { exclusive: true })), inUse)
  })

  it("replaces its single active consumer with the oldest one of the highest priority", () => {
    const queue = new TestHost().queue("classic", { "x-single-active-consumer": true })
    const log: Array<string> = []
    const add = (tag: string, priority: number) => consume(queue, { tag, priority, log })
    const [a, b, c, d, e] = [add("A", 0), add("B", 0), add("C", 5), add("D", 1), add("E", 5)]
    publish(queue, "0")
    for (const consumer of [a, c, e, d]) {
      queue.cancel(consumer)
      publish(queue, "1")
    }
    queue.cancel(b)
    publish(queue, "2")
    assert.deepStrictEqual(log, ["A0", "C1", "E1", "D1", "B1"])
    assert.strictEqual(queue.messageCount, 1)
  })

  it("delivers to no other consumer while its single active one is not ready, and the rest to its successor", () => {
    const queue = new TestHost().queue("classic", { "x-single-active-consumer": true })
    const [first, second] = [consume(queue, { prefetch: 1 }), consume(queue, { prefetch: 1 })]
    publish(queue, "a", "b", "c")
    assert.deepStrictEqual([first.received.length, second.received.length], [1, 0])
    queue.cancel(first)
    assert.deepStrictEqual(texts(second.received), ["b"])
    queue.release(first.unsettled)
    second.acknowledge(...second.unsettled)
    assert.deepStrictEqual(texts(second.received), ["b", "a'"])
  })
})

describe("a quorum queue", () => {
  it("puts messages that a client requeues at the end, and those of a closed channel at the front", () => {
    const queue = new TestHost().queue("quorum")
    publish(queue, "a", "b", "c", "d", "e", "f")
    const [a, b, c, d] = [getOne(queue), getOne(queue), getOne(queue), getOne(queue)]
    queue.requeue([d])
    queue.requeue([a])
    queue.release([b, c])
    assert.deepStrictEqual(texts(getAll(queue)), ["b'", "c'", "e", "f", "d'", "a'"])
  })

  it("reports how often a message was put back from the second delivery on, and always to basic.get", () => {
    const queue = new TestHost().queue("quorum")
    queue.publish(message("a", { headers: { k: 1 } }))
    const consumer = consume(queue, { prefetch: 1 })
    const count = () => consumer.received.at(-1)?.message.properties.headers
    assert.deepStrictEqual(count(), { k: 1 })
    consumer.requeue(...consumer.unsettled)
    assert.deepInclude(count(), { k: 1 })
    assert.deepInclude(count()?.["x-delivery-count"], { type: "int64", value: 1 })
    queue.cancel(consumer)
    queue.release(consumer.unsettled)
    assert.deepInclude(getOne(queue).message.properties.headers?.["x-delivery-count"], { type: "int64", value: 2 })
    publish(queue, "b")
    const inspected = getOne(queue)
    assert.deepInclude(inspected.message.properties.headers?.["x-delivery-count"], { type: "int64", value: 0 })
    assert.isFalse(inspected.redelivered)
  })

  it("with a delivery limit puts messages back at the front, in the order of their return, and drops those that exceed the limit", () => {
    const host = new TestHost()
    const queue = host.queue("quorum", { "x-delivery-limit": 2, "x-dead-letter-exchange": "dlx" })
    publish(queue, "a", "b", "c")
    const [a, b] = [getOne(queue), getOne(queue)]
    queue.requeue([b])
    queue.requeue([a])
    assert.deepStrictEqual(texts(queue.messages), ["b'", "a'", "c"])
    queue.requeue(getAll(queue))
    assert.deepStrictEqual(host.deadLetters, [])
    queue.release(getAll(queue))
    assert.deepStrictEqual(texts(queue.messages), ["c'"])
    assert.strictEqual(host.deadLetters.length, 2)
    assert.deepInclude(host.deadLetters[0].properties.headers, { "x-first-death-reason": "delivery_limit" })
    assert.notProperty(host.deadLetters[0].properties.headers, "x-delivery-count")
  })

  it("accepts any number of exclusive consumers, because it ignores that option", () => {
    const queue = new TestHost().queue("quorum")
    consume(queue, { exclusive: true })
    consume(queue, { exclusive: true })
    consume(queue)
    assert.strictEqual(queue.consumerCount, 3)
  })

  it("refuses consumers on a channel with a global prefetch", () => {
    const queue = new TestHost().queue("quorum")
    assert.strictEqual(
      refusal(() => consume(queue, { globalPrefetch: true })),
      "540 NOT_IMPLEMENTED - queue 'q' in vhost '/' does not support global qos"
    )
  })

  it("replaces its single active consumer with the oldest one, and refuses basic.get beside it", () => {
    const queue = new TestHost().queue("quorum", { "x-single-active-consumer": true })
    const log: Array<string> = []
    const add = (tag: string, priority: number) => consume(queue, { tag, priority, log })
    const [a, b] = [add("A", 0), add("B", 0), add("C", 5)]
    for (const consumer of [a, b]) {
      publish(queue, "1")
      queue.cancel(consumer)
    }
    publish(queue, "1")
    assert.deepStrictEqual(log, ["A1", "B1", "C1"])
    assert.strictEqual(
      refusal(() => queue.get(true)),
      "405 RESOURCE_LOCKED - cannot obtain access to locked queue 'q' in vhost '/'. basic.get operations are not supported by quorum queues with single active consumer"
    )
  })
})
