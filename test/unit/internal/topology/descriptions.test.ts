import type * as Core from "@effect-amqp/core"
import { AmqpEnvelope, AmqpExchange, AmqpMessage, AmqpQueue, AmqpTopology } from "@effect-amqp/core"
import { assert, describe, it, vi } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import { format, formatJson } from "effect/Formatter"
import * as Schema from "effect/Schema"
import { inspect } from "node:util"

const queues = {
  classic: AmqpQueue.classic("orders"),
  quorum: AmqpQueue.quorum("orders"),
  stream: AmqpQueue.stream("orders"),
  serverNamed: AmqpQueue.serverNamed(),
  bound: AmqpQueue.withBinding(AmqpQueue.classic("orders"), { exchange: "events" })
}

const exchanges = {
  direct: AmqpExchange.direct("events"),
  fanout: AmqpExchange.fanout("events"),
  topic: AmqpExchange.topic("events"),
  headers: AmqpExchange.headers("events"),
  plugin: AmqpExchange.make("events", { pluginType: "x-delayed-message" }),
  bound: AmqpExchange.withBinding(AmqpExchange.direct("events"), { source: "other" })
}

const topology = AmqpTopology.make(queues.bound, exchanges.topic)

const envelope = AmqpEnvelope.make({ body: Schema.String })

/** The same properties without the brand, as a program may write them by hand. */
const unbranded = (value: object): object =>
  Object.fromEntries(Object.entries(value).filter(([key]) => !key.startsWith("~")))

const guards = {
  "AmqpQueue.isQueue": AmqpQueue.isQueue,
  "AmqpExchange.isExchange": AmqpExchange.isExchange,
  "AmqpTopology.isTopology": AmqpTopology.isTopology,
  "AmqpEnvelope.isEnvelope": AmqpEnvelope.isEnvelope
}

const values: Readonly<Record<keyof typeof guards, ReadonlyArray<object>>> = {
  "AmqpQueue.isQueue": Object.values(queues),
  "AmqpExchange.isExchange": Object.values(exchanges),
  "AmqpTopology.isTopology": [topology],
  "AmqpEnvelope.isEnvelope": [envelope]
}

describe("a guard", () => {
  for (const [name, guard] of Object.entries(guards)) {
    it(`${name} is true for what its module makes, and false for everything else`, () => {
      for (const [other, made] of Object.entries(values)) {
        for (const value of made) {
          assert.strictEqual(guard(value), other === name)
          assert.isFalse(guard(unbranded(value)))
          assert.isFalse(guard(JSON.parse(JSON.stringify(value))))
        }
      }
      for (const value of [undefined, null, "orders", 5, true, {}, [], () => {}, Symbol("orders")]) {
        assert.isFalse(guard(value))
      }
    })
  }
})

describe("a copy by spread", () => {
  it("is known by its guard", () => {
    for (const queue of Object.values(queues)) assert.isTrue(AmqpQueue.isQueue({ ...queue }))
    for (const exchange of Object.values(exchanges)) assert.isTrue(AmqpExchange.isExchange({ ...exchange }))
    assert.isTrue(AmqpTopology.isTopology({ ...topology }))
  })

  it("equals the original, and has its pipe", () => {
    for (const queue of Object.values(queues)) {
      assert.isTrue(Equal.equals({ ...queue }, queue))
      assert.deepStrictEqual({ ...queue }, queue)
    }
    for (const exchange of Object.values(exchanges)) assert.isTrue(Equal.equals({ ...exchange }, exchange))
    const copy = { ...queues.classic, name: "invoices" }
    const bound = copy.pipe(AmqpQueue.withBinding({ exchange: "events" }))
    assert.isTrue(Equal.equals(
      bound,
      AmqpQueue.withBinding(AmqpQueue.classic("invoices"), { exchange: "events" })
    ))
  })

  it("is one queue with its original in a topology", () => {
    assert.lengthOf(AmqpTopology.make(queues.bound, { ...queues.bound }).queues, 1)
  })

  it("is refused when its name is not a string", () => {
    // As code without types may do.
    const copy = { ...queues.classic, name: 5 as unknown as string }
    assert.throws(() => AmqpQueue.route(copy), /queue: must be a name or a description made by AmqpQueue/)
  })
})

describe("descriptions of the same properties", () => {
  it("are equal, and those of a queue and an exchange are not", () => {
    assert.isTrue(Equal.equals(AmqpQueue.classic("a"), AmqpQueue.classic("a")))
    assert.isFalse(Equal.equals(AmqpQueue.classic("a"), AmqpQueue.classic("b")))
    assert.isFalse(Equal.equals<unknown, unknown>(AmqpQueue.classic("a"), unbranded(AmqpQueue.classic("a"))))
  })
})

describe("a description is printed by its name, without its brand and its pipe:", () => {
  const dead = AmqpExchange.fanout("dead")
  const queue = AmqpQueue.classic("orders", { deadLetterExchange: dead })
  const texts = {
    "util.inspect": inspect(queue, { depth: Infinity }),
    "JSON.stringify": JSON.stringify(queue),
    "Effect's format": format(queue),
    "Effect's format of an object with it": format({ queue }),
    "Effect's formatJson": formatJson({ queue }),
    "util.inspect of a topology": inspect(AmqpTopology.make(queue), { depth: Infinity })
  }
  for (const [how, text] of Object.entries(texts)) {
    it(how, () => {
      for (const part of ["AmqpQueue", "orders", "AmqpExchange", "dead", "x-queue-type"]) assert.include(text, part)
      assert.notInclude(text, "~@effect-amqp")
      assert.notInclude(text, "pipe")
    })
  }

  it("a topology", () => {
    assert.include(inspect(topology), "_id: 'AmqpTopology'")
    assert.deepStrictEqual(JSON.parse(JSON.stringify(topology))._id, "AmqpTopology")
  })
})

describe("what only looks like a description is refused:", () => {
  const queue = unbranded(queues.classic) as AmqpQueue.AmqpQueue<"classic">
  const exchange = unbranded(exchanges.direct) as AmqpExchange.AmqpExchange
  const named = { name: "orders" } as AmqpQueue.AmqpQueue<"classic">
  // Another type may have the properties.
  const asExchange: object = queues.classic
  const asQueue: object = exchanges.direct
  const noQueue = "must be a name or a description made by AmqpQueue.classic, quorum, stream or serverNamed"
  const noExchange = "must be a name or a description made by AmqpExchange.direct, fanout, topic, headers or make"
  const { classic, withBinding } = AmqpQueue
  const { direct } = AmqpExchange
  const cases: Readonly<Record<string, readonly [() => unknown, string]>> = {
    "AmqpQueue.route": [() => AmqpQueue.route(queue), `queue: ${noQueue}`],
    "AmqpQueue.route, of a name in an object": [() => AmqpQueue.route(named), `queue: ${noQueue}`],
    "AmqpQueue.route, of an exchange": [() => AmqpQueue.route(asQueue as AmqpQueue.AmqpQueue), `queue: ${noQueue}`],
    "AmqpQueue.withBinding": [() => withBinding(queue, { exchange: "x" }), `queue: ${noQueue}`],
    "a binding": [() => withBinding(classic("q"), { exchange }), `exchange: ${noExchange}`],
    "a binding, of a queue": [
      () => withBinding(classic("q"), { exchange: asExchange as AmqpExchange.AmqpExchange }),
      `exchange: ${noExchange}`
    ],
    "a dead-letter exchange": [
      () => classic("q", { deadLetterExchange: exchange }),
      `deadLetterExchange: ${noExchange}`
    ],
    "a dead-letter queue": [() => classic("q", { deadLetterQueue: queue }), `deadLetterQueue: ${noQueue}`],
    "AmqpExchange.withBinding": [
      () => AmqpExchange.withBinding(exchange, { source: "x" }),
      `exchange: ${noExchange}`
    ],
    "a binding of an exchange": [
      () => AmqpExchange.withBinding(direct("x"), { source: exchange }),
      `source: ${noExchange}`
    ],
    "an alternate exchange": [() => direct("x", { alternateExchange: exchange }), `alternateExchange: ${noExchange}`],
    "a topology of a queue": [
      () => AmqpTopology.make(queue),
      "descriptions: each must be a description made by AmqpExchange"
    ],
    "a topology of an exchange": [() => AmqpTopology.make(exchange), "or a description made by AmqpQueue"],
    "a topology of a name": [
      () => AmqpTopology.make("orders" as unknown as AmqpQueue.AmqpQueue),
      "descriptions: each must be a description made by AmqpExchange"
    ]
  }
  for (const [name, [make, text]] of Object.entries(cases)) it(name, () => assert.throws(make, text))
})

describe("two copies of the package in one process", () => {
  it("accept each other's descriptions and envelopes", async () => {
    vi.resetModules()
    const other: typeof Core = await import("@effect-amqp/core")
    assert.notStrictEqual(other.AmqpQueue.classic, AmqpQueue.classic)
    const dead = AmqpExchange.fanout("dead")
    const queue = AmqpQueue.classic("orders", { deadLetterExchange: dead })
    assert.isTrue(other.AmqpQueue.isQueue(queue))
    assert.isTrue(other.AmqpExchange.isExchange(dead))
    assert.isTrue(other.AmqpTopology.isTopology(AmqpTopology.make(queue)))
    const { exchanges, queues } = other.AmqpTopology.make(
      queue,
      other.AmqpQueue.classic("orders", { deadLetterExchange: other.AmqpExchange.fanout("dead") })
    )
    assert.deepStrictEqual([exchanges.length, queues.length], [1, 1])
    assert.deepStrictEqual(other.AmqpQueue.route(queue), { exchange: "", routingKey: "orders" })
    const message = await Effect.runPromise(other.AmqpMessage.schema(envelope)({ body: "hello" }))
    assert.deepStrictEqual(await Effect.runPromise(AmqpMessage.decode(envelope)(message)), { body: "hello" })
  })
})
