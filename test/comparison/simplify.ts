/** Simpler forms of an operation: without one of its arguments, properties or headers. */
import type { Operation } from "./operations.ts"

/** Every record that lacks one of the entries, or has one of them simpler. */
const simplerRecords = <Values extends object>(record: Values): ReadonlyArray<Values> =>
  Object.entries(record).flatMap(([key, value]: [string, unknown]) => {
    const others = Object.fromEntries(Object.entries(record).filter(([other]) => other !== key))
    // What an operation may lack is optional in its type.
    const without = others as Values
    // With one entry changed to another of its kind.
    const changed = simplerValues(value).map((simpler) => ({ ...record, [key]: simpler }))
    return [without, ...changed]
  })

const simplerValues = (value: unknown): ReadonlyArray<unknown> => {
  if (Array.isArray(value)) {
    const list: ReadonlyArray<unknown> = value
    return list.flatMap((item, index) => [
      list.filter((_, other) => other !== index),
      ...simplerValues(item).map((simpler) => list.with(index, simpler))
    ])
  }
  // A value with its type, and bytes, are no records that lose an entry.
  if (typeof value !== "object" || value === null || "type" in value || "bytes" in value) return []
  return simplerRecords(value)
}

/** The operations that are a little simpler than this one. */
export const simplerOperations = (operation: Operation): ReadonlyArray<Operation> => {
  switch (operation._tag) {
    case "Request":
      return simplerRecords(operation.arguments).map((values) => ({ ...operation, arguments: values }))
    case "Publish":
      return [
        ...(operation.mandatory ? [{ ...operation, mandatory: false }] : []),
        ...simplerRecords(operation.properties).map((properties) => ({ ...operation, properties }))
      ]
    case "Settle":
      return [
        ...(operation.multiple && operation.target !== "all" ? [{ ...operation, multiple: false }] : []),
        ...(operation.method === "basic.nack" ? [{ ...operation, method: "basic.reject" as const }] : [])
      ]
    default:
      return []
  }
}
