/** RabbitMQ's checks of the properties and arguments that a queue is declared with. */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import type { QueueDeclare } from "../../../protocol/methods.generated.ts"
import type { Version } from "../../AmqpBroker.ts"
import { assertEqualArguments } from "../common/declarationEquivalence.ts"
import { checkExchangeArgument } from "../common/exchangeArgument.ts"
import { crash, Refusal } from "../common/refusal.ts"
import type { Resource } from "../common/resource.ts"
import type { VersionRules } from "../common/versionRules.ts"
import { isInteger, textIn, wireValues } from "../common/wireValues.ts"
import type { WireValue } from "../common/wireValues.ts"
import { oneOf } from "./argumentChecks.ts"
import type { Fail } from "./argumentChecks.ts"
import { checksOf, knownArguments } from "./knownQueueArguments.ts"
import type { QueueType } from "./queue.ts"

/** The maximum size of a stream's segments, in bytes. */
const maxSegmentSize = 3_000_000_000

const types: ReadonlyArray<QueueType> = ["classic", "quorum", "stream"]

const checkQueueType = oneOf(types, (type) => `"unsupported queue type '${type}'"`)

// -----------------------------------------------------------------------------
// a queue that exists
// -----------------------------------------------------------------------------

/** Throws a `Refusal` unless the arguments are those that the queue was declared with. */
export const assertEqualQueueArguments = (
  { version }: VersionRules,
  queue: Resource,
  type: QueueType,
  received: FieldTable,
  current: FieldTable
): void => {
  if (hasSameTexts(received, current)) return
  const isClassic = [received, current].every(({ "x-queue-type": type }) => type === undefined || type === "classic")
  // A queue that is declared without a type is a classic queue. RabbitMQ 4.x adds the type to the arguments.
  const withType = (values: ReadonlyMap<string, WireValue>): ReadonlyMap<string, WireValue> =>
    isClassic || (version !== "3.10" && !values.has("x-queue-type")) ? new Map([...values, classicType]) : values
  assertEqualArguments(
    queue,
    knownArguments(version, type),
    withType(wireValues(received)),
    withType(wireValues(current))
  )
}

/** Whether both tables hold the same text values and nothing else, so that the types need not be determined. */
const hasSameTexts = (one: FieldTable, other: FieldTable): boolean => {
  const names = Object.keys(one)
  return names.length === Object.keys(other).length &&
    names.every((name) => typeof one[name] === "string" && one[name] === other[name])
}

const classicType = ["x-queue-type", { type: "longstr", value: new TextEncoder().encode("classic") }] as const

// -----------------------------------------------------------------------------
// a new queue
// -----------------------------------------------------------------------------

/** Throws a `Refusal` if the broker can't name a queue of this type: only classic queues. */
export const checkServerNamed = (table: FieldTable): void => {
  const type = types.find((type) => type === table["x-queue-type"]) ?? "classic"
  if (type === "classic") return
  throw new Refusal("preconditionFailed", `Cannot declare a server-named queue for type rabbit_${type}_queue`)
}

/** Checks the declaration of a new queue, and returns its type. */
export const checkDeclaration = (
  { version }: VersionRules,
  queue: Resource,
  { arguments: table, autoDelete, durable, exclusive }: QueueDeclare
): QueueType => {
  checkExchangeArgument(queue, "x-dead-letter-exchange", table)
  const values = wireValues(table)
  const type = typeOf(queue, values)
  checkArguments(version, queue, type, values)
  if (type === "classic") {
    checkMasterLocator(version, values.get("x-queue-master-locator"), exclusive)
    return type
  }
  const property = autoDelete ? "auto-delete" : exclusive ? "exclusive-owner" : durable ? undefined : "non-durable"
  if (property !== undefined) throw new Refusal("preconditionFailed", `invalid property '${property}' for ${queue}`)
  checkSegmentSize(values.get("x-stream-max-segment-size-bytes"))
  if (type === "stream") checkFilterSize(version, values.get("x-stream-filter-size-bytes"))
  return type
}

const typeOf = (queue: Resource, values: ReadonlyMap<string, WireValue>): QueueType => {
  const value = values.get("x-queue-type")
  if (value === undefined) return "classic"
  checkQueueType(value, failing(queue, "x-queue-type"), values)
  return types.find((type) => type === textIn(value)) ?? "classic"
}

const checkArguments = (
  version: Version,
  queue: Resource,
  type: QueueType,
  values: ReadonlyMap<string, WireValue>
): void => {
  for (const [name, check] of checksOf(version, type)) {
    const value = values.get(name)
    if (value !== undefined) check(value, failing(queue, name), values)
  }
  // Arguments of other types are refused, and unknown ones ignored.
  const known = knownArguments(version, type)
  const wrong = [...values.keys()].find((name) =>
    !known.includes(name) && types.some((other) => knownArguments(version, other).includes(name))
  )
  if (wrong === undefined) return
  throw new Refusal("preconditionFailed", `invalid arg '${wrong}' for ${queue} of queue type rabbit_${type}_queue`)
}

/**
 * Which node of a cluster hosts the queue. RabbitMQ 3.10 crashes on unknown locators, unless the queue is exclusive and so on the node of its
 * connection; 4.3 refuses the argument.
 */
const checkMasterLocator = (version: Version, value: WireValue | undefined, exclusive: boolean): void => {
  if (value === undefined || version === "4.0") return
  if (version === "4.3") {
    throw new Refusal(
      "internalError",
      "Feature `queue_master_locator` is deprecated.\n" +
        "By default, this feature is not permitted anymore.\n" +
        "The feature will be removed from a future major RabbitMQ version, regardless of the configuration; " +
        "actual version to be determined.\nTo continue using this feature"
    )
  }
  if (!exclusive && !["client-local", "min-masters", "random"].includes(textIn(value) ?? "")) throw crash()
}

const checkSegmentSize = (size: WireValue | undefined): void => {
  if (size === undefined || !isInteger(size) || size.value <= maxSegmentSize) return
  throw new Refusal("preconditionFailed", "Exceeded max value for x-stream-max-segment-size-bytes")
}

const checkFilterSize = (version: Version, size: WireValue | undefined): void => {
  if (size === undefined || version === "3.10") return
  if (isInteger(size) && size.value >= 16 && size.value <= 255) return
  const text = version === "4.0" ? "Invalid value for  " : "Invalid value for "
  throw new Refusal("preconditionFailed", `${text}x-stream-filter-size-bytes`)
}

const failing = (queue: Resource, name: string): Fail => (problem) => {
  throw new Refusal("preconditionFailed", `invalid arg '${name}' for ${queue}: ${problem}`)
}
