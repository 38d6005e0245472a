/** Which arguments of `basic.consume` a queue refuses, as RabbitMQ does. What it does not know it ignores. */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import type { Version } from "../../AmqpBroker.ts"
import { isInteger, show, termsOf } from "../common/fieldTerms.ts"
import type { Term } from "../common/fieldTerms.ts"
import { Refusal } from "../common/refusal.ts"
import type { QueueType } from "./queue.ts"

type Check = (term: Term, fail: (problem: string) => never) => void

interface Argument {
  readonly types: ReadonlyArray<QueueType>
  readonly versions: ReadonlyArray<Version>
  readonly check: Check
}

const integer: Check = (term, fail) => {
  if (!isInteger(term)) fail(`: "expected integer, got ${term.type}"`)
}

const known: ReadonlyMap<string, Argument> = new Map<string, Argument>([
  ["x-priority", { types: ["classic", "quorum"], versions: ["3.10", "4.0", "4.3"], check: integer }],
  ["x-cancel-on-ha-failover", {
    types: ["classic"],
    versions: ["3.10"],
    check: (term, fail) => {
      if (term.type !== "bool") fail(`: {unacceptable_type,${term.type}}`)
    }
  }],
  ["x-consumer-timeout", {
    types: ["quorum"],
    versions: ["4.3"],
    check: (term, fail) => {
      integer(term, fail)
      if (isInteger(term) && term.value < 0n) fail(`: {value_negative,${term.value}}`)
    }
  }],
  ["x-stream-offset", { types: ["stream"], versions: ["3.10", "4.0", "4.3"], check: () => {} }]
])

/** Throws a `Refusal`. `resource` is the queue as RabbitMQ's texts have it: `queue 'q' in vhost '/'`. */
export const checkConsumerArguments = (
  version: Version,
  type: QueueType,
  resource: string,
  table: FieldTable
): void => {
  const terms = termsOf(table)
  for (const [name, { check, types, versions }] of known) {
    const term = terms.get(name)
    if (term === undefined || !versions.includes(version)) continue
    if (!types.includes(type)) throw invalid(name, resource, ` of queue type rabbit_${type}_queue`)
    check(term, (problem) => {
      throw invalid(name, resource, problem)
    })
  }
}

/** The whole number of an argument that has been checked. */
export const integerArgument = (table: FieldTable, name: string): number | undefined => {
  const term = table[name] === undefined ? undefined : termsOf(table).get(name)
  return term !== undefined && isInteger(term) ? Number(term.value) : undefined
}

export const invalidStreamOffset = (resource: string, term: Term): Refusal =>
  invalid("x-stream-offset", resource, `: {invalid_stream_offset_arg,{${term.type},<<"${show(term)}">>}}`)

const invalid = (name: string, resource: string, why: string): Refusal =>
  new Refusal("preconditionFailed", `invalid arg '${name}' for ${resource}${why}`)
