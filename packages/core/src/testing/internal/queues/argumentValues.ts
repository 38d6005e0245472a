/** Reads arguments whose types were checked when the queue or the consumer was declared. */
import { TypedField } from "../../../protocol/fieldTable.ts"
import type { FieldTable } from "../../../protocol/fieldTable.ts"

export const integerOf = (table: FieldTable, key: string): number | undefined => {
  const given = table[key]
  const value = given instanceof TypedField ? given.value : given
  return typeof value === "number" || typeof value === "bigint" ? Number(value) : undefined
}

export const textOf = (table: FieldTable, key: string): string | undefined => {
  const value = table[key]
  return typeof value === "string" ? value : undefined
}

const unitMillis: ReadonlyMap<string, number> = new Map(
  Object.entries({ Y: 31_536_000_000, M: 2_592_000_000, D: 86_400_000, h: 3_600_000, m: 60_000, s: 1000 })
)

/** The milliseconds of an interval such as `7D` or `12h`, as in `x-max-age`; `undefined` for other text. */
export const intervalOf = (text: string): number | undefined => {
  const [, count, unit] = /^(\d+)([YMDhms])$/.exec(text) ?? []
  const millis = unit === undefined ? undefined : unitMillis.get(unit)
  return millis === undefined ? undefined : Number(count) * millis
}
