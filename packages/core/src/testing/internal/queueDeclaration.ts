/** What RabbitMQ 3.10 checks of a queue's properties and arguments when it is declared. */
import type { FieldTable, FieldValue } from "../../protocol/fieldTable.ts"
import type { QueueDeclare } from "../../protocol/methods.generated.ts"
import type { Named } from "./equivalence.ts"
import { showField, typeName } from "./fields.ts"
import type { QueueType } from "./queue.ts"
import { intervalOf } from "./queueArguments.ts"
import { Refusal } from "./refusal.ts"

/** Throws with what is wrong about a value, as RabbitMQ puts it. */
type Check = (value: FieldValue, fail: (problem: string) => never) => void

const integer = (minimum: number, maximum = Infinity): Check => (value, fail) => {
  if (typeof value !== "bigint" && !Number.isInteger(value)) fail(`"expected integer, got ${typeName(value)}"`)
  const number = Number(value)
  if (number < 0) fail(`{value_negative,${number}}`)
  if (number < minimum) fail(`{value_zero,${number}}`)
  if (number > maximum) fail(`{value_too_large,${number}}`)
}

const typed = (type: "longstr" | "bool"): Check => (value, fail) => {
  if (typeName(value) !== type) fail(`{unacceptable_type,${typeName(value)}}`)
}

const oneOf = (values: ReadonlyArray<string>, problem: (value: string) => string): Check => (value, fail) => {
  if (typeof value !== "string") return fail(`{unacceptable_type,${typeName(value)}}`)
  if (!values.includes(value)) fail(problem(value))
}

const priority: Check = (value, fail) => {
  integer(0)(value, fail)
  if (Number(value) > 255) fail(`{max_value_exceeded,${Number(value)}}`)
}

/** On which node the leader begins; the last two are names of before RabbitMQ 3.10. */
const leaderLocator = oneOf(
  ["client-local", "balanced", "random", "least-leaders"],
  () => "invalid_queue_locator_arg"
)

/** The longest time that Erlang's timers know, in milliseconds. */
const maxTime = 0xffffffff

const messageQueue = {
  "x-expires": integer(1, maxTime),
  "x-message-ttl": integer(0, maxTime),
  // The dead-letter exchange has a text of its own, see below.
  "x-dead-letter-exchange": () => {},
  "x-dead-letter-routing-key": typed("longstr"),
  "x-max-length": integer(0),
  "x-max-length-bytes": integer(0),
  "x-overflow": oneOf(["drop-head", "reject-publish", "reject-publish-dlx"], () => "invalid_overflow"),
  "x-single-active-consumer": typed("bool")
} satisfies Record<string, Check>

/** The arguments that a type of queue knows, and their checks. Those of another type are refused, and unknown ones ignored. */
const argumentsOf: Readonly<Record<QueueType, Readonly<Record<string, Check>>>> = {
  classic: {
    ...messageQueue,
    "x-max-priority": priority,
    "x-queue-mode": oneOf(["default", "lazy"], (mode) => `"unsupported queue mode '${mode}'"`),
    "x-queue-version": (value, fail) => {
      if (value !== 1 && value !== 2) fail(`"unsupported queue version '${showField(value)}'"`)
    },
    "x-queue-master-locator": () => {}
  },
  quorum: {
    ...messageQueue,
    "x-delivery-limit": () => {},
    "x-dead-letter-strategy": oneOf(["at-most-once", "at-least-once"], () => "invalid_dlx_strategy"),
    "x-quorum-initial-group-size": integer(1),
    "x-queue-leader-locator": leaderLocator,
    "x-max-in-memory-length": integer(0),
    "x-max-in-memory-bytes": integer(0)
  },
  stream: {
    "x-max-length-bytes": integer(0),
    "x-max-age": (value, fail) => {
      typed("longstr")(value, fail)
      if (typeof value === "string" && intervalOf(value) === undefined) fail("invalid_max_age")
    },
    "x-stream-max-segment-size-bytes": integer(0),
    "x-initial-cluster-size": integer(1),
    "x-queue-leader-locator": leaderLocator
  }
}

const known: ReadonlySet<string> = new Set(Object.values(argumentsOf).flatMap((checks) => Object.keys(checks)))

/** The arguments by which a declared queue must be the one that there is, in the order in which RabbitMQ compares them. */
export const comparedArguments: ReadonlyArray<string> = [...known, "x-queue-type"]

const types: ReadonlyArray<QueueType> = ["classic", "quorum", "stream"]

/** The type that the arguments ask for. */
export const queueTypeOf = (what: Named, table: FieldTable): QueueType => {
  const value = table["x-queue-type"]
  if (value === undefined) return "classic"
  const fail = failing(what, "x-queue-type")
  if (typeof value !== "string") return fail(`{unacceptable_type,${typeName(value)}}`)
  return types.find((type) => type === value) ?? fail(`"unsupported queue type '${value}'"`)
}

/** Checks a queue that is not there yet. */
export const checkDeclaration = (what: Named, type: QueueType, method: QueueDeclare): void => {
  const table = method.arguments
  const checks = argumentsOf[type]
  for (const [name, value] of Object.entries(table)) {
    if (value === undefined || !known.has(name)) continue
    if (!Object.hasOwn(checks, name)) {
      throw new Refusal("preconditionFailed", `invalid arg '${name}' for ${what} of queue type rabbit_${type}_queue`)
    }
    if (name === "x-dead-letter-exchange" && typeof value !== "string") {
      const where = what.replace("queue", "in queue")
      throw new Refusal("preconditionFailed", `invalid type '${typeName(value)}' for arg '${name}' ${where}`)
    }
    checks[name](value, failing(what, name))
  }
  if (table["x-dead-letter-routing-key"] !== undefined && table["x-dead-letter-exchange"] === undefined) {
    failing(what, "x-dead-letter-routing-key")("routing_key_but_no_dlx_defined")
  }
  if (type === "classic") return
  const { autoDelete, durable, exclusive } = method
  const property = !durable ? "non-durable" : exclusive ? "exclusive-owner" : autoDelete ? "auto-delete" : undefined
  if (property !== undefined) throw new Refusal("preconditionFailed", `invalid property '${property}' for ${what}`)
}

const failing = (what: Named, name: string) => (problem: string): never => {
  throw new Refusal("preconditionFailed", `invalid arg '${name}' for ${what}: ${problem}`)
}
