/**
 * What the user's code returned. Code without types may return anything, also where an Effect belongs.
 */
import * as Effect from "effect/Effect"
import { isProgram } from "../channel/program.ts"

/** Effects of the user. What they fail or succeed with is not what a type says where `any` was involved. */
export type Unchecked<R> = Effect.Effect<unknown, unknown, R>

/** An Effect that `what` has returned, or the defect that it is none: Effect ends a fiber that is given something else on the spot. */
export const checked = <A, E, R>(returned: Effect.Effect<A, E, R>, what: string): Effect.Effect<A, E, R> => {
  if (Effect.isEffect(returned)) return returned
  const hint = isProgram(returned)
    ? "a channel program: serve it with AmqpConsumer.serveTransaction, or run it with AmqpChannel.run"
    : `${describe(returned)} instead of an Effect`
  return Effect.die(new TypeError(`The ${what} returned ${hint}`))
}

/** What a value is, without anything of its content: it may come from a message. */
export const describe = (value: unknown): string => {
  if (value === null) return "null"
  if (typeof value !== "object") return value === undefined ? "undefined" : `a ${typeof value}`
  if (isPromise(value)) return "a Promise"
  try {
    return Array.isArray(value) ? "an array" : "an object"
  } catch {
    // A proxy that was revoked.
    return "an object"
  }
}

/** Throws for what is no Promise, whatever its properties say. */
const then: (this: unknown, ...handlers: ReadonlyArray<unknown>) => unknown = Reflect.get<object, string>(
  Promise.prototype,
  "then"
)

/**
 * Whether it is a Promise, of this realm or another one. One that is rejected has its failure dropped: what is done is up to the policy, and
 * an unhandled rejection would end the process.
 */
const isPromise = (value: object): boolean => {
  try {
    void then.call(value, undefined, () => {})
    return true
  } catch {
    return false
  }
}
