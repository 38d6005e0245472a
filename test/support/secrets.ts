/**
 * Assertions that secrets do not appear in anything that is logged or printed.
 */
import { assert } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Formatter from "effect/Formatter"
import * as Inspectable from "effect/Inspectable"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import { format, inspect } from "node:util"
import * as v8 from "node:v8"
import { buffers } from "./heap.ts"
import { pathsTo, walk } from "./reachable.ts"

/** A predicate for texts that show the secret, also as printed bytes. */
const showing = (secret: string): (text: string) => boolean => {
  const bytes = [...new TextEncoder().encode(secret)]
  const hex = bytes.map((byte) => byte.toString(16).padStart(2, "0"))
  // In base64 the beginning depends on the bytes before it.
  const base64 = [0, 1, 2].map((offset) => {
    // Not with a Buffer: small ones are slices of a pool, which keeps their bytes.
    const encoded = btoa("\0".repeat(offset) + String.fromCharCode(...bytes))
    return encoded.slice(offset === 0 ? 0 : 4, -4)
  })
  // With line breaks and spaces as printers add them, and as `{ "0": 115, "1": 51 }`, with any first index.
  const lists = [
    new RegExp(String.raw`\b${bytes.join(String.raw`[\s,]+(?:"?\d+"?:\s*)?`)}\b`),
    new RegExp(hex.join(String.raw`[\s,]*(?:0x)?`), "i")
  ]
  // A short secret has too little base64 left to be distinctive.
  const texts = [secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1)]
    .concat(base64.filter(({ length }) => length >= secret.length))
  return (text) => texts.some((form) => text.includes(form)) || lists.some((list) => list.test(text))
}

const attempt = (print: () => string | undefined): string => {
  try {
    return print() ?? ""
  } catch (error) {
    return error instanceof Error ? `${error.message}\n${error.stack}` : ""
  }
}

/** The value as printed by Node's printers, which have limits. */
const inspected = (value: unknown): ReadonlyArray<string> => {
  const all = { depth: Infinity, showHidden: true, maxArrayLength: Infinity, maxStringLength: Infinity, getters: true }
  return [
    attempt(() => String(value)),
    attempt(() => inspect(value, all)),
    // Without a limit it prints shared values repeatedly.
    attempt(() => inspect(value, { ...all, depth: 6, showProxy: true, compact: false, customInspect: false })),
    attempt(() => format("%o %O %j %s", value, value, value, value)),
    attempt(() => JSON.stringify(value)),
    attempt(() => v8.serialize(value).toString("latin1")),
    value instanceof Error ? `${value.message}\n${value.stack}` : ""
  ]
}

/** If Effect's formatter returns more than this, only its output is checked: the other printers use the same formatter. */
const longest = 200_000

/** The value as printed and logged by Effect. */
const formatted = (value: unknown): ReadonlyArray<string> => {
  const text = attempt(() => Formatter.format(value))
  return text.length > longest ? [text] : [text, ...loggedTexts(value)]
}

const loggedTexts = (value: unknown): ReadonlyArray<string> => {
  const loggers = [
    Logger.formatSimple,
    Logger.formatLogFmt,
    Logger.formatJson,
    Logger.map(Logger.formatStructured, inspect)
  ]
  const lines: Array<string> = []
  const sinks = loggers.map((logger) => Logger.map(logger, (line) => void lines.push(line)))
  Effect.runSync(
    Effect.logInfo(value, "and", { value }).pipe(
      Effect.annotateLogs("value", value),
      Effect.provide(Logger.layer(sinks))
    )
  )
  return [
    ...lines,
    attempt(() => Formatter.formatJson(value)),
    attempt(() => Inspectable.toStringUnknown(value)),
    attempt(() => String(Exit.succeed(value))),
    attempt(() => String(Exit.die(value))),
    attempt(() => String(Option.some(value))),
    attempt(() => String(Cause.fail(value))),
    attempt(() => Cause.pretty(Cause.die(value))),
    attempt(() => Cause.pretty(Cause.fail({ value })))
  ]
}

/** The value as printed by all printers. Without Effect's formatter for a fiber, for which it takes a minute. */
const printed = (value: unknown): ReadonlyArray<string> =>
  walk({ value }, Fiber.isFiber) ? inspected(value) : [...inspected(value), ...formatted(value)]

/** Asserts that no secret can be reached from the values. */
export const assertUnreachable = (
  values: Readonly<Record<string, unknown>>,
  ...secrets: ReadonlyArray<string>
): void => {
  assert.deepStrictEqual(pathsTo(values, (reached) => secrets.some((secret) => holds(reached, secret))), [])
}

/** Asserts that no printer shows a secret in a value, as text or as bytes, and that none can be reached from it. */
export const assertHides = (value: unknown, ...secrets: ReadonlyArray<string>): void => {
  assertUnprinted(value, ...secrets)
  assertUnreachable({ value }, ...secrets)
}

/** Asserts that no printer shows a secret in a value, as text or as bytes. */
export const assertUnprinted = (value: unknown, ...secrets: ReadonlyArray<string>): void => {
  const shows = secrets.map(showing)
  for (const text of printed(value)) assert.isFalse(shows.some((shows) => shows(text)), "a secret shows")
}

/** Asserts that no buffer of this process holds a secret. */
export const assertWiped = (...secrets: ReadonlyArray<string>): void => {
  const held = buffers().filter((buffer) => secrets.some((secret) => holds(buffer, secret)))
  assert.lengthOf(held, 0, "a secret is left in memory")
}

/** Whether a value is the secret, or holds it in its memory. */
const holds = (value: unknown, secret: string): boolean =>
  typeof value === "string"
    ? value.includes(secret)
    : typeof value === "symbol"
    ? value.description?.includes(secret) === true
    : ArrayBuffer.isView(value)
    ? Buffer.from(value.buffer).includes(secret)
    : (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) && Buffer.from(value).includes(secret)

/** Collects the log lines of an effect. */
export const logged = <A, E, R>(
  self: (lines: ReadonlyArray<string>) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const lines: Array<string> = []
    const logger = Logger.map(Logger.formatSimple, (line) => void lines.push(line))
    return Effect.provide(self(lines), Logger.layer([logger]))
  })
