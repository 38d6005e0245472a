/** How queues treat messages that are put back or dead-lettered, by version of RabbitMQ. */
import { TypedField } from "@effect-amqp/core/protocol/fieldTable"
import type { FieldTable } from "@effect-amqp/core/protocol/fieldTable"
import type { Version } from "@effect-amqp/core/testing/AmqpBroker"
import type { Message } from "@effect-amqp/core/testing/internal/common/message"
import { addressed } from "@effect-amqp/core/testing/internal/common/messageHeaders"
import { rulesOf, versions } from "@effect-amqp/core/testing/internal/common/versionRules"
import { deadLetter } from "@effect-amqp/core/testing/internal/queues/deadLetters"
import type { Death } from "@effect-amqp/core/testing/internal/queues/deadLetters"
import type { Entry, Queue } from "@effect-amqp/core/testing/internal/queues/queue"
import { assert, describe, it } from "@effect/vitest"
import { consume, getAll, getOne, message, publish, TestHost, textOf, texts } from "./queueSupport.ts"

/** The `redelivered` flag, `x-delivery-count` and `x-acquired-count` of an entry. */
const flagsOf = ({ message: { properties }, redelivered }: Entry): ReadonlyArray<unknown> => {
  const count = (name: string): unknown => {
    const value = properties.headers?.[name]
    return value instanceof TypedField ? value.value : value
  }
  return [redelivered, count("x-delivery-count"), count("x-acquired-count")]
}

const byVersion = <A>(answers: Readonly<Record<Version, A>>): ReadonlyArray<readonly [Version, A]> =>
  versions.map((version) => [version, answers[version]] as const)

const quorum = (version: Version, table: FieldTable = {}): Queue => new TestHost(version).queue("quorum", table)

describe("a quorum queue", () => {
  it.each(byVersion({
    "3.10": {
      fresh: [false, 0, undefined],
      nacked: [true, 1, undefined],
      rejected: [true, 2, undefined],
      closed: [true, 3, undefined]
    },
    "4.0": {
      fresh: [false, undefined, undefined],
      nacked: [true, 1, undefined],
      rejected: [true, 2, undefined],
      closed: [true, 3, undefined]
    },
    "4.3": {
      fresh: [false, undefined, undefined],
      nacked: [true, undefined, 1],
      rejected: [true, 1, 2],
      closed: [true, 2, 3]
    }
  }))("of %s reports how often a message was delivered before", (version, expected) => {
    const queue = quorum(version)
    publish(queue, "a")
    const fresh = getOne(queue)
    queue.requeue([fresh], false)
    const nacked = getOne(queue)
    queue.requeue([nacked], true)
    const rejected = getOne(queue)
    queue.release([rejected])
    const closed = getOne(queue)
    assert.deepStrictEqual([fresh, nacked, rejected, closed].map(flagsOf), Object.values(expected))
  })

  it.each(byVersion({ "3.10": Infinity, "4.0": 21, "4.3": 21 }))(
    "of %s drops a message that is rejected again and again",
    (version, deliveries) => {
      const queue = quorum(version)
      publish(queue, "a")
      let count = 0
      for (; count < 100 && queue.messageCount > 0; count++) queue.requeue([getOne(queue)], true)
      assert.strictEqual(count, Math.min(deliveries, 100))
    }
  )

  it.each(byVersion({ "3.10": Infinity, "4.0": 21, "4.3": Infinity }))(
    "of %s drops a message that is nacked again and again, unless a nack is not a failure",
    (version, deliveries) => {
      const queue = quorum(version)
      publish(queue, "a")
      let count = 0
      for (; count < 100 && queue.messageCount > 0; count++) queue.requeue([getOne(queue)], false)
      assert.strictEqual(count, Math.min(deliveries, 100))
    }
  )

  it.each(byVersion({ "3.10": 21, "4.0": 21, "4.3": 21 }))(
    "of %s counts each closed channel for the delivery limit",
    (version, deliveries) => {
      const queue = quorum(version, { "x-delivery-limit": 20 })
      publish(queue, "a")
      let count = 0
      for (; count < 100 && queue.messageCount > 0; count++) queue.release([getOne(queue)])
      assert.strictEqual(count, deliveries)
    }
  )

  it.each(byVersion({ "3.10": 1, "4.0": 50, "4.3": 50 }))(
    "of %s treats a delivery limit of -1 as no limit or as exceeded at once",
    (version, deliveries) => {
      for (const settle of ["requeue", "release"] as const) {
        const queue = quorum(version, { "x-delivery-limit": -1 })
        publish(queue, "a")
        let count = 0
        for (; count < 50 && queue.messageCount > 0; count++) queue[settle]([getOne(queue)], true)
        assert.strictEqual(count, deliveries)
      }
    }
  )

  const returning: ReadonlyArray<readonly [Version, FieldTable, string]> = [
    ["3.10", {}, "1 4 5 6 2' 0' 3'"],
    ["3.10", { "x-delivery-limit": 9 }, "2' 0' 3' 1 4 5 6"],
    ["4.0", {}, "2' 0' 3' 1 4 5 6"],
    ["4.0", { "x-delivery-limit": -1 }, "1 4 5 6 2' 0' 3'"],
    ["4.3", {}, "2' 0' 3' 1 4 5 6"],
    ["4.3", { "x-delivery-limit": -1 }, "2' 0' 3' 1 4 5 6"]
  ]

  it.each(returning)(
    "of %s with %j puts requeued messages back in the order of that version",
    (version, table, order) => {
      const queue = quorum(version, table)
      publish(queue, "0", "1", "2", "3", "4", "5", "6")
      const got = getAll(queue)
      queue.acknowledge([got[1], ...got.slice(4)])
      for (const index of [2, 0, 3]) queue.requeue([got[index]])
      // The same with messages that were not delivered.
      const others = quorum(version, table)
      publish(others, "0", "1", "2", "3")
      const some = getAll(others)
      publish(others, "4", "5")
      for (const index of [2, 0, 3]) others.requeue([some[index]])
      const isAtEnd = order.startsWith("1")
      assert.strictEqual(texts(queue.messages).join(" "), "2' 0' 3'")
      assert.strictEqual(texts(getAll(others)).join(" "), isAtEnd ? "4 5 2' 0' 3'" : "2' 0' 3' 4 5")
    }
  )

  it.each(byVersion({
    "3.10": "0 1 2 3 4 5 6",
    "4.0": "4 5 0 6 1 2 3",
    "4.3": "6 5 4 3 2 1 0"
  }))("of %s delivers by priority or in order", (version, order) => {
    const queue = quorum(version)
    for (let priority = 0; priority < 7; priority++) {
      queue.publish(message(String(priority), { priority: priority > 3 ? priority + 1 : priority }))
    }
    assert.strictEqual(getAll(queue).map((entry) => textOf(entry.message)).join(" "), order)
  })

  it.each(byVersion({ "3.10": 2, "4.0": 2, "4.3": 1 }))(
    "of %s drops or keeps an expired message behind one that was put back",
    (version, left) => {
      const host = new TestHost(version)
      const queue = host.queue("quorum", { "x-delivery-limit": 9 })
      publish(queue, "a")
      const first = getOne(queue)
      queue.publish(message("b", { expiration: "10" }))
      queue.requeue([first])
      host.timers.advance(20)
      assert.strictEqual(queue.messageCount, left)
    }
  )

  describe("with x-max-length-bytes", () => {
    /** The lowest limit with which a queue keeps the message. */
    const sizeOf = (version: Version, message: Message): number => {
      for (let limit = 0;; limit++) {
        const queue = quorum(version, { "x-max-length-bytes": limit })
        queue.publish(message)
        if (queue.messageCount === 1) return limit
      }
    }

    it.each(byVersion({ "3.10": 5, "4.0": 5, "4.3": 21 }))(
      "of %s counts bodies, or bodies and properties as they were published",
      (version, size) => {
        const published = message("12345", { headers: { a: 1, BCC: ["b"] }, expiration: "60000" })
        assert.strictEqual(sizeOf(version, addressed(published)), size)
        for (const type of ["classic", "quorum"] as const) {
          const host = new TestHost(version)
          const queue = host.queue(type, { "x-dead-letter-exchange": "dlx" })
          queue.publish(addressed(published))
          queue.requeue([getOne(queue)])
          queue.reject([getOne(queue)])
          assert.strictEqual(sizeOf(version, host.deadLetters[0]), size)
        }
      }
    )

    it.each(byVersion({ "3.10": 5, "4.0": 5, "4.3": 7 }))(
      "of %s counts dead letters that have not arrived in the same way",
      (version, size) => {
        for (const isLeft of [false, true]) {
          const host = new TestHost(version)
          host.deadLetter = () => "no queue"
          const queue = host.queue("quorum", {
            "x-dead-letter-exchange": "dlx",
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
            "x-max-length-bytes": Math.ceil((isLeft ? size : size - 1) / 0.8)
          })
          publish(queue, "12345")
          queue.reject([getOne(queue)])
          // A full queue accepts messages again at four fifths of the limit.
          publish(queue, "0123456789")
          queue.get(true)
          assert.strictEqual(queue.publish(message("")), isLeft)
        }
      }
    )
  })

  describe("that drops several messages from its head at once", () => {
    const limited = (version: Version): readonly [TestHost, Queue] => {
      const host = new TestHost(version)
      const table = { "x-dead-letter-exchange": "dlx", "x-max-length": 1, "x-delivery-limit": 9 }
      return [host, host.queue("quorum", table)]
    }

    const letters = (host: TestHost): string => host.deadLetters.map(textOf).join(" ")

    it.each(byVersion({ "3.10": "c b a", "4.0": "c b a", "4.3": "a b c" }))(
      "of %s dead-letters the last one first, or in order",
      (version, order) => {
        for (const settle of ["requeue", "release"] as const) {
          const [host, queue] = limited(version)
          const consumer = consume(queue)
          publish(queue, "a", "b", "c", "d")
          queue.cancel(consumer)
          queue[settle](consumer.unsettled)
          assert.strictEqual(letters(host), order)
        }
      }
    )

    it.each(versions)("of %s dead-letters in order what each basic.get gives back", (version) => {
      const [host, queue] = limited(version)
      const got = ["a", "b", "c", "d"].map((text) => {
        publish(queue, text)
        return getOne(queue)
      })
      queue.requeue(got)
      assert.strictEqual(letters(host), "a b c")
    })
  })

  it("counts all receivers with unsettled messages as consumers in queue.declare-ok", () => {
    for (const version of versions) {
      const queue = quorum(version)
      publish(queue, "a", "b", "c")
      const counts = () => [queue.declared.messageCount, queue.declared.consumerCount, queue.consumerCount]
      const fetched = [getOne(queue), getOne(queue)]
      assert.deepStrictEqual(counts(), [1, 2, 0])
      const consumer = consume(queue)
      assert.deepStrictEqual(counts(), [0, 3, 1])
      queue.cancel(consumer)
      assert.deepStrictEqual(counts(), [0, 3, 0])
      consumer.acknowledge(...consumer.unsettled)
      queue.acknowledge(fetched)
      assert.deepStrictEqual(counts(), [0, 0, 0])
      const single = quorum(version, { "x-single-active-consumer": true })
      const [active] = [consume(single), consume(single), consume(single)]
      assert.deepStrictEqual([single.declared.consumerCount, single.consumerCount], [1, 3])
      publish(single, "a")
      single.cancel(active)
      assert.deepStrictEqual([single.declared.consumerCount, single.consumerCount], [2, 2])
    }
  })

  it("delivers requeued messages after everything that the client requested before", () => {
    const host = new TestHost("3.10", { steps: true })
    const queue = host.queue("quorum")
    const consumer = consume(queue, { prefetch: 1 })
    publish(queue, "a")
    consumer.requeue(...consumer.unsettled)
    queue.cancel(consumer)
    host.endStep()
    assert.deepStrictEqual(texts(consumer.received), ["a"])
    assert.deepStrictEqual(texts(queue.messages), ["a'"])
  })
})

describe("a classic queue", () => {
  it.each(byVersion({ "3.10": "0 1 2 0", "4.0": "1 2 0 0", "4.3": "1 2 0 0" }))(
    "of %s with x-max-priority 0 has one priority or two",
    (version, order) => {
      const queue = new TestHost(version).queue("classic", { "x-max-priority": 0 })
      for (const priority of [0, 1, 2, 0]) queue.publish(message(String(priority), { priority }))
      assert.strictEqual(texts(getAll(queue)).join(" "), order)
    }
  )
})

describe("messages that come back in one step", () => {
  it.each(["classic", "quorum"] as const)("to a %s queue are all in place before any of them is delivered", (type) => {
    for (const version of versions) {
      const host = new TestHost(version, { steps: true })
      const queue = host.queue(type, { "x-single-active-consumer": true })
      publish(queue, "1", "2", "3", "4", "5", "6")
      const [one, other, next] = [consume(queue, { prefetch: 4 }), consume(queue), consume(queue)]
      // Two channels of a lost connection, and a consumer of another one.
      for (const consumer of [one, other]) {
        queue.cancel(consumer)
        queue.release(consumer.unsettled)
      }
      host.endStep()
      assert.deepStrictEqual(texts(next.received), ["1'", "2'", "3'", "4'", "5", "6"], version)
    }
  })

  it.each(["classic", "quorum"] as const)(
    "to a %s queue are delivered in its order to the next consumer",
    (type) => {
      const host = new TestHost("3.10", { steps: true })
      const queue = host.queue(type)
      const [one, other] = [consume(queue, { prefetch: 2 }), consume(queue, { prefetch: 2 })]
      publish(queue, "1", "2", "3", "4", "5")
      const next = consume(queue)
      host.endStep()
      for (const consumer of [one, other]) {
        queue.cancel(consumer)
        queue.release(consumer.unsettled)
      }
      host.endStep()
      const expected = type === "classic" ? ["5", "1'", "2'", "3'", "4'"] : ["5", "1'", "3'", "2'", "4'"]
      assert.deepStrictEqual(texts(next.received), expected)
    }
  )

  it("a consumer is cancelled after the reply to the deletion of its queue", () => {
    for (const type of ["classic", "quorum", "stream"] as const) {
      const host = new TestHost("3.10", { steps: true })
      const queue = host.queue(type)
      const consumer = consume(queue, { prefetch: 1 })
      publish(queue, "a", "b")
      assert.strictEqual(queue.delete(), type === "stream" ? 0 : 1)
      assert.isFalse(consumer.isCancelled)
      host.endStep()
      assert.isTrue(consumer.isCancelled)
    }
  })
})

describe("a dead letter", () => {
  const toDlx = { "x-dead-letter-exchange": "dlx" }

  /** The dead letter of a message that `drop` drops. */
  const letterOf = (version: Version, type: "classic" | "quorum", drop: (queue: Queue) => void): Message => {
    const host = new TestHost(version)
    const queue = host.queue(type, toDlx)
    publish(queue, "a")
    drop(queue)
    return host.deadLetters[0] ?? assert.fail("there is no dead letter")
  }

  const arrived = (version: Version, type: "classic" | "quorum", letter: Message) => {
    const queue = new TestHost(version).queue(type)
    queue.publish(letter)
    return flagsOf(getOne(queue))
  }

  const no = [false, undefined, undefined]

  it.each(byVersion({
    "3.10": {
      classic: { classic: no, quorum: [false, 0, undefined] },
      quorum: { classic: no, quorum: [false, 0, undefined] }
    },
    "4.0": { classic: { classic: no, quorum: no }, quorum: { classic: no, quorum: [true, 1, undefined] } },
    "4.3": {
      classic: { classic: [true, undefined, undefined], quorum: [true, 1, 1] },
      quorum: { classic: [true, undefined, undefined], quorum: [true, 1, 1] }
    }
  }))("of %s is redelivered or not, by the types of its queues", (version, expected) => {
    const found = (from: "classic" | "quorum") => {
      const letter = letterOf(version, from, (queue) => queue.reject([getOne(queue)], true))
      return { classic: arrived(version, "classic", letter), quorum: arrived(version, "quorum", letter) }
    }
    assert.deepStrictEqual({ classic: found("classic"), quorum: found("quorum") }, expected)
  })

  it("of 4.3 is not redelivered if it was nacked, and counts earlier failures", () => {
    for (const type of ["classic", "quorum"] as const) {
      const nacked = letterOf("4.3", type, (queue) => queue.reject([getOne(queue)], false))
      assert.deepStrictEqual(arrived("4.3", "quorum", nacked), no)
      const failed = letterOf("4.3", type, (queue) => {
        queue.requeue([getOne(queue)], true)
        queue.requeue([getOne(queue)], false)
        queue.reject([getOne(queue)], true)
      })
      assert.deepStrictEqual(arrived("4.3", "quorum", failed), [true, 2, 2])
    }
  })

  const death: Death = { reason: "rejected", queue: "q", time: 0, exchange: "dlx", routingKey: undefined }

  const dead = (version: Version, dropped: Message, change: Partial<Death> = {}): Message =>
    deadLetter(dropped, { ...death, ...change }, rulesOf(version)) ?? assert.fail("there is no dead letter")

  const deathsOf = ({ properties }: Message): ReadonlyArray<unknown> => {
    const deaths = properties.headers?.["x-death"]
    return Array.isArray(deaths)
      ? deaths.map(({ count, queue }: FieldTable) => [queue, count instanceof TypedField ? count.value : count])
      : []
  }

  it.each(byVersion({ "3.10": false, "4.0": true, "4.3": true }))(
    "of %s reports its last death or not",
    (version, isReported) => {
      const twice = dead(version, dead(version, message("a")), { queue: "p", reason: "expired" })
      const headers = twice.properties.headers ?? {}
      assert.deepInclude(headers, { "x-first-death-queue": "q", "x-first-death-reason": "rejected" })
      assert.strictEqual(headers["x-last-death-queue"], isReported ? "p" : undefined)
      assert.strictEqual(headers["x-last-death-reason"], isReported ? "expired" : undefined)
    }
  )

  it.each(byVersion({
    "3.10": [["d", 1], ["b", 1], ["a", 1], ["c", 1]],
    "4.0": [["d", 1], ["c", 1], ["b", 1], ["a", 1]],
    "4.3": [["d", 1], ["c", 1], ["b", 1], ["a", 1]]
  }))("of %s lists its deaths in that version's order", (version, order) => {
    let letter = message("a")
    for (const queue of ["a", "b", "c", "d"]) letter = dead(version, letter, { queue })
    assert.deepStrictEqual(deathsOf(letter), order)
    assert.deepStrictEqual(deathsOf(dead(version, letter, { queue: "a" }))[0], ["a", 2])
  })

  it("of 4.x ignores an x-death header from a client, and 3.10 does not", () => {
    const written = message("a", { headers: { "x-death": [{ queue: "q", reason: "rejected", count: 7 }] } })
    assert.deepStrictEqual(deathsOf(dead("3.10", written)), [["q", 8]])
    for (const version of ["4.0", "4.3"] as const) assert.deepStrictEqual(deathsOf(dead(version, written)), [["q", 1]])
  })

  it("of 3.10 is lost if a client wrote an x-death header that crashes RabbitMQ", () => {
    const lost: ReadonlyArray<FieldTable[string]> = [
      ["text"],
      [5],
      [{ queue: "q", reason: "rejected" }, null],
      [{ queue: "q", reason: "rejected", count: "one" }],
      [{ queue: "q", reason: "rejected", count: true }],
      [{ queue: "q", reason: "rejected", count: 1.5 }],
      [{ queue: "q", reason: "rejected", count: TypedField.double(1) }],
      [{ queue: "q", reason: "rejected", count: TypedField.decimal(0, 1) }]
    ]
    for (const deaths of lost) {
      const written = message("a", { headers: { "x-death": deaths } })
      assert.isUndefined(deadLetter(written, death, rulesOf("3.10")))
      assert.deepStrictEqual(deathsOf(dead("4.0", written)), [["q", 1]])
    }
  })

  it("with another routing key keeps CC in 4.x, and is not routed by it", () => {
    const copied = addressed(message("a", { headers: { CC: ["copy"], BCC: ["blind"] } }))
    for (const version of versions) {
      const own = dead(version, copied)
      assert.deepStrictEqual(own.copies, ["copy", "blind"])
      const keyed = dead(version, copied, { routingKey: "r" })
      assert.deepStrictEqual(keyed.copies, [])
      assert.strictEqual(keyed.properties.headers?.["CC"] !== undefined, version !== "3.10")
      const [first] = [keyed.properties.headers?.["x-death"]].flat()
      assert.deepInclude(first, { "routing-keys": ["k", "copy"] })
    }
  })
})
