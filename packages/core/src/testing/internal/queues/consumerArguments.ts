/** The arguments of `basic.consume` that RabbitMQ checks. It ignores unknown ones. */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import type { Version } from "../../AmqpBroker.ts"
import { Refusal } from "../common/refusal.ts"
import type { Resource } from "../common/resource.ts"
import { wireValues } from "../common/wireValues.ts"
import type { WireValue } from "../common/wireValues.ts"
import { show } from "../common/wireValueTexts.ts"
import { boolean, integer } from "./argumentChecks.ts"
import type { Check } from "./argumentChecks.ts"
import type { QueueType } from "./queue.ts"

interface Argument {
  readonly types: ReadonlyArray<QueueType>
  readonly versions: ReadonlyArray<Version>
  readonly check: Check
}

const known: ReadonlyMap<string, Argument> = new Map<string, Argument>([
  ["x-priority", { types: ["classic", "quorum"], versions: ["3.10", "4.0", "4.3"], check: integer() }],
  ["x-cancel-on-ha-failover", { types: ["classic"], versions: ["3.10"], check: boolean }],
  ["x-consumer-timeout", { types: ["quorum"], versions: ["4.3"], check: integer(0) }],
  ["x-stream-offset", { types: ["stream"], versions: ["3.10", "4.0", "4.3"], check: () => {} }]
])

/** Throws a `Refusal` for an argument that this type of queue does not have, and for a wrong value. */
export const checkConsumerArguments = (
  version: Version,
  type: QueueType,
  queue: Resource,
  table: FieldTable
): void => {
  const values = wireValues(table)
  for (const [name, { check, types, versions }] of known) {
    const value = values.get(name)
    if (value === undefined || !versions.includes(version)) continue
    if (!types.includes(type)) throw invalid(name, queue, ` of queue type rabbit_${type}_queue`)
    check(value, (problem) => {
      throw invalid(name, queue, `: ${problem}`)
    }, values)
  }
}

export const invalidStreamOffset = (queue: Resource, offset: WireValue): Refusal =>
  invalid("x-stream-offset", queue, `: {invalid_stream_offset_arg,{${offset.type},<<"${show(offset)}">>}}`)

const invalid = (name: string, queue: Resource, why: string): Refusal =>
  new Refusal("preconditionFailed", `invalid arg '${name}' for ${queue}${why}`)
