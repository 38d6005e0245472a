/**
 * How errors of this package appear in logs: as text for people, and as a flat record for machines.
 *
 * An error holds its reason, which holds a cause, and so on: printed as an object, the relevant part is nested too
 * deeply to be shown. The record therefore has no objects: it has the complete message, the tags, and the fields of the
 * innermost cause.
 */
import { NodeInspectSymbol } from "effect/Inspectable"
import * as Predicate from "effect/Predicate"

type Field = string | number | boolean

/** Common to all errors of this package. */
interface Readable extends Error {
  readonly _tag: string
}

const isReadable = (value: unknown): value is Readable =>
  value instanceof Error && Predicate.hasProperty(value, "_tag") && typeof value._tag === "string"

const isOwn = (error: Error): boolean => Predicate.hasProperty(error, "toJSON") && error.toJSON === methods.toJSON

/** The error that an error wraps. */
const inner = (error: Error): unknown => Predicate.hasProperty(error, "reason") ? error.reason : error.cause

/** The primitive fields of an error, including those of nested objects. */
const fieldsOf = (error: object): Array<readonly [string, Field]> =>
  Object.entries(error).flatMap(([key, value]: [string, unknown]): Array<readonly [string, Field]> => {
    if (key === "_tag" || key === "reason" || key === "cause" || key === "message" || key === "stack") return []
    if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") return [[key, value]]
    if (Array.isArray(value)) {
      return value.every((each) => typeof each === "string") ? [[key, value.join(" ")]] : [[key, value.length]]
    }
    return typeof value === "object" && value !== null ? fieldsOf(value) : []
  })

/** An error as a flat record. */
export const toRecord = (error: Readable): Record<string, Field> => {
  const record: Record<string, Field> = { _tag: error._tag, message: error.message }
  let current: unknown = error
  let last: Error = error
  for (let depth = 0; current instanceof Error && depth < 10; depth++) {
    last = current
    if (depth === 1) record.reason = tagOf(current)
    // Outer fields identify the message or queue, inner ones the cause. The fields of other errors are not known.
    if (isOwn(current)) { for (const [key, value] of fieldsOf(current)) record[key] ??= value }
    current = inner(current)
  }
  if (last !== error) record.cause = tagOf(last)
  if (Predicate.hasProperty(error, "isRetryable") && typeof error.isRetryable === "boolean") {
    record.isRetryable = error.isRetryable
  }
  return record
}

const tagOf = (error: Error): string => isReadable(error) ? error._tag : error.name

const toText = (error: Readable): string => {
  const { message: _message, _tag, ...fields } = toRecord(error)
  const parts = Object.entries(fields).map(([key, value]) => `${key}: ${JSON.stringify(value)}`)
  return `${error.stack ?? `${error.name}: ${error.message}`} { ${parts.join(", ")} }`
}

const methods = {
  toJSON(this: Readable): unknown {
    return toRecord(this)
  },
  [NodeInspectSymbol](this: Readable): unknown {
    return toText(this)
  }
}

/** Makes the errors of a class, and of its subclasses, appear this way. */
export const readable = (errors: { readonly prototype: object }): void => {
  for (const key of ["toJSON", NodeInspectSymbol] as const) {
    Object.defineProperty(errors.prototype, key, { value: methods[key], configurable: true, writable: true })
  }
}
