/** What happened in a simulated run, as its programs saw it. */
import * as Cause from "effect/Cause"
import type * as Exit from "effect/Exit"

/**
 * What the publisher of a message knows of it.
 *
 * - `confirmed`: the broker has it, unless no queue took it.
 * - `rolledBack`, `notSent`: the broker does not have it.
 * - `nacked`, `returned`: no queue took it.
 * - `sent`, `unknown`, `pending`: it may.
 */
export type Outcome = "pending" | "sent" | "confirmed" | "nacked" | "returned" | "unknown" | "notSent" | "rolledBack"

export interface Published {
  readonly id: string
  readonly actor: number
  readonly number: number
  readonly queue: string
  readonly size: number
  /** Messages of the same transaction. */
  readonly transaction: string | undefined
  /** Whether it was published when all before it of the same actor were answered. */
  readonly inOrder: boolean
  outcome: Outcome
}

export type Decision = "ack" | "reject" | "requeue" | "fail"

export interface Received {
  readonly id: string
  /** Who received: an actor, or one of the programs of an actor. */
  readonly receiver: string
  readonly queue: string
  readonly redelivered: boolean
  /** Whether one handler at a time receives, in the order of the queue. */
  readonly inOrder: boolean
  decision: Decision | undefined
}

export class History {
  readonly published = new Map<string, Published>()
  readonly received: Array<Received> = []
  /** How often a message was handled. */
  private readonly attempts = new Map<string, number>()
  readonly exits: Array<{ readonly actor: number; readonly exit: Exit.Exit<unknown, unknown> | "running" }> = []
  readonly violations: Array<string> = []

  publish(published: Published): void {
    this.published.set(published.id, published)
  }

  receive(received: Received): Received {
    this.received.push(received)
    this.attempts.set(received.id, this.attemptsOf(received.id) + 1)
    return received
  }

  attemptsOf(id: string): number {
    return this.attempts.get(id) ?? 0
  }
}

const padding = "abcdefghijklmnopqrstuvwxyz".repeat(2_400)

/** The text of a message: by which one can tell that it is whole and no other. */
export const textOf = (id: string, size: number): string => {
  const head = `${id}|${size}|`
  return head + padding.slice(0, Math.max(0, size - head.length))
}

/** The id of a text that is what was published; `undefined` for any other. */
export const idOf = (text: string): string | undefined => {
  const [id = "", size = ""] = text.split("|", 2)
  return text === textOf(id, Number(size)) ? id : undefined
}

/** A number from 0 to 99 that follows from the text. */
export const percentOf = (text: string): number => {
  let hash = 2166136261
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 16777619)
  hash ^= hash >>> 15
  return (Math.imul(hash, 2246822519) >>> 0) % 100
}

/** The tags of what an Effect failed with, the causes of publish errors included. */
export const tagsOf = (cause: Cause.Cause<unknown>): ReadonlyArray<string> =>
  cause.reasons.flatMap((reason) => Cause.isFailReason(reason) ? tagsOfError(reason.error) : [])

const tagsOfError = (error: unknown): ReadonlyArray<string> => {
  if (typeof error !== "object" || error === null || !("_tag" in error)) return [String(error)]
  const tag = String(error._tag)
  if ("failures" in error && Array.isArray(error.failures)) {
    return [tag, ...error.failures.flatMap(({ error }: { readonly error: unknown }) => tagsOfError(error))]
  }
  if ("reason" in error) return [tag, ...tagsOfError(error.reason)]
  if ("cause" in error && error.cause !== undefined) return [tag, ...tagsOfError(error.cause)]
  return [tag]
}
