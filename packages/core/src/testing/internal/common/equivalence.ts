/** What is declared again has to be what it was (RabbitMQ, "Queues: Declaration and Property Equivalence"). */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import { isSame, show, termAt } from "./fieldTerms.ts"
import type { Term } from "./fieldTerms.ts"
import { crash, Refusal } from "./refusal.ts"

/** An exchange or a queue as RabbitMQ's texts name it. */
export type Named = `${"exchange" | "queue"} '${string}' in vhost '${string}'`

export const assertEqual = (
  what: Named,
  argument: string,
  received: string | boolean,
  current: string | boolean
): void => {
  if (received === current) return
  throw new Refusal(
    "preconditionFailed",
    `inequivalent arg '${argument}' for ${what}: received '${received}' but current is '${current}'`
  )
}

/** Compares the arguments of these names. */
export const assertEqualArguments = (
  what: Named,
  names: ReadonlyArray<string>,
  received: ReadonlyMap<string, Term>,
  current: ReadonlyMap<string, Term>
): void => {
  for (const name of names) {
    const one = received.get(name)
    const other = current.get(name)
    if (one === other || (one !== undefined && other !== undefined && isSame(one, other, false))) continue
    // RabbitMQ fails over an argument that has two parts.
    if (one !== undefined && other !== undefined && (one.type === "decimal" || other.type === "decimal")) throw crash()
    const texts = one !== undefined && other !== undefined
      ? [quoted(one), quoted(other)]
      : [described(one), described(other)]
    throw new Refusal(
      "preconditionFailed",
      `inequivalent arg '${name}' for ${what}: received ${texts[0]} but current is ${texts[1]}`
    )
  }
}

/** Checks an argument that names an exchange. */
export const checkExchangeArgument = (what: Named, argument: string, table: FieldTable): void => {
  const term = termAt(table, argument)
  if (term === undefined || term.type === "longstr") return
  throw new Refusal("preconditionFailed", `invalid type '${term.type}' for arg '${argument}' in ${what}`)
}

const quoted = (term: Term): string => term.type === "void" ? "none" : `'${show(term)}'`

const described = (term: Term | undefined): string =>
  term === undefined ? "none" : `the value '${show(term)}' of type '${term.type}'`
