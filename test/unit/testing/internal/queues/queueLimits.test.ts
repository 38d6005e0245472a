/** Expired and excess messages of queues, and their dead letters. */
import { TypedField } from "@effect-amqp/core/protocol/fieldTable"
import type { FieldTable } from "@effect-amqp/core/protocol/fieldTable"
import type { Message } from "@effect-amqp/core/testing/internal/common/message"
import * as Timers from "@effect-amqp/core/testing/internal/common/timers"
import { rulesOf } from "@effect-amqp/core/testing/internal/common/versionRules"
import { closesCycle, deadLetter } from "@effect-amqp/core/testing/internal/queues/deadLetters"
import type { Death } from "@effect-amqp/core/testing/internal/queues/deadLetters"
import { makeQueue } from "@effect-amqp/core/testing/internal/queues/makeQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import { consume, getAll, getOne, message, publish, TestHost, textOf, texts } from "./queueSupport.ts"

const toDlx = { "x-dead-letter-exchange": "dlx" } as const

/** The texts of dead letters with the reason of their first death. */
const reasons = (letters: ReadonlyArray<Message>): ReadonlyArray<string> =>
  letters.map((letter) => {
    const reason = letter.properties.headers?.["x-first-death-reason"]
    return `${textOf(letter)} ${typeof reason === "string" ? reason : assert.fail("no reason")}`
  })

for (const type of ["classic", "quorum"] as const) {
  describe(`messages of a ${type} queue`, () => {
    it("expire at the age of x-message-ttl", () => {
      const host = new TestHost()
      const queue = host.queue(type, { ...toDlx, "x-message-ttl": 1000 })
      publish(queue, "a")
      host.timers.advance(400)
      publish(queue, "b")
      host.timers.advance(599)
      assert.strictEqual(queue.messageCount, 2)
      host.timers.advance(1)
      assert.deepStrictEqual(texts(queue.messages), ["b"])
      host.timers.advance(400)
      assert.strictEqual(queue.messageCount, 0)
      assert.deepStrictEqual(reasons(host.deadLetters), ["a expired", "b expired"])
      assert.strictEqual(host.timers.pendingCount, 0)
    })

    it("expire by their own expiration or the queue's TTL, whichever is shorter", () => {
      const host = new TestHost()
      const queue = host.queue(type, { "x-message-ttl": 1000 })
      queue.publish(message("a", { expiration: "500" }))
      queue.publish(message("b", { expiration: "5000" }))
      host.timers.advance(500)
      assert.deepStrictEqual(texts(queue.messages), ["b"])
      host.timers.advance(500)
      assert.deepStrictEqual(texts(queue.messages), [])
    })

    it("expire only at the head of the queue", () => {
      const host = new TestHost()
      const queue = host.queue(type)
      publish(queue, "a")
      queue.publish(message("b", { expiration: "10" }))
      host.timers.advance(200)
      assert.strictEqual(queue.messageCount, 2)
      assert.strictEqual(textOf(getOne(queue).message), "a")
      // A quorum queue counts the message until its timer fires.
      assert.strictEqual(queue.messageCount, type === "quorum" ? 1 : 0)
      host.timers.advance(0)
      assert.strictEqual(queue.messageCount, 0)
    })

    it("expire behind one that basic.get fetches without acknowledgement", () => {
      const host = new TestHost()
      const queue = host.queue(type, toDlx)
      publish(queue, "a", "b")
      for (const text of ["c", "d"]) queue.publish(message(text, { expiration: "10" }))
      publish(queue, "e")
      host.timers.advance(10)
      for (const left of [4, 1, 0]) {
        assert.isDefined(queue.get(true))
        assert.strictEqual(queue.messageCount, left)
      }
      assert.deepStrictEqual(reasons(host.deadLetters), ["c expired", "d expired"])
    })

    it("are never delivered after they expired, even before the timer fires", () => {
      const host = new TestHost()
      const queue = host.queue(type, toDlx)
      publish(queue, "a")
      queue.publish(message("b", { expiration: "10" }))
      publish(queue, "c")
      host.timers.advance(10)
      assert.deepStrictEqual(texts(getAll(queue)), ["a", "c"])
      assert.deepStrictEqual(reasons(host.deadLetters), ["b expired"])
    })

    it("keep their expiry when they are put back", () => {
      const host = new TestHost()
      const queue = host.queue(type, toDlx)
      queue.publish(message("a", { expiration: "100" }))
      queue.publish(message("b", { expiration: "200" }))
      const [a, b] = getAll(queue)
      host.timers.advance(150)
      queue.requeue([a, b])
      assert.deepStrictEqual(texts(queue.messages), ["b'"])
      host.timers.advance(50)
      assert.deepStrictEqual(reasons(host.deadLetters), ["a expired", "b expired"])
    })

    it("with a TTL of 0 are delivered at once or not at all", () => {
      const host = new TestHost()
      const queue = host.queue(type, { ...toDlx, "x-message-ttl": 0 })
      const consumer = consume(queue, { prefetch: 1 })
      publish(queue, "a", "b")
      assert.deepStrictEqual(texts(consumer.received), ["a"])
      consumer.requeue(...consumer.unsettled)
      assert.deepStrictEqual(texts(consumer.received), ["a"])
      assert.deepStrictEqual(reasons(host.deadLetters), ["b expired", "a expired"])
      const echo = consume(queue, {
        onDelivery: () => void (echo.received.length < 3 && publish(queue, String(echo.received.length)))
      })
      queue.cancel(consumer)
      publish(queue, "0")
      assert.deepStrictEqual(texts(echo.received), ["0", "1", "2"])
    })

    it("beyond x-max-length are dropped from the head, also when others are put back", () => {
      const host = new TestHost()
      const queue = host.queue(type, { ...toDlx, "x-max-length": 2 })
      publish(queue, "a", "b", "c")
      assert.deepStrictEqual(texts(queue.messages), ["b", "c"])
      const b = getOne(queue)
      publish(queue, "d")
      assert.deepStrictEqual(texts(queue.messages), ["c", "d"])
      queue.release([b])
      assert.deepStrictEqual(texts(queue.messages), ["c", "d"])
      assert.deepStrictEqual(reasons(host.deadLetters), ["a maxlen", "b maxlen"])
    })

    it("beyond x-max-length-bytes are dropped from the head, until the rest fits", () => {
      const host = new TestHost()
      const queue = host.queue(type, { ...toDlx, "x-max-length-bytes": 10 })
      publish(queue, "12345", "67890")
      assert.strictEqual(queue.messageCount, 2)
      publish(queue, "x")
      assert.deepStrictEqual(texts(queue.messages), ["67890", "x"])
      publish(queue, "0123456789ab")
      assert.deepStrictEqual(texts(queue.messages), [])
      publish(queue, "y")
      assert.deepStrictEqual(texts(queue.messages), ["y"])
    })

    it("are delivered to a ready consumer although none may wait", () => {
      const queue = new TestHost().queue(type, { "x-max-length": 0 })
      const consumer = consume(queue, { prefetch: 1 })
      publish(queue, "a", "b")
      assert.deepStrictEqual(texts(consumer.received), ["a"])
      assert.strictEqual(queue.messageCount, 0)
    })

    it("are dead-lettered when they are rejected, or dropped without a dead-letter exchange", () => {
      const host = new TestHost()
      const queue = host.queue(type, toDlx)
      publish(queue, "a", "b")
      queue.reject(getAll(queue))
      assert.deepStrictEqual(reasons(host.deadLetters), ["a rejected", "b rejected"])
      const other = host.queue(type)
      publish(other, "c")
      other.reject(getAll(other))
      assert.deepStrictEqual([other.unacknowledgedCount, host.deadLetters.length], [0, 2])
    })

    it("that are dead-lettered to their own queue go behind the others", () => {
      const host = new TestHost()
      const queue = host.queue(type, toDlx)
      host.deadLetter = (letter) => queue.publish(letter) ? "arrived" : "refused"
      publish(queue, "a", "b", "c")
      queue.reject([getOne(queue), getOne(queue)])
      assert.deepStrictEqual(texts(queue.messages), ["c", "a", "b"])
    })
  })
}

it.effect("messages expire by Effect's clock", () =>
  Effect.gen(function*() {
    const queue = makeQueue(
      { name: "q", type: "classic", durable: true, autoDelete: false, owner: undefined, arguments: {} },
      {
        virtualHost: "/",
        timers: yield* Timers.make,
        rules: rulesOf("3.10"),
        deadLetter: () => "arrived",
        afterAllQueues: (action) => action(),
        defer: (action) => action(),
        onUnused: () => {}
      }
    )
    for (const expiration of ["200", "100", "300"]) queue.publish(message(expiration, { expiration }))
    yield* TestClock.adjust(199)
    assert.strictEqual(queue.messageCount, 3)
    yield* TestClock.adjust(1)
    assert.deepStrictEqual(texts(queue.messages), ["300"])
    yield* TestClock.adjust(100)
    assert.strictEqual(queue.messageCount, 0)
  }))

describe("a full queue", () => {
  it("of type classic with reject-publish refuses messages that do not fit, even if a consumer is ready", () => {
    const host = new TestHost()
    const table = { ...toDlx, "x-overflow": "reject-publish" }
    const queue = host.queue("classic", { ...table, "x-max-length": 1 })
    consume(queue, { prefetch: 1 })
    const taken = ["a", "b", "c"].map((text) => queue.publish(message(text)))
    assert.deepStrictEqual(taken, [true, true, false])
    const none = host.queue("classic", { ...table, "x-max-length": 0 })
    consume(none)
    assert.isFalse(none.publish(message("a")))
    const bytes = host.queue("classic", { ...table, "x-max-length-bytes": 10 })
    assert.deepStrictEqual(["12345", "67890", "x", ""].map((text) => bytes.publish(message(text))), [
      true,
      true,
      false,
      true
    ])
    assert.deepStrictEqual(host.deadLetters, [])
  })

  it("with reject-publish-dlx dead-letters refused messages", () => {
    const host = new TestHost()
    const queue = host.queue("classic", { ...toDlx, "x-overflow": "reject-publish-dlx", "x-max-length": 1 })
    assert.deepStrictEqual(["a", "b"].map((text) => queue.publish(message(text))), [true, false])
    assert.deepStrictEqual(reasons(host.deadLetters), ["b maxlen"])
    assert.deepStrictEqual(texts(queue.messages), ["a"])
  })

  it.each(["requeue", "release"] as const)(
    "of type quorum with reject-publish refuses messages after a %s has made it full",
    (how) => {
      const queue = new TestHost().queue("quorum", { "x-overflow": "reject-publish", "x-max-length": 1 })
      publish(queue, "a")
      const a = getOne(queue)
      publish(queue, "b")
      queue[how]([a])
      assert.isFalse(queue.publish(message("c")))
    }
  )

  it.each(["requeue", "release"] as const)(
    "of type quorum delivers messages after a %s before it drops any",
    (how) => {
      const host = new TestHost("3.10", { steps: true })
      const queue = host.queue("quorum", { ...toDlx, "x-max-length": 0 })
      const consumer = consume(queue, { prefetch: 1 })
      publish(queue, "a")
      const [a] = consumer.unsettled.splice(0)
      queue[how]([a])
      publish(queue, "b")
      host.endStep()
      assert.deepStrictEqual(texts(consumer.received), ["a", "a'"])
      assert.deepStrictEqual(reasons(host.deadLetters), ["b maxlen"])
    }
  )

  it("of type quorum drops from the head with reject-publish-dlx, which it does not support", () => {
    const host = new TestHost()
    const queue = host.queue("quorum", { ...toDlx, "x-overflow": "reject-publish-dlx", "x-max-length": 1 })
    publish(queue, "a", "b", "c")
    assert.deepStrictEqual(reasons(host.deadLetters), ["a maxlen", "b maxlen"])
    assert.deepStrictEqual(texts(queue.messages), ["c"])
  })

  it("with reject-publish keeps messages that are put back beyond its limit", () => {
    const queue = new TestHost().queue("classic", { "x-overflow": "reject-publish", "x-max-length": 1 })
    publish(queue, "a")
    const a = getOne(queue)
    publish(queue, "b")
    queue.requeue([a])
    assert.deepStrictEqual(texts(queue.messages), ["a'", "b"])
  })

  it("of type quorum with reject-publish accepts one message too many, and then none until it is four fifths full", () => {
    const queue = new TestHost().queue("quorum", { "x-overflow": "reject-publish", "x-max-length": 10 })
    const takes = () => queue.publish(message("m"))
    for (let count = 0; count < 11; count++) assert.isTrue(takes())
    assert.isFalse(takes())
    queue.get(true)
    queue.get(true)
    assert.isFalse(takes())
    queue.get(true)
    assert.isTrue(takes())
    assert.isTrue(takes())
    assert.strictEqual(queue.messageCount, 10)
  })
})

describe("a dead letter", () => {
  const death: Death = {
    reason: "expired",
    queue: "q",
    time: 1_700_000_000_500,
    exchange: "dlx",
    routingKey: undefined
  }

  const letterOf = (dropped: Message, of: Death = death): Message =>
    deadLetter(dropped, of, rulesOf("3.10")) ?? assert.fail("there is no dead letter")

  const headersOf = (headers: FieldTable | undefined, change: Partial<Death> = {}): FieldTable =>
    letterOf(message("a", { headers }), { ...death, ...change }).properties.headers ?? {}

  it("reports where and why it was dropped in RabbitMQ's field types, and does not expire", () => {
    const letter = letterOf(message("a", { expiration: "20", headers: { z: 1, CC: ["copy"] }, messageId: "m" }))
    assert.deepStrictEqual([letter.exchange, letter.routingKey, textOf(letter)], ["dlx", "k", "a"])
    assert.strictEqual(letter.properties.messageId, "m")
    assert.isUndefined(letter.properties.expiration)
    assert.deepStrictEqual(letter.properties.headers, {
      z: 1,
      CC: ["copy"],
      "x-death": [{
        count: TypedField.int64(1),
        reason: "expired",
        queue: "q",
        time: new Date(1_700_000_000_000),
        exchange: "x",
        "routing-keys": ["k", "copy"],
        "original-expiration": "20"
      }],
      "x-first-death-exchange": "x",
      "x-first-death-queue": "q",
      "x-first-death-reason": "expired"
    })
  })

  it("has the routing key of x-dead-letter-routing-key instead of its own and its copies", () => {
    const host = new TestHost()
    const queue = host.queue("classic", { ...toDlx, "x-dead-letter-routing-key": "r" })
    queue.publish(message("a", { headers: { CC: ["copy"] } }))
    queue.reject([getOne(queue)])
    const [{ exchange, properties, routingKey }] = host.deadLetters
    assert.deepStrictEqual([exchange, routingKey], ["dlx", "r"])
    assert.notProperty(properties.headers, "CC")
  })

  it("counts deaths by queue and reason, the last one first, and keeps the first death separately", () => {
    const first = { queue: "q", reason: "expired", count: 2, time: new Date(0) }
    const other = { queue: "p", reason: "rejected", count: 7n }
    const headers = headersOf({ "x-first-death-queue": "p", "x-death": [other, first] })
    assert.deepStrictEqual(headers, {
      "x-first-death-queue": "p",
      "x-death": [{ ...first, count: TypedField.int64(3) }, other]
    })
    const third = headersOf(headers, { reason: "maxlen" })["x-death"]
    assert.isTrue(Array.isArray(third) && third.length === 3)
    assert.deepInclude(Array.isArray(third) ? third[0] : undefined, { count: TypedField.int64(1), reason: "maxlen" })
  })

  it("treats a table without a count as one death, and replaces an x-death that is not a list", () => {
    assert.deepStrictEqual(headersOf({ "x-death": [{ queue: "q", reason: "expired" }] }), {
      "x-death": [{ queue: "q", reason: "expired", count: TypedField.int64(1) }]
    })
    const replaced = headersOf({ "x-death": "nonsense" })
    assert.deepStrictEqual(Object.keys(replaced), ["x-death"])
    assert.isTrue(Array.isArray(replaced["x-death"]))
  })

  it("closes a cycle in a queue that dropped it before, without a rejection since", () => {
    const closes = (deaths: ReadonlyArray<readonly [queue: string, reason: string]>) =>
      closesCycle(
        message("a", { headers: { "x-death": deaths.map(([queue, reason]) => ({ queue, reason })) } }),
        "q"
      )
    assert.isFalse(closesCycle(message("a"), "q"))
    assert.isFalse(closes([["p", "expired"]]))
    assert.isTrue(closes([["q", "expired"]]))
    assert.isTrue(closes([["p", "maxlen"], ["q", "expired"]]))
    assert.isTrue(closes([["q", "maxlen"], ["p", "rejected"]]))
    assert.isFalse(closes([["q", "rejected"]]))
    assert.isFalse(closes([["p", "rejected"], ["q", "expired"]]))
  })
})
