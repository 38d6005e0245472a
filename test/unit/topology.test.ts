import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpTopology from "@effect-amqp/core/AmqpTopology"
import { assert, describe, it } from "@effect/vitest"
import { pipe } from "effect/Function"

/** What a description that can't be made is refused with. */
const refusal = (make: () => unknown): string => {
  try {
    make()
  } catch (thrown) {
    if (typeof thrown === "object" && thrown !== null && "_tag" in thrown && "message" in thrown) {
      assert.strictEqual(thrown._tag, "InvalidArgument")
      return String(thrown.message)
    }
    throw thrown
  }
  return assert.fail("it was made")
}

const tooLong = "é".repeat(128)

const { classic, quorum, serverNamed, stream } = AmqpQueue
const { direct, fanout, headers, topic } = AmqpExchange

describe("a description", () => {
  it("has what its options say, and the defaults of a durable queue that stays", () => {
    const { bindings, pipe: _pipe, references, ...queue } = classic("q") // oxlint-disable-line typescript/unbound-method
    assert.deepStrictEqual({ ...queue }, {
      type: "classic",
      name: "q",
      durable: true,
      exclusive: false,
      autoDelete: false,
      arguments: { "x-queue-type": "classic" }
    })
    assert.deepStrictEqual([bindings, references], [[], []])
    assert.include(serverNamed(), { name: "", durable: false, exclusive: true })
    assert.include(quorum("q"), { durable: true, exclusive: false, autoDelete: false })
    assert.include(stream("q"), { durable: true, exclusive: false, autoDelete: false })
    for (
      const [make, type] of [[direct, "direct"], [fanout, "fanout"], [topic, "topic"], [headers, "headers"]] as const
    ) {
      assert.include(make("x"), { type, durable: true, autoDelete: false, internal: false })
    }
  })

  it("is data that nothing changes: another binding makes another description", () => {
    const queue = classic("q")
    const bound = AmqpQueue.withBinding(queue, { exchange: "x", routingKey: "a" })
    assert.isTrue(Object.isFrozen(queue) && Object.isFrozen(bound))
    assert.deepStrictEqual(queue.bindings, [])
    assert.deepStrictEqual(bound.bindings, [{ exchange: "x", routingKey: "a", arguments: {} }])
    const exchange = direct("x")
    assert.deepStrictEqual(exchange.bindings, [])
    const twice = exchange.pipe(
      AmqpExchange.withBinding({ source: "a" }),
      AmqpExchange.withBinding({ source: "b", arguments: { level: 1 } })
    )
    assert.deepStrictEqual(twice.bindings, [
      { exchange: "a", routingKey: "", arguments: {} },
      { exchange: "b", routingKey: "", arguments: { level: 1 } }
    ])
  })

  it("keeps 0, false and what is empty, and leaves out what is undefined", () => {
    const options = { messageTtl: 0, maxLength: 0, maxLengthBytes: 0, maxPriority: 0, expires: undefined }
    assert.deepStrictEqual(classic("q", { ...options, deadLetterExchange: "", deadLetterRoutingKey: "" }).arguments, {
      "x-queue-type": "classic",
      "x-message-ttl": 0,
      "x-max-length": 0,
      "x-max-length-bytes": 0,
      "x-max-priority": 0,
      "x-dead-letter-exchange": "",
      "x-dead-letter-routing-key": ""
    })
    assert.deepStrictEqual(quorum("q", { deliveryLimit: 0 }).arguments["x-delivery-limit"], 0)
    assert.deepStrictEqual(stream("q", { maxLengthBytes: 0 }).arguments["x-max-length-bytes"], 0)
  })

  it("takes times in any unit, and sends those that are no whole number of milliseconds rounded up", () => {
    const { arguments: table } = classic("q", { messageTtl: "0.2 millis", expires: { minutes: 1 } })
    assert.include(table, { "x-message-ttl": 1, "x-expires": 60_000 })
    assert.include(stream("q", { maxAge: "1500 millis" }).arguments, { "x-max-age": "2s" })
  })

  it("takes further arguments by the broker's names", () => {
    const table = { "x-queue-mode": "lazy", "x-custom": [1, { two: null }] }
    assert.deepStrictEqual(classic("q", { arguments: table, maxLength: 1 }).arguments, {
      ...table,
      "x-queue-type": "classic",
      "x-max-length": 1
    })
    assert.deepStrictEqual(direct("x", { arguments: { "x-custom": 1 }, alternateExchange: "other" }).arguments, {
      "x-custom": 1,
      "alternate-exchange": "other"
    })
  })

  it("of an exchange may be the dead-letter exchange or the alternate exchange of others", () => {
    const dead = fanout("dead")
    const queue = classic("q", { deadLetterExchange: dead })
    assert.deepStrictEqual(queue.arguments["x-dead-letter-exchange"], "dead")
    assert.deepStrictEqual(queue.references, [dead])
    const exchange = direct("x", { alternateExchange: dead })
    assert.deepStrictEqual(exchange.arguments["alternate-exchange"], "dead")
    assert.deepStrictEqual(exchange.references, [dead])
    assert.deepStrictEqual(classic("q", { deadLetterExchange: "dead" }).references, [])
  })
})

describe("what no broker would take is refused when the description is made:", () => {
  const cases: ReadonlyArray<readonly [name: string, make: () => unknown, says: string]> = [
    ["a queue without a name", () => classic(""), "queue: must not be empty"],
    ["a quorum queue without a name", () => quorum(""), "queue: must not be empty"],
    ["a stream without a name", () => stream(""), "queue: must not be empty"],
    ["an exchange without a name", () => direct(""), "exchange: must not be empty"],
    ["an exchange without a type", () => AmqpExchange.make("x", { type: "" }), "type: must not be empty"],
    ["a queue with a name over 255 bytes", () => classic(tooLong), "queue: a name holds at most 255 bytes"],
    ["an exchange with a name over 255 bytes", () => topic(tooLong), "exchange: a name holds at most 255 bytes"],
    ["a negative time to live", () => classic("q", { messageTtl: -1 }), "messageTtl: must be from 0 to 4294967295"],
    ["an endless time to live", () => classic("q", { messageTtl: Infinity }), "messageTtl: must be from 0"],
    ["a time to live that is no time", () => classic("q", { messageTtl: NaN }), "messageTtl: must be from 0"],
    ["a time to live beyond 32 bits", () => quorum("q", { messageTtl: "50 days" }), "messageTtl: must be from 0"],
    ["a queue that expires at once", () => classic("q", { expires: 0 }), "expires: must be from 1"],
    ["a length that is no whole number", () => classic("q", { maxLength: 1.5 }), "maxLength: must be a whole number"],
    ["a negative length", () => quorum("q", { maxLength: -1 }), "maxLength: must be a whole number from 0"],
    ["a negative size", () => classic("q", { maxLengthBytes: -1 }), "maxLengthBytes: must be a whole number"],
    [
      "a priority over 255",
      () => classic("q", { maxPriority: 256 }),
      "maxPriority: must be a whole number from 0 to 255"
    ],
    ["a negative delivery limit", () => quorum("q", { deliveryLimit: -1 }), "deliveryLimit: must be a whole number"],
    ["a group of none", () => quorum("q", { initialGroupSize: 0 }), "initialGroupSize: must be a whole number from 1"],
    ["a stream on no node", () => stream("q", { initialGroupSize: 0 }), "initialGroupSize: must be a whole number"],
    ["a stream that keeps nothing for any time", () => stream("q", { maxAge: 0 }), "maxAge: must be from 1 seconds"],
    ["a segment without bytes", () => stream("q", { segmentSizeBytes: 0 }), "segmentSizeBytes: must be a whole number"],
    [
      "a dead-letter key without an exchange",
      () => classic("q", { deadLetterRoutingKey: "dead" }),
      "deadLetterRoutingKey: needs a deadLetterExchange"
    ],
    [
      "a dead-letter exchange with a name over 255 bytes",
      () => classic("q", { deadLetterExchange: tooLong }),
      "deadLetterExchange: a name holds"
    ],
    [
      "a dead-letter key over 255 bytes",
      () => classic("q", { deadLetterExchange: "", deadLetterRoutingKey: tooLong }),
      "deadLetterRoutingKey: a name holds"
    ],
    [
      "dead-lettering at least once without an exchange",
      () => quorum("q", { deadLetterStrategy: "at-least-once", overflow: "reject-publish" }),
      "needs a deadLetterExchange"
    ],
    [
      "dead-lettering at least once with messages that are dropped",
      () => quorum("q", { deadLetterStrategy: "at-least-once", deadLetterExchange: "x" }),
      `the overflow "reject-publish"`
    ],
    [
      "an alternate exchange without a name",
      () => direct("x", { alternateExchange: "" }),
      "alternateExchange: must not be"
    ],
    [
      "an argument that an option gives too",
      () => classic("q", { maxLength: 1, arguments: { "x-max-length": 2 } }),
      "arguments: x-max-length is given by an option too"
    ],
    [
      "an argument that says another type",
      () => classic("q", { arguments: { "x-queue-type": "quorum" } }),
      "arguments: x-queue-type is given"
    ],
    [
      "a binding to the default exchange",
      () => AmqpQueue.withBinding(classic("q"), { exchange: "" }),
      "exchange: must not be empty"
    ],
    [
      "a binding of an exchange to the default exchange",
      () => AmqpExchange.withBinding(direct("x"), { source: "" }),
      "must not be empty"
    ],
    [
      "a binding with a key over 255 bytes",
      () => AmqpQueue.withBinding(classic("q"), { exchange: "x", routingKey: tooLong }),
      "routingKey: a name holds"
    ],
    [
      "a binding of an exchange with a key over 255 bytes",
      () => AmqpExchange.withBinding(direct("x"), { source: "y", routingKey: tooLong }),
      "routingKey: a name holds"
    ]
  ]
  for (const [name, make, says] of cases) it(name, () => assert.include(refusal(make), says))
})

describe("a topology", () => {
  it("has each exchange and queue once, and the exchanges that they refer to", () => {
    const dead = fanout("dead")
    const events = topic("events", { alternateExchange: dead }).pipe(AmqpExchange.withBinding({ source: direct("in") }))
    const orders = classic("orders", { deadLetterExchange: dead }).pipe(AmqpQueue.withBinding({ exchange: events }))
    const { exchanges, queues } = AmqpTopology.make(orders, events, orders, classic("dead"), fanout("dead"))
    assert.sameMembers(exchanges.map(({ name }) => name), ["events", "dead", "in"])
    assert.deepStrictEqual(queues.map(({ name }) => name), ["orders", "dead"])
  })

  it("has queues that the broker names as often as they are named", () => {
    const replies = serverNamed()
    assert.strictEqual(AmqpTopology.make(replies, replies, serverNamed({ maxLength: 1 })).queues.length, 3)
  })

  it("is data that nothing changes", () => {
    assert.isTrue(Object.isFrozen(AmqpTopology.make(classic("q"))))
  })

  it("takes two descriptions that say the same for one", () => {
    const bind = AmqpQueue.withBinding({ exchange: "x", routingKey: "a", arguments: { level: 1, tags: ["a"] } })
    const make = () => pipe(classic("q", { maxLength: 1, arguments: { "x-custom": { a: [1] } } }), bind)
    assert.strictEqual(AmqpTopology.make(make(), make()).queues.length, 1)
    const exchange = topic("x", { arguments: { a: 1, b: 2 } })
    assert.strictEqual(AmqpTopology.make(exchange, topic("x", { arguments: { b: 2, a: 1 } })).exchanges.length, 1)
  })

  it("refuses two descriptions of one name that differ, also where one is referred to", () => {
    const differing: ReadonlyArray<readonly [() => unknown, string]> = [
      [() => AmqpTopology.make(classic("q"), classic("q", { maxLength: 1 })), `queue "q" differ`],
      [() => AmqpTopology.make(classic("q"), quorum("q")), `queue "q" differ`],
      [
        () => AmqpTopology.make(classic("q"), pipe(classic("q"), AmqpQueue.withBinding({ exchange: "x" }))),
        `queue "q" differ`
      ],
      [() => AmqpTopology.make(direct("x"), fanout("x")), `exchange "x" differ`],
      [
        () => AmqpTopology.make(direct("x"), pipe(classic("q"), AmqpQueue.withBinding({ exchange: topic("x") }))),
        `exchange "x" differ`
      ],
      [
        () => AmqpTopology.make(classic("q", { deadLetterExchange: fanout("x") }), direct("x", { internal: true })),
        `exchange "x" differ`
      ]
    ]
    for (const [make, says] of differing) assert.include(refusal(make), says)
  })
})
