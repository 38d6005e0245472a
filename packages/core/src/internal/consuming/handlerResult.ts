/**
 * Checks of what user code returns. Code without types may return anything, even where an Effect is required.
 */
import * as Effect from "effect/Effect"
import { isProgram } from "../channel/program.ts"

/** An Effect of user code. Its error and its value are unknown, because `any` may be involved. */
export type Unchecked<R> = Effect.Effect<unknown, unknown, R>

/** The Effect that `what` has returned. Dies if that is not an Effect: running it would end the fiber without finalizers. */
export const checked = <A, E, R>(returned: Effect.Effect<A, E, R>, what: string): Effect.Effect<A, E, R> => {
  if (Effect.isEffect(returned)) return returned
  const hint = isProgram(returned)
    ? "a channel program: serve it with AmqpConsumer.serveTransaction, or run it with AmqpChannel.run"
    : `${describe(returned)} instead of an Effect`
  return Effect.die(new TypeError(`The ${what} returned ${hint}`))
}

/** The defect of a handler or a policy whose Effect did not succeed with a settlement. */
export const notASettlement = (value: unknown, what: string, consequence = ""): TypeError =>
  new TypeError(
    `The ${what} returned ${describe(value)} instead of a settlement. Return AmqpDelivery.ack, AmqpDelivery.reject, ` +
      "AmqpDelivery.requeue, or what AmqpDelivery.as makes of them. A value that only looks like a settlement, for example one " +
      `that was parsed from a message, does not count.${consequence}`
  )

/** The kind of a value, without its content, which may come from a message. */
const describe = (value: unknown): string => {
  if (value === null) return "null"
  if (typeof value !== "object") return value === undefined ? "undefined" : `a ${typeof value}`
  if (isPromise(value)) return "a Promise"
  try {
    return Array.isArray(value) ? "an array" : "an object"
  } catch {
    // A revoked proxy.
    return "an object"
  }
}

/** Throws if it is called on a value that is not a Promise, whatever properties that has. */
const then: (this: unknown, ...handlers: ReadonlyArray<unknown>) => unknown = Reflect.get<object, string>(
  Promise.prototype,
  "then"
)

/**
 * Whether a value is a Promise, of this realm or another. If it is, its rejection is ignored: the failure policy decides what happens, and
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
