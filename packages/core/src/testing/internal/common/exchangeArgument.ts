/** Arguments that name an exchange: `alternate-exchange`, `x-dead-letter-exchange`. */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import { Refusal } from "./refusal.ts"
import type { Resource } from "./resource.ts"
import { wireValueAt } from "./wireValues.ts"

/** Throws a `Refusal` if the argument is not text. */
export const checkExchangeArgument = (resource: Resource, argument: string, table: FieldTable): void => {
  const value = wireValueAt(table, argument)
  if (value === undefined || value.type === "longstr") return
  throw new Refusal("preconditionFailed", `invalid type '${value.type}' for arg '${argument}' in ${resource}`)
}
