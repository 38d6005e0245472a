/** Field values as RabbitMQ compares them. */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import { isEmpty, wireEntries } from "./wireValues.ts"
import type { WireValue } from "./wireValues.ts"

/** Whether an integer equals a float of the same value: Erlang's `==` or `=:=`. */
export type NumberComparison = "by value" | "exact"

/** Whether two values are the same. The names of their types only count within arrays and tables. */
export const isSame = (one: WireValue, other: WireValue, numbers: NumberComparison): boolean =>
  JSON.stringify(comparable(one, numbers)) === JSON.stringify(comparable(other, numbers))

/** A text that is the same for equal tables, whatever the order of their entries. */
export const identityOf = (table: FieldTable): string =>
  isEmpty(table) ? "" : wireEntries(table)
    .map(([name, value]) => JSON.stringify([name, typed(value, "exact")]))
    .toSorted()
    .join()

type Comparable = string | boolean | ReadonlyArray<Comparable>

const comparable = (value: WireValue, numbers: NumberComparison): Comparable => {
  switch (value.type) {
    case "longstr":
    case "binary":
      return ["bytes", value.value.join()]
    case "array":
      return ["array", value.value.map((item) => typed(item, numbers))]
    case "table":
      return ["table", value.value.map(([key, item]) => [key, typed(item, numbers)])]
    case "decimal":
      return ["decimal", String(value.scale), String(value.value)]
    case "bool":
      return value.value
    case "void":
      return "undefined"
    case "float":
    case "double": {
      const isInteger = numbers === "by value" && Number.isInteger(value.value)
      return ["number", isInteger ? String(BigInt(value.value)) : `${value.value} (float)`]
    }
    default:
      return ["number", String(value.value)]
  }
}

const typed = (value: WireValue, numbers: NumberComparison): Comparable => [value.type, comparable(value, numbers)]
