// The same operations, in the same order, on RabbitMQ and on the embedded broker.
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { startBrokers } from "../../comparison/brokers.ts"
import { comparePlan } from "../../comparison/compare.ts"
import { compareSeeds } from "../../comparison/compareSeeds.ts"
import type { Found } from "../../comparison/compareSeeds.ts"
import type { Fields } from "../../comparison/fields.ts"
import type { ChannelName, Operation, Publish, Settle } from "../../comparison/operations.ts"
import { describeDifference } from "../../comparison/report.ts"
import type { Arguments } from "../../comparison/wire.ts"
import { brokerUrl, onRabbitMQ } from "../../support/brokerUnderTest.ts"
import { versionAt } from "../../support/conversation.ts"

/** The seeds are run in batches of a test each. */
const batches = 4
const seedsPerBatch = 75
const steps = 15

const request = (method: string, values: Arguments, channel: ChannelName = "confirm"): Operation => ({
  _tag: "Request",
  channel,
  method,
  arguments: values
})

const declare = (queue: string, table: Fields = {}): Operation =>
  request("queue.declare", { queue, durable: true, arguments: table })

const publish = (routingKey: string, values: Partial<Publish> = {}): Operation => ({
  _tag: "Publish",
  channel: "confirm",
  exchange: "",
  routingKey,
  mandatory: false,
  immediate: false,
  properties: {},
  body: "m1",
  ...values
})

const get = request("basic.get", { queue: "@q0" })

const settle = (method: Settle["method"], requeue: boolean): Settle => ({
  _tag: "Settle",
  channel: "confirm",
  method,
  target: 0,
  multiple: false,
  requeue
})

/** Differences that the comparison once found, in their shortest form. */
const found: ReadonlyArray<readonly [string, ReadonlyArray<Operation>]> = [
  ["a message that a full queue refuses", [
    declare("@q0", { "x-max-length": 1, "x-overflow": "reject-publish" }),
    publish("@q0"),
    publish("@q0"),
    publish("@q1")
  ]],
  ["an argument that RabbitMQ answers with an internal error", [declare("@q0", { "x-queue-master-locator": 5 })]],
  ["an argument that is ignored for an exclusive queue", [
    request("queue.declare", { queue: "@q0", exclusive: true, arguments: { "x-queue-master-locator": 5 } })
  ]],
  ["BCC in a returned message", [
    publish("@q0", { mandatory: true, properties: { headers: { BCC: ["@q1"], a: 1 } } })
  ]],
  ["BCC in a dead letter", [
    declare("@q0", { "x-dead-letter-exchange": "@e0" }),
    request("exchange.declare", { exchange: "@e0", type: "direct" }),
    declare("@q1"),
    request("queue.bind", { queue: "@q1", exchange: "@e0", routingKey: "b" }),
    publish("@q0", { properties: { headers: { BCC: ["b"] } } }),
    get,
    settle("basic.reject", false)
  ]],
  ["an unknown delivery mode", [publish("@q0", { properties: { deliveryMode: 3 } })]],
  ["a name that is not UTF-8", [request("queue.declare", { queue: { bytes: "ff61" } })]],
  ["a key that is not UTF-8", [publish("", { routingKey: { bytes: "ff61" }, mandatory: true })]],
  ["header types in a message that a quorum queue redelivers", [
    declare("@q0", { "x-queue-type": "quorum" }),
    publish("@q0", {
      properties: {
        correlationId: { bytes: "ff" },
        headers: {
          B: { type: "B", value: 1 },
          f: { type: "f", value: 1 },
          i: { type: "i", value: 1 },
          S: { type: "S", value: "ff" },
          table: { s: { type: "s", value: 1 } },
          array: [{ type: "d", value: 1 }]
        }
      }
    }),
    get,
    settle("basic.nack", true),
    get
  ]],
  ["an x-death written by the publisher", [
    declare("@q0", { "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "@q1" }),
    declare("@q1"),
    publish("@q0", {
      properties: {
        headers: {
          "x-death": [
            { queue: "@q3", reason: "maxlen", count: { type: "l", value: 2 } },
            { queue: "@q3", reason: "expired" },
            { queue: "@q3", reason: "expired" }
          ]
        }
      }
    }),
    get,
    settle("basic.reject", false)
  ]],
  ["a consumer tag that is used twice, for a queue that does not exist", [
    declare("@q0"),
    request("basic.consume", { queue: "@q0", consumerTag: "t0" }),
    request("basic.consume", { queue: "@none", consumerTag: "t0" })
  ]],
  ["a consumer that deletes its queue", [
    declare("@q0"),
    request("basic.consume", { queue: "@q0", consumerTag: "t0" }),
    request("queue.delete", { queue: "@q0" })
  ]],
  ["gets before and after a shared prefetch", [
    declare("@q0"),
    ...Array.from({ length: 4 }, () => publish("@q0")),
    request("basic.get", { queue: "@q0" }, "global"),
    request("basic.qos", { prefetchCount: 2, global: true }, "global"),
    request("basic.get", { queue: "@q0" }, "global"),
    request("basic.consume", { queue: "@q0", consumerTag: "t0" }, "global")
  ]],
  ["a message and its own dead letter in the same queue", [
    request("exchange.declare", { exchange: "@e0", type: "fanout" }),
    declare("@q0", { "x-message-ttl": 0, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "@q1" }),
    declare("@q1"),
    request("queue.bind", { queue: "@q0", exchange: "@e0", routingKey: "" }),
    request("queue.bind", { queue: "@q1", exchange: "@e0", routingKey: "" }),
    publish("", { exchange: "@e0" })
  ]],
  ["a maximum priority of 0", [
    declare("@q0", { "x-max-priority": 0 }),
    publish("@q0", { properties: { priority: 0 } }),
    publish("@q0", { properties: { priority: 1 } })
  ]],
  ["the size of the messages that a quorum queue keeps", [
    declare("@q0", { "x-queue-type": "quorum", "x-max-length-bytes": 28 }),
    declare("@q1", { "x-message-ttl": 0, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "@q0" }),
    publish("@q1", { properties: { headers: { BCC: ["none"], a: 1 } } }),
    publish("@q0", { properties: { priority: 1 } }),
    publish("@q0", { properties: { expiration: "60000" } }),
    publish("@q0")
  ]],
  ...(["classic", "quorum"] as const).map((type): readonly [string, ReadonlyArray<Operation>] => [
    `expired messages behind a get from a ${type} queue`,
    [
      declare("@q0", { "x-queue-type": type }),
      publish("@q0"),
      publish("@q0"),
      publish("@q0", { properties: { expiration: "0" } }),
      publish("@q0"),
      publish("@q0", { properties: { expiration: "0" } }),
      get,
      request("basic.get", { queue: "@q0", noAck: true }),
      request("basic.get", { queue: "@q0", noAck: true })
    ]
  ]),
  ["an overflow that quorum queues do not support", [
    declare("@q0", { "x-queue-type": "quorum", "x-max-length": 1, "x-overflow": "reject-publish-dlx" }),
    publish("@q0"),
    publish("@q0"),
    publish("@q0", { body: "m2" })
  ]],
  ["a message that a consumer of a full quorum queue gets back", [
    declare("@q0", { "x-queue-type": "quorum", "x-max-length": 0 }),
    request("basic.consume", { queue: "@q0", consumerTag: "t0" }),
    publish("@q0"),
    settle("basic.reject", true)
  ]],
  ["a quorum queue that is full of messages that came back", [
    declare("@q0", { "x-queue-type": "quorum", "x-max-length": 1, "x-overflow": "reject-publish" }),
    publish("@q0"),
    get,
    publish("@q0"),
    settle("basic.nack", true),
    publish("@q0")
  ]],
  ...(["classic", "quorum"] as const).map((type): readonly [string, ReadonlyArray<Operation>] => [
    `messages of two consumers that are settled together, in a ${type} queue that drops them`,
    [
      declare("@q1"),
      declare("@q0", {
        "x-queue-type": type,
        "x-max-length": 1,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "@q1"
      }),
      request("basic.consume", { queue: "@q0", consumerTag: "t0" }),
      request("basic.consume", { queue: "@q0", consumerTag: "t1" }),
      ...["m1", "m2", "m3", "m4"].map((body) => publish("@q0", { body })),
      request("basic.cancel", { consumerTag: "t0" }),
      request("basic.cancel", { consumerTag: "t1" }),
      { ...settle("basic.nack", true), target: "all", multiple: true }
    ]
  ]),
  ["messages of two consumers and a get that come back from a closed channel", [
    declare("@q0", { "x-queue-type": "quorum" }),
    publish("@q0"),
    get,
    ...["t1", "t0"].flatMap((consumerTag) => [
      request("basic.consume", { queue: "@q0", consumerTag }),
      publish("@q0", { body: consumerTag }),
      request("basic.cancel", { consumerTag })
    ]),
    { _tag: "CloseChannel", channel: "confirm" }
  ]],
  ["a transaction with a message that a full queue refuses", [
    declare("@q0", { "x-max-length": 0, "x-overflow": "reject-publish" }),
    declare("@q1"),
    request("tx.select", {}, "tx"),
    publish("@q0", { channel: "tx" }),
    publish("@q1", { channel: "tx" }),
    request("tx.commit", {}, "tx")
  ]],
  ["a connection that closes with messages for its own consumers", [
    declare("@q0"),
    publish("@q0"),
    get,
    request("basic.consume", { queue: "@q0", consumerTag: "t0", noAck: true }, "plain"),
    { _tag: "CloseConnection", connection: "main", how: "close" }
  ]]
]

const version = await versionAt(brokerUrl)

describe.runIf(onRabbitMQ("the broker to compare the embedded one with") && version !== undefined)(
  "RabbitMQ and the embedded broker",
  () => {
    it.live.each(Array.from({ length: batches }, (_, batch) => batch * seedsPerBatch))(
      `behave the same in ${seedsPerBatch} runs of random operations from seed %i on`,
      (first) =>
        Effect.gen(function*() {
          const brokers = yield* startBrokers(brokerUrl)
          const found: Array<Found> = []
          const { compared } = yield* compareSeeds(brokers, {
            seed: first,
            runs: seedsPerBatch,
            steps,
            concurrency: 12,
            onDifference: (difference) => Effect.sync(() => void found.push(difference))
          })
          const reports = found.map(({ difference }) =>
            `npm run compare -- --runs 1 --seed ${difference.plan.seed} --steps ${steps}\n` +
            describeDifference(difference, brokers.names)
          )
          assert.deepStrictEqual(reports, [])
          assert.strictEqual(compared, seedsPerBatch)
        })
    )

    it.live.each(found)("behave the same where they once differed: %s", ([, operations]) =>
      Effect.gen(function*() {
        const brokers = yield* startBrokers(brokerUrl)
        const comparison = yield* comparePlan({ seed: 0, theme: "found", operations }, brokers)
        if (comparison._tag === "Different") assert.fail(describeDifference(comparison, brokers.names))
      }))
  }
)
