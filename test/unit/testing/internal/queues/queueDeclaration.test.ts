/** Which arguments of queues and consumers each version refuses. The reply texts are tested in test/integration/testing/queueArgumentReplies.test.ts. */
import { TypedField } from "@effect-amqp/core/protocol/fieldTable"
import type { FieldTable } from "@effect-amqp/core/protocol/fieldTable"
import type { QueueDeclare } from "@effect-amqp/core/protocol/methods.generated"
import type { Version } from "@effect-amqp/core/testing/AmqpBroker"
import { rulesOf, versions } from "@effect-amqp/core/testing/internal/common/versionRules"
import { checkConsumerArguments } from "@effect-amqp/core/testing/internal/queues/consumerArguments"
import { assertEqualQueueArguments, checkDeclaration } from "@effect-amqp/core/testing/internal/queues/queueDeclaration"
import { assert, describe, it } from "@effect/vitest"
import { refusal } from "./queueSupport.ts"

const what = "queue 'q' in vhost '/'"

const accepted = "accepted"

const declared = (version: Version, table: FieldTable, exclusive = false): string => {
  const method: QueueDeclare = {
    _tag: "queue.declare",
    queue: "q",
    passive: false,
    durable: true,
    exclusive,
    autoDelete: false,
    noWait: false,
    arguments: table
  }
  return answer(() => checkDeclaration(rulesOf(version), what, method))
}

const answer = (check: () => unknown): string => {
  try {
    check()
    return accepted
  } catch (thrown) {
    return refusal(() => {
      throw thrown
    })
  }
}

const precondition = (text: string): string => `406 PRECONDITION_FAILED - ${text}`

const integers = [
  TypedField.int8(5),
  TypedField.uint8(5),
  TypedField.int16(5),
  TypedField.uint16(5),
  TypedField.int32(5),
  TypedField.uint32(5),
  TypedField.int64(5)
]

const floats = [
  [TypedField.double(5), "double"],
  [TypedField.float(5), "float"],
  [5.5, "double"],
  [TypedField.decimal(0, 5), "decimal"],
  [TypedField.timestamp(5), "timestamp"]
] as const

describe.each(versions)("RabbitMQ %s", (version) => {
  const counted: ReadonlyArray<readonly [type: string, names: ReadonlyArray<string>]> = [
    ["classic", ["x-expires", "x-message-ttl", "x-max-length", "x-max-length-bytes", "x-max-priority"]],
    ["quorum", [
      "x-expires",
      "x-message-ttl",
      "x-max-length",
      "x-max-length-bytes",
      "x-max-in-memory-length",
      "x-max-in-memory-bytes",
      "x-quorum-initial-group-size"
    ]],
    ["stream", ["x-max-length-bytes", "x-stream-max-segment-size-bytes", "x-initial-cluster-size"]]
  ]

  it.each(counted)("accepts only integers, of any width, for the numeric arguments of a %s queue", (type, names) => {
    for (const name of names) {
      for (const value of integers) {
        assert.strictEqual(declared(version, { "x-queue-type": type, [name]: value }), accepted)
      }
      for (const [value, called] of floats) {
        assert.strictEqual(
          declared(version, { "x-queue-type": type, [name]: value }),
          precondition(`invalid arg '${name}' for ${what}: "expected integer, got ${called}"`)
        )
      }
    }
  })

  it("accepts any value as a delivery limit", () => {
    for (const value of [...integers, ...floats.map(([value]) => value), "text", null, -1]) {
      assert.strictEqual(declared(version, { "x-queue-type": "quorum", "x-delivery-limit": value }), accepted)
    }
  })

  it("accepts only integers, of any width, for the priority of a consumer", () => {
    const consumed = (value: FieldTable[string]) =>
      answer(() => checkConsumerArguments(version, "classic", what, { "x-priority": value }))
    for (const value of integers) assert.strictEqual(consumed(value), accepted)
    for (const [value, called] of [...floats, [true, "bool"], ["5", "longstr"], [null, "void"]] as const) {
      assert.strictEqual(
        consumed(value),
        precondition(`invalid arg 'x-priority' for ${what}: "expected integer, got ${called}"`)
      )
    }
  })

  it("compares the arguments of an existing queue by value, where an integer never equals a float", () => {
    const compared = (received: FieldTable, current: FieldTable) =>
      answer(() => assertEqualQueueArguments(rulesOf(version), what, "classic", received, current))
    for (const value of integers) {
      assert.strictEqual(compared({ "x-message-ttl": value }, { "x-message-ttl": 5 }), accepted)
      assert.strictEqual(
        compared({ "x-message-ttl": TypedField.double(5) }, { "x-message-ttl": value }),
        precondition(`inequivalent arg 'x-message-ttl' for ${what}: received '5.0' but current is '5'`)
      )
    }
    assert.strictEqual(
      compared({ "x-message-ttl": TypedField.int64(5) }, {}),
      precondition(
        `inequivalent arg 'x-message-ttl' for ${what}: received the value '5' of type 'long' but current is none`
      )
    )
    assert.strictEqual(compared({ "x-queue-type": "classic" }, {}), accepted)
    assert.strictEqual(compared({}, { "x-queue-type": "classic" }), accepted)
  })
})

it.each([["3.10", accepted], ["4.0", accepted], ["4.3", "541"]] as const)(
  "RabbitMQ %s ignores or refuses x-queue-master-locator of an exclusive queue, whatever its value is",
  (version, reply) => {
    for (const locator of ["random", "bogus", 1]) {
      const found = declared(version, { "x-queue-master-locator": locator }, true)
      assert.strictEqual(found === accepted ? accepted : found.slice(0, 3), reply)
    }
  }
)

/** The outcome of a declaration in each version. */
const differences: ReadonlyArray<readonly [table: FieldTable, answers: Readonly<Record<Version, string>>]> = [
  [{ "x-queue-master-locator": "random" }, { "3.10": accepted, "4.0": accepted, "4.3": "541" }],
  [{ "x-queue-master-locator": "bogus" }, { "3.10": "541", "4.0": accepted, "4.3": "541" }],
  [{ "x-queue-master-locator": 1 }, { "3.10": "541", "4.0": accepted, "4.3": "541" }],
  [{ "x-queue-leader-locator": "balanced" }, { "3.10": "406", "4.0": accepted, "4.3": accepted }],
  [{ "x-queue-leader-locator": "bogus" }, { "3.10": "406", "4.0": "406", "4.3": "406" }],
  [{ "x-queue-mode": "bogus" }, { "3.10": "406", "4.0": "406", "4.3": accepted }],
  [{ "x-queue-version": 1 }, { "3.10": accepted, "4.0": accepted, "4.3": "406" }],
  [{ "x-queue-type": "stream", "x-max-age": "zz" }, { "3.10": "541", "4.0": "541", "4.3": "406" }],
  [{ "x-queue-type": "stream", "x-max-age": "1z" }, { "3.10": "406", "4.0": "406", "4.3": "406" }],
  [{ "x-queue-type": "quorum", "x-consumer-timeout": -1 }, { "3.10": accepted, "4.0": accepted, "4.3": "406" }],
  [{ "x-queue-type": "stream", "x-stream-filter-size-bytes": 5 }, { "3.10": accepted, "4.0": "406", "4.3": "406" }]
]

describe("an argument", () => {
  it.each(differences)("is accepted or refused as in each version: %j", (table, answers) => {
    for (const version of versions) {
      const found = declared(version, table)
      assert.strictEqual(found === accepted ? accepted : found.slice(0, 3), answers[version], version)
    }
  })
})
