/**
 * Field tables: what they hold, and how they are read and written.
 *
 * @since 0.1.0
 */
export { decodeTable } from "./fieldDecoder.ts"
export { encodeTable, isTable } from "./fieldEncoder.ts"
export { changeTable, EncodedTable } from "./fieldOrigin.ts"
export { maxTableDepth, TypedField } from "./fieldValue.ts"
export type { FieldTable, FieldType, FieldValue } from "./fieldValue.ts"
