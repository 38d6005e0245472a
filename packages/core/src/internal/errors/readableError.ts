/**
 * How the errors of this package look in logs: as text for people, and as one flat record for machines.
 *
 * An error holds its reason, and that a cause, and so on. Printed as an object, what matters is too deep to be shown. So the record
 * has no objects in it: the message says it all in words, and beside it stand the tags and the fields of the innermost cause.
 */
import { NodeInspectSymbol } from "effect/Inspectable"
import * as Predicate from "effect/Predicate"

type Field = string | number | boolean

/** What errors of this package have in common. */
interface Readable extends Error {
  readonly _tag: string
}

const isReadable = (value: unknown): value is Readable =>
  value instanceof Error && Predicate.hasProperty(value, "_tag") && typeof value._tag === "string"

const isOwn = (error: Error): boolean => Predicate.hasProperty(error, "toJSON") && error.toJSON === methods.toJSON

/** What an error wraps. */
const inner = (error: Error): unknown => Predicate.hasProperty(error, "reason") ? error.reason : error.cause

/** The fields of an error that are no objects, or objects of such fields. */
const fieldsOf = (error: object): Array<readonly [string, Field]> =>
  Object.entries(error).flatMap(([key, value]: [string, unknown]): Array<readonly [string, Field]> => {
    if (key === "_tag" || key === "reason" || key === "cause" || key === "message" || key === "stack") return []
    if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") return [[key, value]]
    if (Array.isArray(value)) {
      return value.every((each) => typeof each === "string") ? [[key, value.join(" ")]] : [[key, value.length]]
    }
    return typeof value === "object" && value !== null ? fieldsOf(value) : []
  })

/** A flat record of an error. */
export const toRecord = (error: Readable): Record<string, Field> => {
  const record: Record<string, Field> = { _tag: error._tag, message: error.message }
  let current: unknown = error
  let last: Error = error
  for (let depth = 0; current instanceof Error && depth < 10; depth++) {
    last = current
    if (depth === 1) record.reason = tagOf(current)
    // The outer fields say which message or queue it is about, and the inner ones why. What other errors hold is not known.
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

/** Has the errors of a class, and of those that extend it, look so. */
export const readable = (errors: { readonly prototype: object }): void => {
  for (const key of ["toJSON", NodeInspectSymbol] as const) {
    Object.defineProperty(errors.prototype, key, { value: methods[key], configurable: true, writable: true })
  }
}
