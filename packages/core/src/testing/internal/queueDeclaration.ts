/** What RabbitMQ 3.10 checks of a queue's properties and arguments when it is declared. */
import type { FieldTable, FieldValue } from "../../protocol/fieldTable.ts"
import type { QueueDeclare } from "../../protocol/methods.generated.ts"
import { assertEqualArguments, checkExchangeArgument } from "./equivalence.ts"
import type { Named } from "./equivalence.ts"
import { typeName } from "./fields.ts"
import type { QueueType } from "./queue.ts"
import { intervalOf } from "./queueArguments.ts"
import { Refusal } from "./refusal.ts"

/** Ten years: the longest time to live and the longest expiry. */
const maxMilliseconds = 315_360_000_000

/** Of a stream, in bytes. */
const maxSegmentSize = 3_000_000_000

/** Throws with what is wrong about a value, as RabbitMQ puts it. */
type Check = (value: FieldValue, fail: (problem: string) => never, table: FieldTable) => void

const integer = (minimum: number, maximum = Infinity): Check => (value, fail) => {
  if (typeof value !== "bigint" && !Number.isInteger(value)) fail(`"expected integer, got ${typeName(value)}"`)
  const number = Number(value)
  if (number < 0) fail(`{value_negative,${number}}`)
  if (number < minimum) fail(`{value_zero,${number}}`)
  if (number > maximum) fail(`{value_too_large,${number}}`)
}

const boolean: Check = (value, fail) => {
  if (typeof value !== "boolean") fail(`{unacceptable_type,${typeName(value)}}`)
}

const text =
  (check: (value: string, fail: (problem: string) => never, table: FieldTable) => void): Check =>
  (value, fail, table) => {
    if (typeof value !== "string") return fail(`{unacceptable_type,${typeName(value)}}`)
    check(value, fail, table)
  }

const oneOf = (values: ReadonlyArray<string>, problem: (value: string) => string): Check =>
  text((value, fail) => {
    if (!values.includes(value)) fail(problem(value))
  })

const types: ReadonlyArray<QueueType> = ["classic", "quorum", "stream"]

const queueType = oneOf(types, (type) => `"unsupported queue type '${type}'"`)

/** What RabbitMQ checks of arguments, in its order. */
const checks: ReadonlyArray<readonly [name: string, check: Check]> = [
  ["x-expires", integer(1, maxMilliseconds)],
  ["x-message-ttl", integer(0, maxMilliseconds)],
  [
    "x-dead-letter-routing-key",
    text((_, fail, table) => {
      if (table["x-dead-letter-exchange"] === undefined) fail("routing_key_but_no_dlx_defined")
    })
  ],
  ["x-dead-letter-strategy", oneOf(["at-most-once", "at-least-once"], () => "invalid_dlx_strategy")],
  ["x-max-length", integer(0)],
  ["x-max-length-bytes", integer(0)],
  ["x-max-in-memory-length", integer(0)],
  ["x-max-in-memory-bytes", integer(0)],
  ["x-max-priority", (value, fail, table) => {
    integer(0)(value, fail, table)
    if (Number(value) > 255) fail(`{max_value_exceeded,${Number(value)}}`)
  }],
  ["x-overflow", oneOf(["drop-head", "reject-publish", "reject-publish-dlx"], () => "invalid_overflow")],
  ["x-queue-mode", oneOf(["default", "lazy"], (mode) => `"unsupported queue mode '${mode}'"`)],
  ["x-queue-version", (value, fail, table) => {
    integer(0)(value, fail, table)
    if (Number(value) !== 1 && Number(value) !== 2) fail(`"unsupported queue version '${Number(value)}'"`)
  }],
  ["x-single-active-consumer", boolean],
  ["x-quorum-initial-group-size", integer(1)],
  [
    "x-max-age",
    text((value, fail) => {
      const interval = intervalOf(value)
      if (interval === undefined || interval === 0) fail("invalid_max_age")
    })
  ],
  ["x-stream-max-segment-size-bytes", integer(0)],
  ["x-initial-cluster-size", integer(1)],
  // On which node the leader begins; the last two are names of before RabbitMQ 3.10.
  [
    "x-queue-leader-locator",
    oneOf(["client-local", "balanced", "random", "least-leaders"], () => "invalid_queue_locator_arg")
  ]
]

/** The arguments that a type of queue knows, in the order in which RabbitMQ compares those of a queue that is there. */
const argumentsOf: Readonly<Record<QueueType, ReadonlyArray<string>>> = {
  classic: [
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-overflow",
    "x-queue-mode",
    "x-queue-version",
    "x-single-active-consumer",
    "x-queue-type",
    "x-queue-master-locator"
  ],
  quorum: [
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-dead-letter-strategy",
    "x-expires",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-in-memory-length",
    "x-max-in-memory-bytes",
    "x-overflow",
    "x-single-active-consumer",
    "x-queue-type",
    "x-quorum-initial-group-size",
    "x-delivery-limit",
    "x-message-ttl",
    "x-queue-leader-locator"
  ],
  stream: [
    "x-max-length-bytes",
    "x-queue-type",
    "x-max-age",
    "x-stream-max-segment-size-bytes",
    "x-initial-cluster-size",
    "x-queue-leader-locator"
  ]
}

const known: ReadonlySet<string> = new Set(Object.values(argumentsOf).flat())

/** Throws unless the arguments that a queue is declared with again are those that it has. */
export const assertEqualQueueArguments = (
  what: Named,
  type: QueueType,
  received: FieldTable,
  current: FieldTable
): void => assertEqualArguments(what, argumentsOf[type], received, current)

/** Checks that a queue can do without a name of the client's: only a classic one can. */
export const checkServerNamed = (table: FieldTable): void => {
  const type = types.find((type) => type === table["x-queue-type"]) ?? "classic"
  if (type === "classic") return
  throw new Refusal("preconditionFailed", `Cannot declare a server-named queue for type rabbit_${type}_queue`)
}

/** Checks a queue that is not there yet, and answers its type. */
export const checkDeclaration = (
  what: Named,
  { arguments: table, autoDelete, durable, exclusive }: QueueDeclare
): QueueType => {
  checkExchangeArgument(what, "x-dead-letter-exchange", table)
  const type = typeOf(what, table)
  checkArguments(what, type, table)
  if (type === "classic") return type
  const property = autoDelete ? "auto-delete" : exclusive ? "exclusive-owner" : durable ? undefined : "non-durable"
  if (property !== undefined) throw new Refusal("preconditionFailed", `invalid property '${property}' for ${what}`)
  if (Number(table["x-stream-max-segment-size-bytes"] ?? 0) > maxSegmentSize) {
    throw new Refusal("preconditionFailed", "Exceeded max value for x-stream-max-segment-size-bytes")
  }
  return type
}

const typeOf = (what: Named, table: FieldTable): QueueType => {
  const value = table["x-queue-type"]
  if (value === undefined) return "classic"
  queueType(value, failing(what, "x-queue-type"), table)
  return types.find((type) => type === value) ?? "classic"
}

const checkArguments = (what: Named, type: QueueType, table: FieldTable): void => {
  const ofType = argumentsOf[type]
  for (const [name, check] of checks) {
    const value = table[name]
    if (value !== undefined && ofType.includes(name)) check(value, failing(what, name), table)
  }
  // Arguments of another type are refused, and those of none ignored.
  const wrong = Object.keys(table).find((name) => known.has(name) && !ofType.includes(name))
  if (wrong === undefined) return
  throw new Refusal("preconditionFailed", `invalid arg '${wrong}' for ${what} of queue type rabbit_${type}_queue`)
}

const failing = (what: Named, name: string) => (problem: string): never => {
  throw new Refusal("preconditionFailed", `invalid arg '${name}' for ${what}: ${problem}`)
}
