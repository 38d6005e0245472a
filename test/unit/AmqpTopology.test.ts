import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpTopology from "@effect-amqp/core/AmqpTopology"
import { assert, describe, it } from "@effect/vitest"
import { pipe } from "effect/Function"

/** The message with which an invalid description is refused. */
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
  return assert.fail("it was accepted")
}

/** Options from a variable of a looser type, or from JavaScript. */
// oxlint-disable-next-line typescript/no-explicit-any
const loose = (options: Readonly<Record<string, unknown>>): any => options

const tooLong = "é".repeat(128)

const { classic, quorum, serverNamed, stream } = AmqpQueue
const { direct, fanout, headers, topic } = AmqpExchange

describe("a description", () => {
  it("has its options, and is durable and permanent by default", () => {
    const { bindings, pipe: _pipe, references, ...queue } = classic("q") // oxlint-disable-line typescript/unbound-method
    assert.deepStrictEqual({ ...queue }, {
      "~@effect-amqp/core/AmqpQueue": "~@effect-amqp/core/AmqpQueue",
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

  it("is immutable: adding a binding makes another description", () => {
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

  it("keeps 0, false and empty values, and omits undefined ones", () => {
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

  it("accepts durations in any unit, and rounds them up to whole numbers", () => {
    const { arguments: table } = classic("q", { messageTtl: "0.2 millis", expires: { minutes: 1 } })
    assert.include(table, { "x-message-ttl": 1, "x-expires": 60_000 })
    assert.include(stream("q", { maxAge: "1500 millis" }).arguments, { "x-max-age": "2s" })
  })

  it("accepts further arguments by the broker's names", () => {
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

  it("V7: of a queue has no argument that a version of RabbitMQ refuses, unless it is given as such", () => {
    const removed = ["x-queue-mode", "x-queue-version", "x-queue-master-locator"]
    const some = { maxLength: 1, maxLengthBytes: 1, singleActiveConsumer: true, overflow: "drop-head" } as const
    const queues = [classic("q", { ...some, maxPriority: 1 }), quorum("q", some), stream("q", { maxAge: "1 day" })]
    for (const queue of queues) assert.doesNotHaveAnyKeys(queue.arguments, removed)
  })

  it("of an exchange may be the dead-letter exchange or alternate exchange of others", () => {
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

describe("what no broker would accept is refused when the description is created:", () => {
  const cases: ReadonlyArray<readonly [name: string, make: () => unknown, text: string]> = [
    ["a queue without a name", () => classic(""), "queue: must not be empty"],
    ["a quorum queue without a name", () => quorum(""), "queue: must not be empty"],
    ["a stream without a name", () => stream(""), "queue: must not be empty"],
    [
      "V2: an argument for mirrored queues",
      () => classic("q", { arguments: { "x-ha-policy": "all" } }),
      "arguments: RabbitMQ ignores x-ha-policy. AmqpQueue.quorum describes a replicated queue"
    ],
    ["an exchange without a name", () => direct(""), "exchange: must not be empty"],
    [
      "an exchange without a type",
      () => AmqpExchange.make("x", loose({})),
      `type: no broker has the exchange type "undefined"`
    ],
    ["an exchange of an empty type", () => AmqpExchange.make("x", loose({ type: "" })), `the exchange type ""`],
    ["a misspelled type", () => AmqpExchange.make("x", loose({ type: "topics" })), `did you mean "topic"?`],
    ["a type in capitals", () => AmqpExchange.make("x", loose({ type: "Fanout" })), `did you mean "fanout"?`],
    [
      "a plugin's type given as type",
      () => AmqpExchange.make("x", loose({ type: "x-delayed-message" })),
      "a type that a plugin adds is given as pluginType"
    ],
    [
      "an empty plugin type",
      () => AmqpExchange.make("x", { pluginType: "" }),
      "pluginType: must not be empty"
    ],
    [
      "a type and a plugin type",
      () => AmqpExchange.make("x", loose({ type: "topic", pluginType: "x-y" })),
      "type, pluginType: only one of them can be given"
    ],
    ["a queue with a name over 255 bytes", () => classic(tooLong), "queue: a name holds at most 255 bytes"],
    ["an exchange with a name over 255 bytes", () => topic(tooLong), "exchange: a name holds at most 255 bytes"],
    [
      "a negative time to live",
      () => classic("q", { messageTtl: -1 }),
      "messageTtl: must be a duration from 0 to 4294967295"
    ],
    ["an infinite time to live", () => classic("q", { messageTtl: Infinity }), "messageTtl: must be a duration from 0"],
    [
      "a time to live that is not a number",
      () => classic("q", { messageTtl: NaN }),
      "messageTtl: must be a duration from 0"
    ],
    [
      "a time to live beyond 32 bits",
      () => quorum("q", { messageTtl: "50 days" }),
      "messageTtl: must be a duration from 0"
    ],
    ["a queue that expires at once", () => classic("q", { expires: 0 }), "expires: must be a duration from 1"],
    [
      "a length that is not a whole number",
      () => classic("q", { maxLength: 1.5 }),
      "maxLength: must be a whole number"
    ],
    ["a negative length", () => quorum("q", { maxLength: -1 }), "maxLength: must be a whole number from 0"],
    ["a negative size", () => classic("q", { maxLengthBytes: -1 }), "maxLengthBytes: must be a whole number"],
    [
      "a priority over 255",
      () => classic("q", { maxPriority: 256 }),
      "maxPriority: must be a whole number from 0 to 255"
    ],
    ["a negative delivery limit", () => quorum("q", { deliveryLimit: -1 }), "deliveryLimit: must be a whole number"],
    [
      "a delivery limit that is not a number",
      () => quorum("q", loose({ deliveryLimit: "5" })),
      "deliveryLimit: must be"
    ],
    ["a delivery limit that is infinite", () => quorum("q", { deliveryLimit: Infinity }), "deliveryLimit: must be"],
    [
      "a quorum queue with an initial group of 0",
      () => quorum("q", { initialGroupSize: 0 }),
      "initialGroupSize: must be a whole number from 1"
    ],
    [
      "a stream with an initial group of 0",
      () => stream("q", { initialGroupSize: 0 }),
      "initialGroupSize: must be a whole number"
    ],
    [
      "a stream with a maximum age of 0",
      () => stream("q", { maxAge: 0 }),
      "maxAge: must be a duration of at least 1 s"
    ],
    [
      "a stream with segments of 0 bytes",
      () => stream("q", { segmentSizeBytes: 0 }),
      "segmentSizeBytes: must be a whole number"
    ],
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
      "a dead-letter queue and an exchange",
      () => classic("q", { deadLetterQueue: "dead", deadLetterExchange: "x" }),
      "deadLetterQueue: replaces"
    ],
    [
      "a dead-letter queue and a key",
      () => quorum("q", { deadLetterQueue: "dead", deadLetterRoutingKey: "x" }),
      "deadLetterQueue: replaces"
    ],
    [
      "a dead-letter queue and an exchange in arguments",
      () => classic("q", { deadLetterQueue: "dead", arguments: { "x-dead-letter-exchange": "x" } }),
      "arguments: x-dead-letter-exchange is also set by an option"
    ],
    [
      "a server-named dead-letter queue",
      () => classic("q", { deadLetterQueue: serverNamed() }),
      "deadLetterQueue: must not be empty"
    ],
    [
      "a dead-letter queue without a name",
      () => quorum("q", { deadLetterQueue: "" }),
      "deadLetterQueue: must not be empty"
    ],
    ...(["bogus", "5", "", "0s", "-1s", "1.5s", 5, true] as const).map((maxAge) =>
      [
        `an x-max-age of ${JSON.stringify(maxAge)}, for which RabbitMQ may close the connection`,
        () => stream("q", { arguments: { "x-max-age": maxAge } }),
        "arguments: x-max-age must be a number and one of"
      ] as const
    ),
    ...(["bogus", "", 1] as const).map((locator) =>
      [
        `an x-queue-master-locator of ${JSON.stringify(locator)}, for which RabbitMQ closes the connection`,
        () => classic("q", { arguments: { "x-queue-master-locator": locator } }),
        "arguments: x-queue-master-locator must be"
      ] as const
    ),
    [
      "an alternate exchange without a name",
      () => direct("x", { alternateExchange: "" }),
      "alternateExchange: must not be"
    ],
    [
      "an argument that is also given as an option",
      () => classic("q", { maxLength: 1, arguments: { "x-max-length": 2 } }),
      "arguments: x-max-length is also set by an option"
    ],
    [
      "an argument with another queue type",
      () => classic("q", { arguments: { "x-queue-type": "quorum" } }),
      "arguments: x-queue-type is also set"
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
  for (const [name, make, text] of cases) it(name, () => assert.include(refusal(make), text))
})

describe("unknown options and those of another queue type are refused by name, even from a variable:", () => {
  const cases: ReadonlyArray<readonly [make: () => unknown, text: string]> = [
    [() => quorum("q", loose({ exclusive: true })), `there is no "exclusive"; it is an option of classic queues`],
    [() => quorum("q", loose({ autoDelete: true })), `there is no "autoDelete"; it is an option of classic queues`],
    [() => quorum("q", loose({ durable: false })), `there is no "durable"; it is an option of classic queues`],
    [() => quorum("q", loose({ maxPriority: 5 })), `there is no "maxPriority"; it is an option of classic queues`],
    [() => quorum("q", loose({ maxAge: "1 day" })), `there is no "maxAge"; it is an option of stream queues`],
    [() => stream("q", loose({ messageTtl: 1 })), `"messageTtl"; it is an option of classic and quorum queues`],
    [() => stream("q", loose({ maxLength: 1 })), `"maxLength"; it is an option of classic and quorum queues`],
    [() => stream("q", loose({ deadLetterExchange: "x" })), "options of a stream queue"],
    [() => stream("q", loose({ deadLetterQueue: "x" })), "it is an option of classic and quorum queues"],
    [() => stream("q", loose({ expires: 1 })), "it is an option of classic and quorum queues"],
    [() => serverNamed(loose({ durable: true })), `"durable"; it is an option of classic queues`],
    [() => serverNamed(loose({ exclusive: false })), "options of a server-named queue"],
    [() => classic("q", loose({ deliveryLimit: 2 })), `"deliveryLimit"; it is an option of quorum queues`],
    [() => classic("q", loose({ initialGroupSize: 2 })), "it is an option of quorum and stream queues"],
    [() => classic("q", loose({ maxAge: "7 days" })), "it is an option of stream queues"],
    [() => classic("q", loose({ messageTTL: 1 })), `did you mean "messageTtl"?`],
    [() => quorum("q", loose({ delivery_limit: 1 })), `did you mean "deliveryLimit"?`],
    [() => classic("q", loose({ ttl: 1 })), `there is no "ttl"; there are messageTtl`],
    [() => direct("x", loose({ exclusive: true })), `there is no "exclusive"`],
    [() => fanout("x", loose({ type: "topic" })), `there is no "type"`],
    [() => topic("x", loose({ auto_delete: true })), `did you mean "autoDelete"?`],
    [() => AmqpExchange.make("x", loose({ type: "topic", durabel: true })), `did you mean "durable"?`],
    [
      () => AmqpQueue.withBinding(classic("q"), loose({ exchange: "x", routingkey: "a" })),
      `did you mean "routingKey"?`
    ],
    [() => AmqpQueue.withBinding(classic("q"), loose({ exchange: "x", source: "x" })), `there is no "source"`],
    [() => AmqpExchange.withBinding(direct("x"), loose({ source: "x", exchange: "x" })), `there is no "exchange"`]
  ]
  for (const [make, text] of cases) it(String(make), () => assert.include(refusal(make), text))

  it("except undefined ones", () => {
    assert.deepStrictEqual(quorum("q", loose({ exclusive: undefined, maxLength: 1 })), quorum("q", { maxLength: 1 }))
  })
})

describe("a dead-letter queue", () => {
  it("sets the default exchange, with its name as the routing key", () => {
    for (const dead of ["dead", quorum("dead"), stream("dead")]) {
      assert.include(classic("q", { deadLetterQueue: dead }).arguments, {
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "dead"
      })
    }
    const options = {
      deadLetterStrategy: "at-least-once",
      overflow: "reject-publish",
      deadLetterQueue: "dead"
    } as const
    assert.include(quorum("q", options).arguments, { "x-dead-letter-strategy": "at-least-once" })
  })

  it("that is described is part of the topology once, before the queues that refer to it", () => {
    const last = classic("last")
    const dead = quorum("dead", { deadLetterQueue: last }).pipe(AmqpQueue.withBinding({ exchange: fanout("x") }))
    const { exchanges, queues } = AmqpTopology.make(
      classic("a", { deadLetterQueue: dead }),
      classic("b", { deadLetterQueue: dead }),
      last
    )
    assert.deepStrictEqual(queues.map(({ name }) => name), ["last", "dead", "a", "b"])
    assert.deepStrictEqual(exchanges.map(({ name }) => name), ["x"])
    assert.deepStrictEqual(AmqpTopology.make(classic("a", { deadLetterQueue: "dead" })).queues.length, 1)
  })

  it("may dead-letter back to the queue", () => {
    const dead = classic("dead", { deadLetterQueue: "a", messageTtl: "1 minute" })
    assert.deepStrictEqual(
      AmqpTopology.make(classic("a", { deadLetterQueue: dead })).queues.map(({ name }) => name),
      ["dead", "a"]
    )
    const cycle = { ...classic("a"), references: new Array<AmqpQueue.AmqpQueue>() }
    cycle.references.push(classic("b", { deadLetterQueue: cycle }))
    assert.deepStrictEqual(AmqpTopology.make(cycle).queues.map(({ name }) => name), ["b", "a"])
  })

  it("is refused when it differs from another description of the same name", () => {
    assert.include(
      refusal(() => AmqpTopology.make(classic("a", { deadLetterQueue: quorum("dead") }), classic("dead"))),
      `queue "dead" differ`
    )
  })
})

describe("a route", () => {
  it("is refused for a queue without a name", () => {
    const queue: AmqpQueue.AmqpQueue = serverNamed()
    assert.include(refusal(() => AmqpQueue.route(queue)), "queue: must not be empty")
    assert.include(refusal(() => AmqpQueue.route("")), "queue: must not be empty")
    assert.deepStrictEqual(AmqpQueue.route(quorum("q")), { exchange: "", routingKey: "q" })
  })
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

  it("has a server-named queue as often as it is given", () => {
    const replies = serverNamed()
    assert.strictEqual(AmqpTopology.make(replies, replies, serverNamed({ maxLength: 1 })).queues.length, 3)
  })

  it("is immutable", () => {
    assert.isTrue(Object.isFrozen(AmqpTopology.make(classic("q"))))
  })

  it("merges equal descriptions", () => {
    const bind = AmqpQueue.withBinding({ exchange: "x", routingKey: "a", arguments: { level: 1, tags: ["a"] } })
    const make = () => pipe(classic("q", { maxLength: 1, arguments: { "x-custom": { a: [1] } } }), bind)
    assert.strictEqual(AmqpTopology.make(make(), make()).queues.length, 1)
    const exchange = topic("x", { arguments: { a: 1, b: 2 } })
    assert.strictEqual(AmqpTopology.make(exchange, topic("x", { arguments: { b: 2, a: 1 } })).exchanges.length, 1)
  })

  it("refuses different descriptions of the same name, including referenced ones", () => {
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
    for (const [make, text] of differing) assert.include(refusal(make), text)
  })
})
