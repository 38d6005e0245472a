/** Simpler versions of an operation: without one of its arguments, properties or headers. */
import type { Operation } from "./operations.ts"

/** The record without one of its entries, or with a simpler one. */
const simplerRecords = <Values extends object>(record: Values): ReadonlyArray<Values> =>
  Object.entries(record).flatMap(([key, value]: [string, unknown]) => {
    const others = Object.fromEntries(Object.entries(record).filter(([other]) => other !== key))
    // Every entry is optional in the types of operations.
    const without = others as Values
    // The changed entry has the same type.
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
  // A typed value and bytes are not reduced.
  if (typeof value !== "object" || value === null || "type" in value || "bytes" in value) return []
  return simplerRecords(value)
}

/** Slightly simpler versions of an operation. */
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
