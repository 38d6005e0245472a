/**
 * What tests look for secrets in: everything that a log or a person could get to see.
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
import { walk, waysTo } from "./reachable.ts"

/** Tells what shows the secret to those who know how bytes are printed. */
const showing = (secret: string): (text: string) => boolean => {
  const bytes = [...new TextEncoder().encode(secret)]
  const hex = bytes.map((byte) => byte.toString(16).padStart(2, "0"))
  // The beginning of what is encoded depends on what stands before it.
  const base64 = [0, 1, 2].map((offset) => {
    // Not by a Buffer: small ones are pieces of a pool, where what they held stays.
    const encoded = btoa("\0".repeat(offset) + String.fromCharCode(...bytes))
    return encoded.slice(offset === 0 ? 0 : 4, -4)
  })
  // With line breaks and blanks as printers have them, as `{ "0": 115, "1": 51 }` too, whatever the first index is.
  const lists = [
    new RegExp(String.raw`\b${bytes.join(String.raw`[\s,]+(?:"?\d+"?:\s*)?`)}\b`),
    new RegExp(hex.join(String.raw`[\s,]*(?:0x)?`), "i")
  ]
  // Of a short secret little is left in base64, which may stand anywhere.
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

/** The value as the printers show it that end early. */
const inspected = (value: unknown): ReadonlyArray<string> => {
  const all = { depth: Infinity, showHidden: true, maxArrayLength: Infinity, maxStringLength: Infinity, getters: true }
  return [
    attempt(() => String(value)),
    attempt(() => inspect(value, all)),
    // Without an end it prints what is shared again and again.
    attempt(() => inspect(value, { ...all, depth: 6, showProxy: true, compact: false, customInspect: false })),
    attempt(() => format("%o %O %j %s", value, value, value, value)),
    attempt(() => JSON.stringify(value)),
    attempt(() => v8.serialize(value).toString("latin1")),
    value instanceof Error ? `${value.message}\n${value.stack}` : ""
  ]
}

/** What Effect's formatter makes of a value is checked once, if it is longer than this: all that follows prints the same. */
const longest = 200_000

/** The value as Effect prints and logs it. */
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

/** The value as everything prints it that prints values. Effect's formatter takes a minute for a fiber, whose frames share much. */
const printed = (value: unknown): ReadonlyArray<string> =>
  walk({ value }, Fiber.isFiber) ? inspected(value) : [...inspected(value), ...formatted(value)]

/** Asserts that nothing leads from the values to one of the secrets. */
export const assertUnreachable = (
  values: Readonly<Record<string, unknown>>,
  ...secrets: ReadonlyArray<string>
): void => {
  assert.deepStrictEqual(waysTo(values, (reached) => secrets.some((secret) => holds(reached, secret))), [])
}

/** Asserts that nothing that prints a value shows one of the secrets, as text or as bytes, and that nothing of it leads to one. */
export const assertHides = (value: unknown, ...secrets: ReadonlyArray<string>): void => {
  assertUnprinted(value, ...secrets)
  assertUnreachable({ value }, ...secrets)
}

/** Asserts that nothing that prints a value shows one of the secrets, as text or as bytes. */
export const assertUnprinted = (value: unknown, ...secrets: ReadonlyArray<string>): void => {
  const shows = secrets.map(showing)
  for (const text of printed(value)) assert.isFalse(shows.some((shows) => shows(text)), "a secret shows")
}

/** Asserts that no buffer of this process holds one of the secrets, whoever has it. */
export const assertWiped = (...secrets: ReadonlyArray<string>): void => {
  const held = buffers().filter((buffer) => secrets.some((secret) => holds(buffer, secret)))
  assert.lengthOf(held, 0, "a secret is left in memory")
}

/** Whether a value is, or has in its memory, the secret. */
const holds = (value: unknown, secret: string): boolean =>
  typeof value === "string"
    ? value.includes(secret)
    : typeof value === "symbol"
    ? value.description?.includes(secret) === true
    : ArrayBuffer.isView(value)
    ? Buffer.from(value.buffer).includes(secret)
    : (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) && Buffer.from(value).includes(secret)

/** Collects what an Effect logs, at every level. */
export const logged = <A, E, R>(
  self: (lines: ReadonlyArray<string>) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const lines: Array<string> = []
    const logger = Logger.map(Logger.formatSimple, (line) => void lines.push(line))
    return Effect.provide(self(lines), Logger.layer([logger]))
  })
