/** What is declared again must have the same properties and arguments (RabbitMQ, "Declaration and Property Equivalence"). */
import { crash, Refusal } from "./refusal.ts"
import type { Resource } from "./resource.ts"
import { isSame } from "./wireValueComparison.ts"
import type { WireValue } from "./wireValues.ts"
import { show } from "./wireValueTexts.ts"

/** Throws a `Refusal` if a property differs. */
export const assertEqual = (
  resource: Resource,
  property: string,
  received: string | boolean,
  current: string | boolean
): void => {
  if (received === current) return
  throw new Refusal(
    "preconditionFailed",
    `inequivalent arg '${property}' for ${resource}: received '${received}' but current is '${current}'`
  )
}

/** Throws a `Refusal` if one of the named arguments differs. */
export const assertEqualArguments = (
  resource: Resource,
  names: ReadonlyArray<string>,
  received: ReadonlyMap<string, WireValue>,
  current: ReadonlyMap<string, WireValue>
): void => {
  for (const name of names) {
    const one = received.get(name)
    const other = current.get(name)
    if (one === other || (one !== undefined && other !== undefined && isSame(one, other, "exact"))) continue
    // RabbitMQ crashes on a decimal, which consists of two numbers.
    if (one !== undefined && other !== undefined && (one.type === "decimal" || other.type === "decimal")) throw crash()
    const texts = one !== undefined && other !== undefined
      ? [quoted(one), quoted(other)]
      : [described(one), described(other)]
    throw new Refusal(
      "preconditionFailed",
      `inequivalent arg '${name}' for ${resource}: received ${texts[0]} but current is ${texts[1]}`
    )
  }
}

const quoted = (value: WireValue): string => value.type === "void" ? "none" : `'${show(value)}'`

const described = (value: WireValue | undefined): string =>
  value === undefined ? "none" : `the value '${show(value)}' of type '${value.type}'`
