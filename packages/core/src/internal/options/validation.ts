/** Checks of arguments before anything is sent. Each throws an `InvalidArgument` that names the argument. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { AmqpChannelError, InvalidArgument } from "../../AmqpError.ts"
import { isTable } from "../../protocol/fieldTable.ts"
import type { FieldTable, FieldValue } from "../../protocol/fieldTable.ts"

export const invalid = (description: string): InvalidArgument => new InvalidArgument({ description })

/**
 * Options without unknown keys. Types do not find those in options from a variable or a spread, and they would be
 * ignored silently.
 */
export const knownKeys = <O extends object>(options: O, keys: ReadonlyArray<keyof O & string>, what = "options"): O => {
  const given: unknown = options
  // JavaScript may pass anything.
  if (typeof given !== "object" || given === null || Array.isArray(given)) throw invalid(`${what}: must be an object`)
  for (const key in options) {
    const known: ReadonlyArray<string> = keys
    if (known.includes(key)) continue
    throw InvalidArgument.unknownKey(what, key, keys)
  }
  return options
}

/** The keys of a type of options. The compiler requires each of them, and no other. */
export const keysOf = <O extends object>(
  keys: { readonly [K in keyof O & string]-?: true }
): ReadonlyArray<keyof O & string> =>
  // An object literal of that type has exactly these keys.
  Object.keys(keys) as Array<keyof O & string>

const encoder = new TextEncoder()

/** A boolean. A string such as `"false"` would count as true in one place and as false in another. */
export const flag = (what: string, value: boolean | undefined, byDefault = false): boolean => {
  if (value === undefined || typeof value === "boolean") return value ?? byDefault
  throw invalid(`${what}: must be true or false`)
}

/** A function, if given. */
export const callable = (what: string, value: unknown): void => {
  if (value !== undefined && typeof value !== "function") throw invalid(`${what}: must be a function`)
}

/** The name of an entity: at most 255 bytes of UTF-8. */
export const name = (what: string, value: string): string => {
  if (typeof value !== "string") throw invalid(`${what}: must be a string`)
  if (value.length > 63 && encoder.encode(value).length > 255) {
    throw invalid(`${what}: a name holds at most 255 bytes of UTF-8`)
  }
  return value
}

export const nonEmptyName = (what: string, value: string): string => {
  if (value === "") throw invalid(`${what}: must not be empty`)
  return name(what, value)
}

/** Whether a value is a whole number of at least `minimum`. */
export const isWholeNumber = (value: unknown, minimum: number): value is number =>
  typeof value === "number" && Number.isInteger(value) && value >= minimum

/** A whole number from `minimum` to `maximum`. */
export const wholeNumber = (
  what: string,
  value: number,
  minimum: number,
  maximum = Number.MAX_SAFE_INTEGER
): number => {
  if (!isWholeNumber(value, minimum) || value > maximum) {
    const range = maximum === Number.MAX_SAFE_INTEGER ? `from ${minimum}` : `from ${minimum} to ${maximum}`
    throw invalid(`${what}: must be a whole number ${range}`)
  }
  return value
}

const durationKeys: ReadonlySet<string> = new Set([
  "weeks",
  "days",
  "hours",
  "minutes",
  "seconds",
  "milliseconds",
  "microseconds",
  "nanoseconds"
])

/** The duration in milliseconds, NaN if it is not a duration: `Duration` takes NaN and unknown units for zero. */
const millisOf = (input: Duration.Input): number => {
  if (typeof input === "object" && input !== null && !Duration.isDuration(input)) {
    const isTuple = Array.isArray(input)
    for (const [key, value] of Object.entries(input)) {
      if (!(isTuple || durationKeys.has(key)) || typeof value !== "number" || Number.isNaN(value)) return Number.NaN
    }
    if (Object.keys(input).length === 0) return Number.NaN
  }
  if (Number.isNaN(input)) return Number.NaN
  try {
    return Duration.toMillis(Duration.fromInputUnsafe(input))
  } catch {
    return Number.NaN
  }
}

/** A maximum size, if given: a number from 0, or `Infinity` for no limit. */
export const limit = (what: string, value: unknown): void => {
  if (value === undefined || (typeof value === "number" && value >= 0)) return
  throw invalid(`${what}: must be a number from 0, or Infinity`)
}

/** A duration from a minimum in milliseconds. It may be infinite unless `isFinite` is set. */
export const duration = (
  what: string,
  input: Duration.Input,
  minimum: number,
  isFinite = false
): Duration.Duration => {
  const value = millisOf(input)
  if (value >= minimum && !(isFinite && value === Infinity)) return Duration.millis(value)
  throw invalid(
    `${what}: must be a ${
      isFinite ? "finite " : ""
    }duration of at least ${minimum} ms, such as "5 seconds" or 5000 (milliseconds)`
  )
}

/** One of several strings. Types do not check values from JavaScript or a cast. */
export const oneOf = <A extends string>(what: string, value: A, values: ReadonlyArray<A>): A => {
  if (!values.includes(value)) {
    throw invalid(`${what}: must be ${values.map((one) => JSON.stringify(one)).join(" or ")}`)
  }
  return value
}

/** RabbitMQ's limit of durations: 32 bits of milliseconds. */
const maxMillis = 0xffffffff

/** A duration in whole milliseconds, rounded up, so that a short one does not become 0. */
export const millis = (what: string, input: Duration.Input, minimum: number): number => {
  const value = Math.ceil(millisOf(input))
  if (!(value >= minimum && value <= maxMillis)) {
    throw invalid(`${what}: must be a duration from ${minimum} to ${maxMillis} milliseconds`)
  }
  return value
}

/** The limit of the platform's timers: 31 bits of milliseconds, 24 days. */
const maxTimerMillis = 0x7fffffff

/** A local timeout or pause in milliseconds, from 0, and `Infinity` if allowed. */
export const timeout = (what: string, input: Duration.Input, mayBeInfinite = false): number => {
  const value = millisOf(input)
  const isInRange = value >= 0 && (value <= maxTimerMillis || (mayBeInfinite && value === Infinity))
  if (!isInRange) throw invalid(`${what}: must be a duration from 0 to ${maxTimerMillis} milliseconds`)
  return value
}

/** A duration in whole seconds, rounded up. */
export const seconds = (what: string, input: Duration.Input, minimum: number): number => {
  const value = Math.ceil(millisOf(input) / 1000)
  if (!(value >= minimum && Number.isSafeInteger(value))) {
    throw invalid(`${what}: must be a duration of at least ${minimum} s`)
  }
  return value
}

/** A table as a plain object. Without types, a `Map` may be passed for one. */
export const record = (what: string, table: FieldTable): FieldTable => {
  if (!isTable(table)) throw invalid(`${what}: must be a plain object`)
  return table instanceof Map ? Object.fromEntries(table) : table
}

/** Adds the arguments of options to those given by name, except for `undefined`. */
export const extend = (
  table: FieldTable,
  fromOptions: Readonly<Record<string, FieldValue | undefined>>
): FieldTable => {
  const extended: Record<string, FieldValue | undefined> = { ...record("arguments", table) }
  for (const [key, value] of Object.entries(fromOptions)) {
    if (value === undefined) continue
    if (Object.hasOwn(extended, key)) throw invalid(`arguments: ${key} is also set by an option`)
    extended[key] = value
  }
  return extended
}

/** Succeeds with what `body` returns, or fails with the `InvalidArgument` that it throws. */
export const check = <A>(body: () => A): Effect.Effect<A, InvalidArgument> =>
  Effect.suspend(() => {
    try {
      return Effect.succeed(body())
    } catch (thrown) {
      if (!(thrown instanceof InvalidArgument)) throw thrown
      return Effect.fail(thrown)
    }
  })

/** Like {@link check}, for operations on channels. */
export const attempt = <A>(body: () => A): Effect.Effect<A, AmqpChannelError> =>
  Effect.mapError(check(body), (reason) => new AmqpChannelError({ reason }))
