/** What RabbitMQ checks of a queue's properties and arguments when it is declared. */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import type { QueueDeclare } from "../../../protocol/methods.generated.ts"
import type { Version } from "../../AmqpBroker.ts"
import { assertEqualArguments, checkExchangeArgument } from "../common/equivalence.ts"
import type { Named } from "../common/equivalence.ts"
import { isInteger, termsOf, textIn } from "../common/fieldTerms.ts"
import type { Term } from "../common/fieldTerms.ts"
import { crash, Refusal } from "../common/refusal.ts"
import type { Rules } from "../common/rules.ts"
import type { QueueType } from "./queue.ts"
import { intervalOf } from "./queueArguments.ts"

/** Ten years: the longest time to live and the longest expiry. */
const maxMilliseconds = 315_360_000_000

/** Of a stream, in bytes. */
const maxSegmentSize = 3_000_000_000

/** Throws with what is wrong about a value, as RabbitMQ puts it. */
type Check = (term: Term, fail: (problem: string) => never, terms: ReadonlyMap<string, Term>) => void

const integer = (minimum: number, maximum = Infinity): Check => (term, fail) => {
  if (!isInteger(term)) return fail(`"expected integer, got ${term.type}"`)
  const { value } = term
  if (value < 0) fail(`{value_negative,${value}}`)
  if (value < minimum) fail(`{value_zero,${value}}`)
  if (value > maximum) fail(`{value_too_large,${value}}`)
}

const boolean: Check = (term, fail) => {
  if (term.type !== "bool") fail(`{unacceptable_type,${term.type}}`)
}

const text =
  (check: (value: string, fail: (problem: string) => never, terms: ReadonlyMap<string, Term>) => void): Check =>
  (term, fail, terms) => {
    if (term.type !== "longstr") return fail(`{unacceptable_type,${term.type}}`)
    check(textIn(term) ?? "", fail, terms)
  }

const oneOf = (values: ReadonlyArray<string>, problem: (value: string) => string): Check =>
  text((value, fail) => {
    if (!values.includes(value)) fail(problem(value))
  })

/** A whole number that is one of these. */
const oneNumberOf =
  (numbers: ReadonlyArray<bigint>, problem: (value: bigint) => string): Check => (term, fail, terms) => {
    integer(0)(term, fail, terms)
    if (isInteger(term) && !numbers.includes(term.value)) fail(problem(term.value))
  }

const types: ReadonlyArray<QueueType> = ["classic", "quorum", "stream"]

const queueType = oneOf(types, (type) => `"unsupported queue type '${type}'"`)

const unsupportedVersion = (version: bigint): string => `"unsupported queue version '${version}'"`

/** What RabbitMQ checks of arguments, in its order, and since when or until when. */
const checks: ReadonlyArray<readonly [name: string, check: Check, versions?: ReadonlyArray<Version>]> = [
  ["x-expires", integer(1, maxMilliseconds)],
  ["x-message-ttl", integer(0, maxMilliseconds)],
  [
    "x-dead-letter-routing-key",
    text((_, fail, terms) => {
      if (!terms.has("x-dead-letter-exchange")) fail("routing_key_but_no_dlx_defined")
    })
  ],
  ["x-dead-letter-strategy", oneOf(["at-most-once", "at-least-once"], () => "invalid_dlx_strategy")],
  ["x-max-length", integer(0)],
  ["x-max-length-bytes", integer(0)],
  ["x-max-in-memory-length", integer(0)],
  ["x-max-in-memory-bytes", integer(0)],
  ["x-max-priority", (term, fail, terms) => {
    integer(0)(term, fail, terms)
    if (isInteger(term) && term.value > 255) fail(`{max_value_exceeded,${term.value}}`)
  }],
  ["x-overflow", oneOf(["drop-head", "reject-publish", "reject-publish-dlx"], () => "invalid_overflow")],
  ["x-queue-mode", oneOf(["default", "lazy"], (mode) => `"unsupported queue mode '${mode}'"`), ["3.10", "4.0"]],
  ["x-queue-version", oneNumberOf([1n, 2n], unsupportedVersion), ["3.10", "4.0"]],
  ["x-queue-version", oneNumberOf([2n], unsupportedVersion), ["4.3"]],
  ["x-single-active-consumer", boolean],
  ["x-consumer-timeout", integer(0)],
  ["x-consumer-disconnected-timeout", integer(0)],
  ["x-quorum-initial-group-size", integer(1)],
  [
    "x-max-age",
    text((value, fail) => {
      if (!/^\d/.test(value)) throw crash()
      const interval = intervalOf(value)
      if (interval === undefined || interval === 0) fail("invalid_max_age")
    }),
    ["3.10", "4.0"]
  ],
  [
    "x-max-age",
    text((value, fail) => {
      const interval = intervalOf(value)
      if (interval === undefined || interval === 0) fail("invalid_max_age")
    }),
    ["4.3"]
  ],
  ["x-stream-max-segment-size-bytes", integer(0)],
  ["x-stream-filter-size-bytes", integer(0)],
  ["x-initial-cluster-size", integer(1)],
  // On which node the leader begins; those after the first two are names of older versions.
  [
    "x-queue-leader-locator",
    oneOf(["client-local", "balanced", "random", "least-leaders"], () => "invalid_queue_locator_arg"),
    ["3.10"]
  ],
  [
    "x-queue-leader-locator",
    oneOf(
      ["client-local", "balanced", "random", "least-leaders", "min-masters"],
      () => "invalid_queue_locator_arg"
    ),
    ["4.0", "4.3"]
  ]
]

type ArgumentNames = Readonly<Record<QueueType, ReadonlyArray<string>>>

const arguments310: ArgumentNames = {
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

const arguments40: ArgumentNames = {
  ...arguments310,
  classic: [...arguments310.classic, "x-queue-leader-locator"]
}

const arguments43: ArgumentNames = {
  classic: arguments40.classic,
  quorum: [
    ...arguments40.quorum,
    "x-consumer-disconnected-timeout",
    "x-consumer-timeout",
    "x-delayed-retry-type",
    "x-delayed-retry-min",
    "x-delayed-retry-max"
  ],
  stream: [...arguments40.stream, "x-stream-filter-size-bytes"]
}

/** The arguments that a type of queue knows, in the order in which RabbitMQ compares those of a queue that is there. */
const argumentsOf: Readonly<Record<Version, ArgumentNames>> = {
  "3.10": arguments310,
  "4.0": arguments40,
  "4.3": arguments43
}

/** Throws unless the arguments that a queue is declared with again are those that it has. */
export const assertEqualQueueArguments = (
  { queueArguments: version }: Rules,
  what: Named,
  type: QueueType,
  received: FieldTable,
  current: FieldTable
): void => {
  if (hasSameTexts(received, current)) return
  const given = { received: termsOf(received), current: termsOf(current) }
  const isClassic = [received, current].every(({ "x-queue-type": type }) => type === undefined || type === "classic")
  // What is declared without a type is a classic queue. RabbitMQ 4.x notes that among the arguments.
  const withType = (terms: ReadonlyMap<string, Term>): ReadonlyMap<string, Term> =>
    isClassic || (version !== "3.10" && !terms.has("x-queue-type")) ? new Map([...terms, classicType]) : terms
  assertEqualArguments(what, argumentsOf[version][type], withType(given.received), withType(given.current))
}

/** Whether there are only texts, and the same ones: for them no types have to be found out. */
const hasSameTexts = (one: FieldTable, other: FieldTable): boolean => {
  const names = Object.keys(one)
  return names.length === Object.keys(other).length &&
    names.every((name) => typeof one[name] === "string" && one[name] === other[name])
}

const classicType = ["x-queue-type", { type: "longstr", value: new TextEncoder().encode("classic") }] as const

/** Checks that a queue can do without a name of the client's: only a classic one can. */
export const checkServerNamed = (table: FieldTable): void => {
  const type = types.find((type) => type === table["x-queue-type"]) ?? "classic"
  if (type === "classic") return
  throw new Refusal("preconditionFailed", `Cannot declare a server-named queue for type rabbit_${type}_queue`)
}

/** Checks a queue that is not there yet, and answers its type. */
export const checkDeclaration = (
  { queueArguments: version }: Rules,
  what: Named,
  { arguments: table, autoDelete, durable, exclusive }: QueueDeclare
): QueueType => {
  checkExchangeArgument(what, "x-dead-letter-exchange", table)
  const terms = termsOf(table)
  const type = typeOf(what, terms)
  checkArguments(version, what, type, terms)
  if (type === "classic") {
    checkMasterLocator(version, terms.get("x-queue-master-locator"))
    return type
  }
  const property = autoDelete ? "auto-delete" : exclusive ? "exclusive-owner" : durable ? undefined : "non-durable"
  if (property !== undefined) throw new Refusal("preconditionFailed", `invalid property '${property}' for ${what}`)
  const segmentSize = terms.get("x-stream-max-segment-size-bytes")
  if (segmentSize !== undefined && isInteger(segmentSize) && segmentSize.value > maxSegmentSize) {
    throw new Refusal("preconditionFailed", "Exceeded max value for x-stream-max-segment-size-bytes")
  }
  const filterSize = version === "3.10" ? undefined : terms.get("x-stream-filter-size-bytes")
  if (type === "stream" && filterSize !== undefined) {
    const isInRange = isInteger(filterSize) && filterSize.value >= 16 && filterSize.value <= 255
    const text = version === "4.0" ? "Invalid value for  " : "Invalid value for "
    if (!isInRange) throw new Refusal("preconditionFailed", `${text}x-stream-filter-size-bytes`)
  }
  return type
}

const typeOf = (what: Named, terms: ReadonlyMap<string, Term>): QueueType => {
  const term = terms.get("x-queue-type")
  if (term === undefined) return "classic"
  queueType(term, failing(what, "x-queue-type"), terms)
  return types.find((type) => type === textIn(term)) ?? "classic"
}

const checkArguments = (
  version: Version,
  what: Named,
  type: QueueType,
  terms: ReadonlyMap<string, Term>
): void => {
  const names = argumentsOf[version]
  const ofType = names[type]
  for (const [name, check, versions = [version]] of checks) {
    const term = terms.get(name)
    if (term === undefined || !ofType.includes(name) || !versions.includes(version)) continue
    check(term, failing(what, name), terms)
  }
  // Arguments of another type are refused, and those of none ignored.
  const wrong = [...terms.keys()].find((name) =>
    !ofType.includes(name) && types.some((other) => names[other].includes(name))
  )
  if (wrong === undefined) return
  throw new Refusal("preconditionFailed", `invalid arg '${wrong}' for ${what} of queue type rabbit_${type}_queue`)
}

/** Where the queue's node is chosen in a cluster: RabbitMQ 3.10 fails over what it does not know, and 4.3 over all. */
const checkMasterLocator = (version: Version, term: Term | undefined): void => {
  if (term === undefined || version === "4.0") return
  if (version === "4.3") {
    throw new Refusal(
      "internalError",
      "Feature `queue_master_locator` is deprecated.\n" +
        "By default, this feature is not permitted anymore.\n" +
        "The feature will be removed from a future major RabbitMQ version, regardless of the configuration; " +
        "actual version to be determined.\nTo continue using this feature"
    )
  }
  if (!["client-local", "min-masters", "random"].includes(textIn(term) ?? "")) throw crash()
}

const failing = (what: Named, name: string) => (problem: string): never => {
  throw new Refusal("preconditionFailed", `invalid arg '${name}' for ${what}: ${problem}`)
}
