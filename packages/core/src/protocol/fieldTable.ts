/**
 * Field tables: their values, decoding and encoding.
 *
 * @since 0.1.0
 */
import type { FieldTable, FieldValue } from "./fieldValue.ts"

export { decodeTable } from "./fieldDecoder.ts"
export { encodeTable, isTable } from "./fieldEncoder.ts"
export { changeTable, EncodedTable } from "./fieldOrigin.ts"
export { maxTableDepth, TypedField } from "./fieldValue.ts"
export type { FieldTable, FieldType, FieldValue } from "./fieldValue.ts"

/** The table's own entry with this name, never an inherited one. */
export const fieldOf = (table: FieldTable, name: string): FieldValue | undefined =>
  Object.hasOwn(table, name) ? table[name] : undefined
