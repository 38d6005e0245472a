/**
 * Formats messages for people and logs: properties that are set, truncated where they are long, without the content of
 * a `Redacted`.
 *
 * Nothing here throws, as it runs when a faulty message is logged.
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import { isRedactable, redact } from "effect/Redactable"
import { isRedacted } from "effect/Redacted"
import type { PrettyOptions, Properties, Renderable } from "../../AmqpMessage.ts"
import { EncodedTable, maxTableDepth, TypedField } from "../../protocol/fieldTable.ts"

/** In bytes. */
const defaultMaxBodySize = 1024
/** In UTF-16 units, for strings in properties and headers; binary values show an eighth of that, in bytes. */
const maxTextLength = 512
/** For tables and arrays. */
const maxEntries = 64

// -----------------------------------------------------------------------------
// as data
// -----------------------------------------------------------------------------

type Json = null | boolean | number | string | ReadonlyArray<Json> | { readonly [key: string]: Json }

/** The message as JSON. */
export const toJson = (tag: string, message: Renderable): unknown => {
  const { deliveryTag, exchange, redelivered, routingKey } = message
  const body = renderBody(message.body, defaultMaxBodySize)
  return {
    _tag: tag,
    ...(exchange !== undefined && { exchange }),
    ...(routingKey !== undefined && { routingKey }),
    ...(deliveryTag !== undefined && { deliveryTag }),
    ...(redelivered !== undefined && { redelivered }),
    properties: propertiesOf(message),
    bodySize: message.body.length,
    body: body.rest === 0 ? body.shown : `${body.shown}…`
  }
}

/** The properties that are set, or what is wrong with malformed ones. */
const propertiesOf = (message: Renderable): Json => {
  let properties: Properties
  try {
    properties = message.properties
  } catch (error) {
    return { malformed: error instanceof Error ? error.message : "" }
  }
  const set: Record<string, Json> = {}
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined) continue
    const shown = json(value, 0)
    // The encoding of the headers is of no interest to people, and is mostly the only entry.
    if (name !== "raw" || !isEmpty(shown)) define(set, name, shown)
  }
  return set
}

const isEmpty = (value: Json): boolean => typeof value === "object" && value !== null && Object.keys(value).length === 0

const json = (input: unknown, depth: number): Json => {
  const value = isRedactable(input) ? redact(input) : input
  switch (typeof value) {
    case "string":
      return value.length > maxTextLength ? cut(value.slice(0, maxTextLength), value.length, "characters") : value
    case "number":
      return Number.isFinite(value) ? value : String(value)
    case "boolean":
      return value
    case "bigint":
      return `${value}n`
    case "object":
      return value === null ? null : jsonObject(value, depth)
    default:
      return `[${typeof value}]`
  }
}

const jsonObject = (value: object, depth: number): Json => {
  if (value instanceof Uint8Array) {
    const rendered = hex(value, maxTextLength / 8)
    return rendered.rest === 0 ? rendered.shown : cut(rendered.shown, value.length, "bytes")
  }
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "Invalid Date" : value.toISOString()
  if (DateTime.isDateTime(value)) return DateTime.formatIso(value)
  if (Duration.isDuration(value)) return String(value)
  if (value instanceof TypedField) {
    return value.type === "decimal" ? `decimal(${value.scale}, ${value.value})` : `${value.type}(${value.value})`
  }
  if (depth > maxTableDepth) return "…"
  if (Array.isArray(value)) {
    const items = value.slice(0, maxEntries).map((item) => json(item, depth + 1))
    return value.length > maxEntries ? [...items, more(value.length)] : items
  }
  const prototype: unknown = Object.getPrototypeOf(value)
  const entries = value instanceof Map
    ? [...value]
    : prototype === null || Object.getPrototypeOf(prototype) === null
    ? Object.entries(value)
    : undefined
  // Unexpected objects may contain secrets.
  if (entries === undefined) return isRedacted(value) ? "<redacted>" : "[object]"
  const record: Record<string, Json> = {}
  for (const [key, item] of entries.slice(0, maxEntries)) {
    if (item !== undefined && !(item instanceof EncodedTable)) define(record, String(key), json(item, depth + 1))
  }
  if (entries.length > maxEntries) record["…"] = more(entries.length)
  return record
}

const more = (length: number): string => `… ${length - maxEntries} more`

const cut = (shown: string, length: number, unit: string): string => `${shown}… (${length} ${unit})`

/** Assigning the key `__proto__` would set the prototype. */
const define = (record: Record<string, Json>, key: string, value: Json): void => {
  Object.defineProperty(record, key, { value, enumerable: true, configurable: true, writable: true })
}

// -----------------------------------------------------------------------------
// as text
// -----------------------------------------------------------------------------

/** The message in several lines. */
export const pretty = (tag: string, message: Renderable, options: PrettyOptions = {}): string => {
  const { deliveryTag, exchange, redelivered, routingKey } = message
  let title = deliveryTag === undefined ? tag : `${tag} ${deliveryTag}`
  if (exchange !== undefined) title += exchange === "" ? " to the default exchange" : ` to exchange ${quote(exchange)}`
  if (routingKey !== undefined) title += ` with routing key ${quote(routingKey)}`
  if (redelivered === true) title += ", redelivered"
  const lines = [title]
  writeEntries(lines, "  ", propertiesOf(message))
  writeBody(lines, message.body, options.maxBodySize ?? defaultMaxBodySize)
  return lines.join("\n")
}

const writeEntries = (lines: Array<string>, indent: string, values: Json): void => {
  for (const [key, value] of Object.entries(values ?? {})) {
    const name = /^[\w.-]+$/.test(key) ? key : quote(key)
    if (typeof value === "object" && value !== null && !Array.isArray(value) && Object.keys(value).length > 0) {
      lines.push(`${indent}${name}:`)
      writeEntries(lines, `${indent}  `, value)
    } else {
      lines.push(`${indent}${name}: ${escape(JSON.stringify(value))}`)
    }
  }
}

const writeBody = (lines: Array<string>, body: Uint8Array, maxBodySize: number): void => {
  const { rest, shown } = renderBody(body, maxBodySize)
  if (body.length === 0) {
    lines.push("  empty body")
    return
  }
  const size = `body of ${body.length} ${body.length === 1 ? "byte" : "bytes"}`
  lines.push(rest === 0 ? `  ${size}:` : `  ${size}, the first ${body.length - rest}:`)
  for (const line of shown.split(/\r\n|\r|\n/)) lines.push(`    ${line}`)
}

interface Rendered {
  readonly shown: string
  /** How many bytes are not shown. */
  readonly rest: number
}

/** A text body as text, others as hexadecimal digits. */
const renderBody = (body: Uint8Array, maxBodySize: number): Rendered => {
  const maximum = Math.max(0, Math.floor(maxBodySize))
  return text(body, maximum) ?? hex(body, Math.floor(maximum / 8))
}

/**
 * Characters that affect a terminal or mislead the reader of a log: control characters, and those that change the
 * direction of text.
 */
const unprintable = /(?![\t\n\r])\p{Cc}|[\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/u

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

const text = (body: Uint8Array, maximum: number): Rendered | undefined => {
  let end = Math.min(maximum, body.length)
  // Does not cut a character, which has at most three bytes after its first.
  for (let back = 0; back < 3 && end < body.length && (body[end] & 0xc0) === 0x80; back++) end--
  try {
    const shown = decoder.decode(body.subarray(0, end))
    return unprintable.test(shown) ? undefined : { shown, rest: body.length - end }
  } catch {
    return undefined
  }
}

const hex = (bytes: Uint8Array, maximum: number): Rendered => {
  let shown = "0x"
  for (const byte of bytes.subarray(0, maximum)) shown += byte.toString(16).padStart(2, "0")
  return { shown, rest: Math.max(0, bytes.length - maximum) }
}

const quote = (value: string): string => escape(JSON.stringify(value))

/** JSON leaves some unprintable characters unescaped. */
const escape = (value: string): string =>
  value.replaceAll(
    /[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`
  )
