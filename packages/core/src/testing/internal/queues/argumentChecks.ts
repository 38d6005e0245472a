/** Checks of the values of arguments. They fail with RabbitMQ's descriptions of what is wrong. */
import { isInteger, textIn } from "../common/wireValues.ts"
import type { WireValue } from "../common/wireValues.ts"

/** Reports a problem by throwing a `Refusal`. */
export type Fail = (problem: string) => never

export type Check = (value: WireValue, fail: Fail, all: ReadonlyMap<string, WireValue>) => void

export const integer = (minimum = -Infinity, maximum = Infinity): Check => (value, fail) => {
  if (!isInteger(value)) return fail(`"expected integer, got ${value.type}"`)
  const number = value.value
  if (number < 0 && minimum >= 0) fail(`{value_negative,${number}}`)
  if (number < minimum) fail(`{value_zero,${number}}`)
  if (number > maximum) fail(`{value_too_large,${number}}`)
}

/** An integer that is one of these. */
export const integerOneOf = (numbers: ReadonlyArray<bigint>, problem: (number: bigint) => string): Check => {
  const isNotNegative = integer(0)
  return (value, fail, all) => {
    isNotNegative(value, fail, all)
    if (isInteger(value) && !numbers.includes(value.value)) fail(problem(value.value))
  }
}

export const boolean: Check = (value, fail) => {
  if (value.type !== "bool") fail(`{unacceptable_type,${value.type}}`)
}

export const text =
  (check: (text: string, fail: Fail, all: ReadonlyMap<string, WireValue>) => void): Check => (value, fail, all) => {
    if (value.type !== "longstr") return fail(`{unacceptable_type,${value.type}}`)
    check(textIn(value) ?? "", fail, all)
  }

/** Text that is one of these. */
export const oneOf = (texts: ReadonlyArray<string>, problem: (text: string) => string): Check =>
  text((given, fail) => {
    if (!texts.includes(given)) fail(problem(given))
  })
