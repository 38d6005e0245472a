/** Which arguments of `basic.consume` a queue refuses, as RabbitMQ 3.10 does. What it does not know it ignores. */
import { TypedField } from "../../protocol/fieldTable.ts"
import type { FieldTable, FieldValue } from "../../protocol/fieldTable.ts"
import type { QueueType } from "./queue.ts"
import { Refusal } from "./refusal.ts"

const known: ReadonlyMap<string, ReadonlySet<QueueType>> = new Map([
  ["x-priority", new Set<QueueType>(["classic", "quorum"])],
  ["x-cancel-on-ha-failover", new Set<QueueType>(["classic"])],
  ["x-stream-offset", new Set<QueueType>(["stream"])]
])

/** Throws a `Refusal`. `resource` is the queue as RabbitMQ's texts have it: `queue 'q' in vhost '/'`. */
export const checkConsumerArguments = (type: QueueType, resource: string, table: FieldTable): void => {
  for (const [key, types] of known) {
    const value = table[key]
    if (value === undefined) continue
    if (!types.has(type)) throw invalid(key, resource, ` of queue type rabbit_${type}_queue`)
    const field = fieldName(value)
    if (key === "x-priority" && !integers.has(field)) {
      throw invalid(key, resource, `: "expected integer, got ${field}"`)
    }
    if (key === "x-cancel-on-ha-failover" && field !== "bool") {
      throw invalid(key, resource, `: {unacceptable_type,${field}}`)
    }
  }
}

export const invalidStreamOffset = (resource: string, value: FieldValue): Refusal => {
  const text = typeof value === "string" ? `<<"${value}">>` : typeof value === "object" ? "_" : String(value)
  return invalid("x-stream-offset", resource, `: {invalid_stream_offset_arg,{${fieldName(value)},${text}}}`)
}

const invalid = (key: string, resource: string, why: string): Refusal =>
  new Refusal("preconditionFailed", `invalid arg '${key}' for ${resource}${why}`)

const integers: ReadonlySet<string> = new Set(["byte", "short", "signedint", "long"])

/** RabbitMQ's name of the field type that a value has on the wire. */
const fieldName = (value: FieldValue): string => {
  if (value === null) return "void"
  if (typeof value === "string") return "longstr"
  if (typeof value === "boolean") return "bool"
  if (typeof value === "bigint") return "long"
  if (typeof value === "number") return numberName(value)
  if (value instanceof Uint8Array) return "binary"
  if (value instanceof Date) return "timestamp"
  if (value instanceof TypedField) return value.type
  return Array.isArray(value) ? "array" : "table"
}

const numberName = (value: number): string => {
  if (!Number.isInteger(value)) return "double"
  if (value >= -128 && value <= 127) return "byte"
  if (value >= -32768 && value <= 32767) return "short"
  return value >= -2147483648 && value <= 2147483647 ? "signedint" : "long"
}
