/** Dead letters of a quorum queue with at-least-once, which keeps them until they have arrived. */
import type { FieldTable } from "@effect-amqp/core/protocol/fieldTable"
import type { Version } from "@effect-amqp/core/testing/AmqpBroker"
import { addressed } from "@effect-amqp/core/testing/internal/common/messageHeaders"
import { rulesOf } from "@effect-amqp/core/testing/internal/common/versionRules"
import type { Owner, Queue } from "@effect-amqp/core/testing/internal/queues/queue"
import { VirtualHost } from "@effect-amqp/core/testing/internal/routing/virtualHost"
import { assert, describe, it } from "@effect/vitest"
import * as calls from "../../../../support/calls.ts"
import { getOne, ManualTimers, message, texts } from "./queueSupport.ts"

const reliable = {
  "x-queue-type": "quorum",
  "x-dead-letter-strategy": "at-least-once",
  "x-overflow": "reject-publish",
  "x-dead-letter-exchange": ""
}

/** A virtual host with manual time. */
class Fixture {
  readonly timers = new ManualTimers()
  readonly virtualHost: VirtualHost
  readonly owner: Owner = { isOwner: true }

  constructor(version: Version = "3.10") {
    this.virtualHost = new VirtualHost("/", this.timers, rulesOf(version), (action) => action())
  }

  queue(name: string, table: FieldTable = {}): Queue {
    const { method } = calls.declareQueue(name, { durable: true, arguments: table })
    if (method._tag !== "queue.declare") return assert.fail()
    return this.virtualHost.declareQueue(method, this.owner)
  }

  exchange(name: string, ...queues: ReadonlyArray<string>): void {
    const { method } = calls.declareExchange(name, { type: "fanout" })
    if (method._tag === "exchange.declare") this.virtualHost.declareExchange(method)
    for (const queue of queues) {
      const { method } = calls.bindQueue(name, queue)
      if (method._tag === "queue.bind") this.virtualHost.bindQueue(method, this.owner)
    }
  }

  delete(name: string): void {
    const { method } = calls.deleteQueue(name)
    if (method._tag === "queue.delete") this.virtualHost.deleteQueue(method, this.owner)
  }

  drop(queue: Queue, ...bodies: ReadonlyArray<string>): void {
    for (const body of bodies) {
      queue.publish(message(body))
      queue.reject([getOne(queue)])
    }
  }
}

const toDead = { ...reliable, "x-dead-letter-routing-key": "dead" }

describe("a dead letter with at-least-once", () => {
  it("arrives at once in an existing queue", () => {
    const fixture = new Fixture()
    const dead = fixture.queue("dead")
    fixture.drop(fixture.queue("q", toDead), "a", "b")
    assert.deepStrictEqual(texts(dead.messages), ["a", "b"])
    fixture.timers.advance(200_000)
    assert.strictEqual(dead.messageCount, 2)
    assert.strictEqual(fixture.timers.pendingCount, 0)
  })

  it("is kept without being counted until there is a queue for it, and retried every three minutes", () => {
    const fixture = new Fixture()
    const queue = fixture.queue("q", toDead)
    fixture.drop(queue, "a", "b")
    assert.deepStrictEqual([queue.messageCount, queue.declared.messageCount, queue.declared.consumerCount], [0, 0, 0])
    fixture.timers.advance(400_000)
    const dead = fixture.queue("dead")
    fixture.timers.advance(139_999)
    assert.deepStrictEqual(texts(dead.messages), [])
    fixture.timers.advance(1)
    assert.deepStrictEqual(texts(dead.messages), ["a", "b"])
    const [{ message: { properties } }] = dead.messages
    assert.strictEqual(properties.headers?.["x-first-death-reason"], "rejected")
  })

  it("is kept until its exchange exists, and then routed by CC, and by BCC except in 3.10", () => {
    for (const [version, expected] of [["3.10", [1, 1, 0]], ["4.0", [1, 1, 1]], ["4.3", [1, 1, 1]]] as const) {
      const fixture = new Fixture(version)
      const queue = fixture.queue("q", { ...reliable, "x-dead-letter-exchange": "x" })
      queue.publish(addressed(message("a", { headers: { CC: ["copy"], BCC: ["blind"] } })))
      queue.reject([getOne(queue)])
      const { method } = calls.declareExchange("x")
      if (method._tag === "exchange.declare") fixture.virtualHost.declareExchange(method)
      const queues = ["k", "copy", "blind"].map((key) => {
        const target = fixture.queue(key)
        const { method } = calls.bindQueue("x", key, key)
        if (method._tag === "queue.bind") fixture.virtualHost.bindQueue(method, fixture.owner)
        return target
      })
      fixture.timers.advance(180_000)
      assert.deepStrictEqual(queues.map(({ messageCount }) => messageCount), [...expected], version)
    }
  })

  it("arrives once in each queue, even if another one refuses it for a while", () => {
    const fixture = new Fixture()
    const full = fixture.queue("full", { "x-max-length": 1, "x-overflow": "reject-publish" })
    const other = fixture.queue("other")
    fixture.exchange("x", "full", "other")
    full.publish(message("there"))
    fixture.drop(fixture.queue("q", { ...reliable, "x-dead-letter-exchange": "x" }), "a")
    assert.deepStrictEqual([texts(full.messages), texts(other.messages)], [["there"], ["a"]])
    fixture.timers.advance(200_000)
    full.purge()
    fixture.timers.advance(200_000)
    assert.deepStrictEqual([texts(full.messages), texts(other.messages)], [["a"], ["a"]])
    fixture.timers.advance(400_000)
    assert.deepStrictEqual([full.messageCount, other.messageCount], [1, 1])
  })

  it("is dropped when the queue that refused it was deleted", () => {
    const fixture = new Fixture()
    const full = fixture.queue("full", { "x-max-length": 0, "x-overflow": "reject-publish" })
    fixture.queue("other")
    fixture.exchange("x", "full", "other")
    fixture.drop(fixture.queue("q", { ...reliable, "x-dead-letter-exchange": "x" }), "a")
    fixture.delete(full.name)
    fixture.timers.advance(180_000)
    assert.strictEqual(fixture.timers.pendingCount, 0)
  })

  it("counts for the limit of its queue, which then refuses messages", () => {
    const fixture = new Fixture()
    const queue = fixture.queue("q", { ...toDead, "x-max-length": 2 })
    fixture.drop(queue, "a", "b", "c")
    assert.isFalse(queue.publish(message("d")))
    const bytes = fixture.queue("r", { ...toDead, "x-max-length-bytes": 5 })
    fixture.drop(bytes, "123456")
    assert.isFalse(bytes.publish(message("d")))
    fixture.queue("dead")
    fixture.timers.advance(180_000)
    assert.isTrue(queue.publish(message("d")))
    assert.isTrue(bytes.publish(message("d")))
  })

  it("blocks those behind it once 32 of them wait", () => {
    const fixture = new Fixture()
    const taker = fixture.queue("taker")
    const queue = fixture.queue("q", reliable)
    for (let index = 0; index < 34; index++) {
      queue.publish({ ...message(String(index)), routingKey: index < 33 ? "nobody" : "taker" })
      queue.reject([getOne(queue)])
    }
    assert.strictEqual(taker.messageCount, 0)
    fixture.queue("nobody")
    fixture.timers.advance(180_000)
    assert.deepStrictEqual(texts(taker.messages), ["33"])
  })

  it("may be a message that expired or exceeded the delivery limit", () => {
    const fixture = new Fixture()
    const dead = fixture.queue("dead")
    const queue = fixture.queue("q", { ...toDead, "x-delivery-limit": 0 })
    queue.publish(message("a", { expiration: "10" }))
    fixture.timers.advance(10)
    queue.publish(message("b"))
    queue.requeue([getOne(queue)])
    assert.deepStrictEqual(texts(dead.messages), ["a", "b"])
  })

  it("is lost with its queue", () => {
    const fixture = new Fixture()
    fixture.drop(fixture.queue("q", toDead), "a")
    fixture.delete("q")
    assert.strictEqual(fixture.timers.pendingCount, 0)
    assert.strictEqual(fixture.queue("dead").messageCount, 0)
  })

  it("is kept only by a queue with reject-publish, as in RabbitMQ", () => {
    const fixture = new Fixture()
    const queue = fixture.queue("q", { ...toDead, "x-overflow": "drop-head" })
    fixture.drop(queue, "a")
    const dead = fixture.queue("dead")
    fixture.timers.advance(400_000)
    assert.strictEqual(dead.messageCount, 0)
  })
})
