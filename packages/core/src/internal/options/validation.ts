/**
 * Checks of what users pass, before anything is sent. Each throws an `InvalidArgument` that names the argument.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { AmqpChannelError, InvalidArgument } from "../../AmqpError.ts"
import { isTable } from "../../protocol/fieldTable.ts"
import type { FieldTable, FieldValue } from "../../protocol/fieldTable.ts"

export const invalid = (description: string): InvalidArgument => new InvalidArgument({ description })

/**
 * Options whose keys are all known. Types don't find a wrong one in options that come from a variable or a spread, and it would
 * be ignored silently.
 */
export const knownKeys = <O extends object>(options: O, keys: ReadonlyArray<keyof O & string>, what = "options"): O => {
  const given: unknown = options
  // What comes from JavaScript may be anything.
  if (typeof given !== "object" || given === null) throw invalid(`${what}: must be an object`)
  for (const key in options) {
    const known: ReadonlyArray<string> = keys
    if (known.includes(key)) continue
    throw InvalidArgument.unknownKey(what, key, keys)
  }
  return options
}

/** The keys that a type of options has. The compiler wants each of them, and no other. */
export const keysOf = <O extends object>(
  keys: { readonly [K in keyof O & string]-?: true }
): ReadonlyArray<keyof O & string> =>
  // An object of that type, written as a literal, has these keys.
  Object.keys(keys) as Array<keyof O & string>

const encoder = new TextEncoder()

/** Yes or no. A text such as `"false"` would count as yes in one place and as no in another. */
export const flag = (what: string, value: boolean | undefined, byDefault = false): boolean => {
  if (value === undefined || typeof value === "boolean") return value ?? byDefault
  throw invalid(`${what}: must be true or false`)
}

/** A function, where there is one. */
export const callable = (what: string, value: unknown): void => {
  if (value !== undefined && typeof value !== "function") throw invalid(`${what}: must be a function`)
}

/** A name of an entity: at most 255 bytes of UTF-8. */
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

/** A whole number from `minimum` to `maximum`. */
export const wholeNumber = (
  what: string,
  value: number,
  minimum: number,
  maximum = Number.MAX_SAFE_INTEGER
): number => {
  if (!Number.isInteger(value) || value < minimum || value > maximum) {
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

/** The milliseconds of what may be a duration, NaN where it is not: `Duration` takes NaN and unknown units for zero. */
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

/** A size that is not to be exceeded: a number from 0, or `Infinity` for no limit. Absent is right. */
export const limit = (what: string, value: unknown): void => {
  if (value === undefined || (typeof value === "number" && value >= 0)) return
  throw invalid(`${what}: must be a number from 0, or Infinity`)
}

/** A time from a minimum in milliseconds, that may be infinite unless `isFinite` says otherwise. */
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
    }time of ${minimum} ms or more, such as "5 seconds" or 5000 (milliseconds)`
  )
}

/** One of some texts. Types don't check what comes from JavaScript or a cast. */
export const oneOf = <A extends string>(what: string, value: A, values: ReadonlyArray<A>): A => {
  if (!values.includes(value)) {
    throw invalid(`${what}: must be ${values.map((one) => JSON.stringify(one)).join(" or ")}`)
  }
  return value
}

/** What RabbitMQ takes as a time to live: 32 bits of milliseconds. */
const maxMillis = 0xffffffff

/** A time in whole milliseconds; parts of one are rounded up, so that a short time does not become none. */
export const millis = (what: string, input: Duration.Input, minimum: number): number => {
  const value = Math.ceil(millisOf(input))
  if (!(value >= minimum && value <= maxMillis)) {
    throw invalid(`${what}: must be from ${minimum} to ${maxMillis} milliseconds`)
  }
  return value
}

/** What timers of the platform take: 31 bits of milliseconds, 24 days. */
const maxTimerMillis = 0x7fffffff

/** How long something may take or is to wait here, in milliseconds, from 0; where it may, also without end. */
export const timeout = (what: string, input: Duration.Input, mayBeInfinite = false): number => {
  const value = millisOf(input)
  const isInRange = value >= 0 && (value <= maxTimerMillis || (mayBeInfinite && value === Infinity))
  if (!isInRange) throw invalid(`${what}: must be a time from 0 to ${maxTimerMillis} milliseconds`)
  return value
}

/** A time in whole seconds, rounded up. */
export const seconds = (what: string, input: Duration.Input, minimum: number): number => {
  const value = Math.ceil(millisOf(input) / 1000)
  if (!(value >= minimum && Number.isSafeInteger(value))) throw invalid(`${what}: must be from ${minimum} seconds`)
  return value
}

/** A table as a plain object, which a `Map` passes for without types. */
export const record = (what: string, table: FieldTable): FieldTable => {
  if (!isTable(table)) throw invalid(`${what}: must be a plain object`)
  return table instanceof Map ? Object.fromEntries(table) : table
}

/** Adds the arguments that options stand for to those that were given by name. What is `undefined` is left out. */
export const extend = (
  table: FieldTable,
  fromOptions: Readonly<Record<string, FieldValue | undefined>>
): FieldTable => {
  const extended: Record<string, FieldValue | undefined> = { ...record("arguments", table) }
  for (const [key, value] of Object.entries(fromOptions)) {
    if (value === undefined) continue
    if (Object.hasOwn(extended, key)) throw invalid(`arguments: ${key} is given by an option too`)
    extended[key] = value
  }
  return extended
}

/** What `body` returns, or the `InvalidArgument` that it throws as a failure. */
export const check = <A>(body: () => A): Effect.Effect<A, InvalidArgument> =>
  Effect.suspend(() => {
    try {
      return Effect.succeed(body())
    } catch (thrown) {
      if (!(thrown instanceof InvalidArgument)) throw thrown
      return Effect.fail(thrown)
    }
  })

/** As {@link check}, for operations on channels. */
export const attempt = <A>(body: () => A): Effect.Effect<A, AmqpChannelError> =>
  Effect.mapError(check(body), (reason) => new AmqpChannelError({ reason }))
