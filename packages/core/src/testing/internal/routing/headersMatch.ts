/** The bindings of headers exchanges: which headers a message needs. */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import { isSame, show, termAt, termsOf, textIn } from "../common/fieldTerms.ts"
import type { Term } from "../common/fieldTerms.ts"
import { Refusal } from "../common/refusal.ts"
import type { Rules } from "../common/rules.ts"

const modes = ["all", "any", "all-with-x", "any-with-x"] as const

type Mode = typeof modes[number]

/** Throws what RabbitMQ says of a binding's `x-match` that it does not know. */
export const checkMatch = (table: FieldTable): void => void modeOf(table)

const modeOf = (table: FieldTable): Mode => {
  const term = termAt(table, "x-match")
  if (term === undefined) return "all"
  const text = textIn(term)
  if (text === undefined) {
    throw new Refusal(
      "preconditionFailed",
      `Invalid x-match field type ${term.type} (value ${show(term)}); expected longstr`
    )
  }
  const mode = modes.find((mode) => mode === text)
  if (mode !== undefined) return mode
  throw new Refusal(
    "preconditionFailed",
    `Invalid x-match field value <<"${text}">>; expected all, any, all-with-x, or any-with-x`
  )
}

/** The headers of a message, whose types are read only if a binding asks. */
export class Headers {
  private readonly table: FieldTable
  private terms: ReadonlyMap<string, Term> | undefined

  constructor(table: FieldTable) {
    this.table = table
  }

  get(name: string): Term | undefined {
    this.terms ??= termsOf(this.table)
    return this.terms.get(name)
  }
}

/** Makes a function that says whether a message with these headers matches a binding with these arguments. */
export const headersMatcher = (table: FieldTable, rules: Rules): (headers: Headers) => boolean => {
  const mode = modeOf(table)
  const withX = mode.endsWith("-with-x")
  const wanted = [...termsOf(table)].filter(([name]) => name !== "x-match" && (withX || !name.startsWith("x-")))
  const isThere = (headers: Headers, name: string, wanted: Term): boolean => {
    const header = headers.get(name)
    if (header === undefined) return false
    // A binding without a value asks for the header alone.
    return wanted.type === "void" || isSame(wanted, compared(header, rules), !rules.comparesHeaderTypes)
  }
  return mode.startsWith("all")
    ? (headers) => wanted.every(([name, term]) => isThere(headers, name, term))
    : (headers) => wanted.some(([name, term]) => isThere(headers, name, term))
}

/** A header as RabbitMQ compares it: since 4.0 a time is a number of milliseconds, which no time in a binding is. */
const compared = (header: Term, { comparesHeaderTypes }: Rules): Term =>
  comparesHeaderTypes && header.type === "timestamp" ? { type: "timestamp", value: header.value * 1000n } : header
