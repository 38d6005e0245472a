/**
 * What a virtual host does on its own, and its state. Its replies to methods are tested in test/integration/testing/exchangeReplies.test.ts.
 */
import type { BasicProperties } from "@effect-amqp/core/protocol/BasicProperties"
import type { FieldTable } from "@effect-amqp/core/protocol/fieldTable"
import type { Method } from "@effect-amqp/core/protocol/methods.generated"
import { addressed } from "@effect-amqp/core/testing/internal/common/messageHeaders"
import { rulesOf } from "@effect-amqp/core/testing/internal/common/versionRules"
import type { Owner, Queue } from "@effect-amqp/core/testing/internal/queues/queue"
import { VirtualHost } from "@effect-amqp/core/testing/internal/routing/virtualHost"
import { assert, describe, it } from "@effect/vitest"
import * as calls from "../../../../support/calls.ts"
import { consume, ManualTimers, message, refusal, texts } from "../queues/queueSupport.ts"

/** A virtual host that a connection uses. */
class Fixture {
  readonly timers = new ManualTimers()
  readonly virtualHost = new VirtualHost("/", this.timers, rulesOf("3.10"), (action) => action())
  readonly owner: Owner = { isOwner: true }

  queue(name: string, options: Parameters<typeof calls.declareQueue>[1] = {}): Queue {
    return this.virtualHost.declareQueue(as("queue.declare", calls.declareQueue(name, options)), this.owner)
  }

  exchange(name: string, options: Parameters<typeof calls.declareExchange>[1] = {}): void {
    this.virtualHost.declareExchange(
      as("exchange.declare", calls.declareExchange(name, { type: "fanout", ...options }))
    )
  }

  bind(exchange: string, queue: string, routingKey = ""): void {
    this.virtualHost.bindQueue(as("queue.bind", calls.bindQueue(exchange, queue, routingKey)), this.owner)
  }

  publish(exchange: string, routingKey: string, properties: BasicProperties = {}, text = "m") {
    return this.virtualHost.publish(addressed({ ...message(text, properties), exchange, routingKey }))
  }

  get exchangeNames(): ReadonlyArray<string> {
    return this.virtualHost.exchanges.map(({ name }) => name).filter((name) => name !== "" && !name.startsWith("amq."))
  }

  get queueNames(): ReadonlyArray<string> {
    return this.virtualHost.queues.map(({ name }) => name)
  }

  get bindings(): ReadonlyArray<string> {
    return this.virtualHost.bindings.map(({ destination, routingKey, source }) =>
      `${source.name} ${routingKey} ${destination.name}`
    )
  }
}

const as = <Tag extends Method["_tag"]>(tag: Tag, { method }: calls.Step): Extract<Method, { readonly _tag: Tag }> => {
  assert.strictEqual(method._tag, tag)
  return method as Extract<Method, { readonly _tag: Tag }> // the tag was compared
}

const headersOf = (queue: Queue): FieldTable | undefined => queue.messages[0]?.message.properties.headers

describe("a virtual host", () => {
  it("has the exchanges that RabbitMQ predeclares", () => {
    const { virtualHost } = new Fixture()
    assert.deepStrictEqual(virtualHost.exchanges.map(({ internal, name, type }) => [name, type, internal]), [
      ["", "direct", false],
      ["amq.direct", "direct", false],
      ["amq.fanout", "fanout", false],
      ["amq.topic", "topic", false],
      ["amq.headers", "headers", false],
      ["amq.match", "headers", false],
      ["amq.rabbitmq.trace", "topic", true]
    ])
  })

  it("deletes the exclusive queues of a closed connection, and auto-delete exchanges that become unused", () => {
    const fixture = new Fixture()
    fixture.exchange("x", { autoDelete: true })
    fixture.exchange("y")
    const mine = fixture.queue("mine", { exclusive: true })
    fixture.queue("shared")
    fixture.bind("x", "mine", "k")
    fixture.bind("y", "mine", "k")
    fixture.bind("y", "shared", "k")
    const consumer = consume(mine)
    fixture.virtualHost.ownerClosed({ isOwner: true })
    assert.deepStrictEqual(fixture.queueNames, ["mine", "shared"])
    fixture.virtualHost.ownerClosed(fixture.owner)
    assert.isTrue(consumer.isCancelled)
    assert.deepStrictEqual(fixture.queueNames, ["shared"])
    assert.deepStrictEqual(fixture.exchangeNames, ["y"])
    assert.deepStrictEqual(fixture.bindings, ["y k shared"])
  })

  it("deletes a queue with its bindings after x-expires, or as auto-delete after its last consumer", () => {
    const fixture = new Fixture()
    fixture.exchange("x")
    fixture.queue("expires", { arguments: { "x-expires": 1000 } })
    const deleted = fixture.queue("autoDelete", { autoDelete: true })
    fixture.bind("x", "expires")
    fixture.bind("x", "autoDelete")
    fixture.timers.advance(999)
    assert.deepStrictEqual(fixture.bindings, ["x  expires", "x  autoDelete"])
    fixture.timers.advance(1)
    assert.deepStrictEqual(fixture.bindings, ["x  autoDelete"])
    deleted.cancel(consume(deleted))
    assert.deepStrictEqual(fixture.queueNames, [])
    assert.deepStrictEqual(fixture.bindings, [])
  })

  it("restarts x-expires when the queue is declared, also passively", () => {
    const fixture = new Fixture()
    const options = { arguments: { "x-expires": 1000 } }
    fixture.queue("q", options)
    fixture.timers.advance(999)
    fixture.queue("q", options)
    fixture.timers.advance(999)
    fixture.queue("q", { passive: true })
    fixture.timers.advance(999)
    assert.deepStrictEqual(fixture.queueNames, ["q"])
    fixture.timers.advance(1)
    assert.deepStrictEqual(fixture.queueNames, [])
  })

  it("generates a different name for each server-named queue", () => {
    const fixture = new Fixture()
    const names = [fixture.queue(""), fixture.queue("")].map(({ name }) => name)
    assert.isTrue(names.every((name) => name.startsWith("amq.gen-")))
    assert.notStrictEqual(names[0], names[1])
  })

  it("leaves nothing behind when it is deleted", () => {
    const fixture = new Fixture()
    fixture.exchange("x")
    const consumer = consume(fixture.queue("q", { arguments: { "x-expires": 1000 } }))
    fixture.bind("x", "q")
    fixture.virtualHost.delete()
    assert.isTrue(consumer.isCancelled)
    assert.deepStrictEqual([fixture.queueNames, fixture.exchangeNames, fixture.bindings], [[], [], []])
    assert.strictEqual(fixture.timers.pendingCount, 0)
  })
})

describe("a message", () => {
  it("is routed if there is a queue for it, and accepted unless a queue refused it", () => {
    const fixture = new Fixture()
    fixture.exchange("x")
    fixture.queue("small", { arguments: { "x-max-length": 1, "x-overflow": "reject-publish" } })
    fixture.queue("large")
    assert.deepStrictEqual(fixture.publish("x", ""), { routed: false, accepted: true, failsCommit: false })
    fixture.bind("x", "small")
    fixture.bind("x", "large")
    assert.deepStrictEqual(fixture.publish("x", ""), { routed: true, accepted: true, failsCommit: false })
    assert.deepStrictEqual(fixture.publish("x", ""), { routed: true, accepted: false, failsCommit: true })
    assert.deepStrictEqual(fixture.publish("", "large"), { routed: true, accepted: true, failsCommit: false })
    assert.deepStrictEqual(fixture.virtualHost.queues.map(({ messageCount }) => messageCount), [1, 3])
  })

  it("keeps the header CC but not BCC", () => {
    const fixture = new Fixture()
    const [a, b, c] = ["a", "b", "c"].map((name) => fixture.queue(name))
    fixture.publish("", "a", { headers: { CC: ["b"], BCC: ["c"], other: 1 } })
    for (const queue of [a, b, c]) assert.deepStrictEqual(headersOf(queue), { CC: ["b"], other: 1 })
  })

  it("that is dropped goes to the dead-letter exchange, even an internal one, and nowhere if that is missing", () => {
    const fixture = new Fixture()
    const dropping = (name: string, exchange: string) =>
      fixture.queue(name, { arguments: { "x-max-length": 0, "x-dead-letter-exchange": exchange } })
    fixture.exchange("dead", { internal: true })
    const dead = fixture.queue("q")
    fixture.bind("dead", "q")
    dropping("a", "dead")
    dropping("b", "missing")
    fixture.publish("", "a", {}, "to a")
    fixture.publish("", "b", {}, "to b")
    assert.deepStrictEqual(texts(dead.messages), ["to a"])
  })

  it("that is dropped is also routed by CC and BCC, unless its routing key is replaced", () => {
    const fixture = new Fixture()
    const dropping = (name: string, table: FieldTable) =>
      fixture.queue(name, { arguments: { "x-max-length": 0, "x-dead-letter-exchange": "dead", ...table } })
    fixture.exchange("dead", { type: "direct" })
    const queues = ["own", "copy", "blind", "given"].map((name) => {
      const queue = fixture.queue(name)
      fixture.bind("dead", name, name)
      return queue
    })
    const found = () => queues.map(({ messages }) => texts(messages))
    const headers = { CC: ["copy"], BCC: ["blind"] }
    fixture.exchange("x")
    dropping("plain", {})
    fixture.bind("x", "plain")
    fixture.publish("x", "own", { headers }, "1")
    assert.deepStrictEqual(found(), [["1"], ["1"], ["1"], []])
    const [, , blind] = queues
    assert.notProperty(headersOf(blind), "BCC")
    const deaths = headersOf(blind)?.["x-death"]
    assert.deepInclude(Array.isArray(deaths) ? deaths[0] : undefined, { "routing-keys": ["own", "copy"] })
    dropping("keyed", { "x-dead-letter-routing-key": "given" })
    fixture.exchange("y")
    fixture.bind("y", "keyed")
    fixture.publish("y", "own", { headers }, "2")
    assert.deepStrictEqual(found(), [["1"], ["1"], ["1"], ["2"]])
  })

  describe("that is routed to several queues", () => {
    /** A queue that dead-letters to another one, where both get the same messages. */
    const both = (table: FieldTable) => {
      const fixture = new Fixture()
      fixture.exchange("x")
      fixture.queue("drops", {
        arguments: { ...table, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q" }
      })
      const queue = fixture.queue("q")
      fixture.bind("x", "drops")
      fixture.bind("x", "q")
      return { fixture, queue }
    }

    it("arrives before the dead letters that it causes", () => {
      const { fixture, queue } = both({ "x-max-length": 1 })
      for (const text of ["1", "2", "3"]) fixture.publish("x", "", {}, text)
      assert.deepStrictEqual(texts(queue.messages), ["1", "2", "1", "3", "2"])
    })

    it("arrives before its own dead letter", () => {
      const { fixture, queue } = both({ "x-message-ttl": 0 })
      fixture.publish("x", "")
      const deaths = queue.messages.map(({ message }) => message.properties.headers?.["x-first-death-queue"])
      assert.deepStrictEqual(deaths, [undefined, "drops"])
    })

    it("as a dead letter arrives before the dead letters that it causes", () => {
      const { fixture, queue } = both({ "x-message-ttl": 0 })
      fixture.exchange("dead")
      fixture.queue("first", {
        arguments: { "x-max-length": 0, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q" }
      })
      fixture.queue("expires", { arguments: { "x-message-ttl": 0, "x-dead-letter-exchange": "dead" } })
      for (const name of ["first", "q"]) fixture.bind("dead", name)
      fixture.publish("", "expires")
      const deaths = queue.messages.map(({ message }) => message.properties.headers?.["x-death"])
      assert.deepStrictEqual(deaths.map((all) => Array.isArray(all) ? all.length : 0), [1, 2])
    })
  })

  it("is refused if its exchange does not exist", () => {
    const fixture = new Fixture()
    assert.strictEqual(
      refusal(() => fixture.publish("x", "")),
      "404 NOT_FOUND - no exchange 'x' in vhost '/'"
    )
  })
})
