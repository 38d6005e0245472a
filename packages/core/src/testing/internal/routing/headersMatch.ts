/** The bindings of headers exchanges: which headers a message must have. */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import { Refusal } from "../common/refusal.ts"
import type { VersionRules } from "../common/versionRules.ts"
import { isSame } from "../common/wireValueComparison.ts"
import { textIn, wireValueAt, wireValues } from "../common/wireValues.ts"
import type { WireValue } from "../common/wireValues.ts"
import { show } from "../common/wireValueTexts.ts"

const modes = ["all", "any", "all-with-x", "any-with-x"] as const

type Mode = typeof modes[number]

/** Throws a `Refusal` if the `x-match` of a binding is unknown. */
export const checkMatch = (table: FieldTable): void => void modeOf(table)

const modeOf = (table: FieldTable): Mode => {
  const value = wireValueAt(table, "x-match")
  if (value === undefined) return "all"
  const text = textIn(value)
  if (text === undefined) {
    throw new Refusal(
      "preconditionFailed",
      `Invalid x-match field type ${value.type} (value ${show(value)}); expected longstr`
    )
  }
  const mode = modes.find((mode) => mode === text)
  if (mode !== undefined) return mode
  throw new Refusal(
    "preconditionFailed",
    `Invalid x-match field value <<"${text}">>; expected all, any, all-with-x, or any-with-x`
  )
}

/** The headers of a message. Their types are determined only if a binding needs them. */
export class Headers {
  private readonly table: FieldTable
  private values: ReadonlyMap<string, WireValue> | undefined

  constructor(table: FieldTable) {
    this.table = table
  }

  get(name: string): WireValue | undefined {
    this.values ??= wireValues(this.table)
    return this.values.get(name)
  }
}

/** Makes a function that returns whether a message with these headers matches a binding with these arguments. */
export const headersMatcher = (table: FieldTable, rules: VersionRules): (headers: Headers) => boolean => {
  const mode = modeOf(table)
  const withX = mode.endsWith("-with-x")
  const wanted = [...wireValues(table)].filter(([name]) => name !== "x-match" && (withX || !name.startsWith("x-")))
  const numbers = rules.comparesHeaderTypes ? "exact" : "by value"
  const hasHeader = (headers: Headers, name: string, wanted: WireValue): boolean => {
    const header = headers.get(name)
    if (header === undefined) return false
    // For a void value it is enough that the header exists.
    return wanted.type === "void" || isSame(wanted, compared(header, rules), numbers)
  }
  return mode.startsWith("all")
    ? (headers) => wanted.every(([name, value]) => hasHeader(headers, name, value))
    : (headers) => wanted.some(([name, value]) => hasHeader(headers, name, value))
}

/** A header as RabbitMQ compares it: since 4.0 a timestamp in a message counts milliseconds, and one in a binding counts seconds. */
const compared = (header: WireValue, { comparesHeaderTypes }: VersionRules): WireValue =>
  comparesHeaderTypes && header.type === "timestamp" ? { type: "timestamp", value: header.value * 1000n } : header
