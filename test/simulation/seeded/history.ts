/** What happened in a simulated run, as its programs saw it. */
import type * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as Cause from "effect/Cause"
import type * as Exit from "effect/Exit"

/**
 * What the publisher of a message knows about it.
 *
 * - `confirmed`: the broker has it, unless no queue took it.
 * - `rolledBack`, `notSent`: the broker does not have it.
 * - `nacked`, `returned`: no queue took it.
 * - `sent`, `unknown`, `pending`: the broker may have it.
 */
export type Outcome = "pending" | "sent" | "confirmed" | "nacked" | "returned" | "unknown" | "notSent" | "rolledBack"

export interface Published {
  readonly id: string
  readonly actor: number
  readonly number: number
  readonly queue: string
  readonly size: number
  /** The transaction that it belongs to. */
  readonly transaction: string | undefined
  readonly mandatory: boolean
  outcome: Outcome
}

export type Decision = "ack" | "reject" | "requeue" | "fail"

export interface Received {
  readonly id: string
  /** An actor, or one of the programs of an actor. */
  readonly receiver: string
  /** The session of its client at that time. */
  readonly session: Session
  readonly queue: string
  readonly redelivered: boolean
  /** Whether its consumer handles one message at a time, in the order of the queue. */
  readonly inOrder: boolean
  decision: Decision | undefined
  /** Whether the settlement is sent, unless the connection is lost. */
  isSettled: boolean
}

/** How a message was settled with the broker. */
export type Settlement = "ack" | "reject" | "requeue"

/** An attempt to connect. Times are in milliseconds. */
export interface Dial {
  /** From 0. */
  readonly number: number
  readonly endpoint: number
  readonly at: number
  /** Whether it is the first one of a connection. */
  readonly isFirst: boolean
  /** When the handshake was done. */
  openedAt: number | undefined
  endedAt: number | undefined
}

/** A session, or an attempt: the client and the number of the attempt. */
export type Session = `${0 | 1}/${number}`

/** A topology that is declared on each session of a client. */
export interface RegisteredTopology {
  readonly client: 0 | 1
  readonly names: ReadonlyArray<string>
}

/** The state of a connection, as a subscriber saw it. */
export interface SeenState {
  readonly at: number
  readonly state: AmqpConnection.State
}

/** How busy the handlers of a consumer are. */
export interface Handling {
  running: number
  started: number
}

export class History {
  readonly published = new Map<string, Published>()
  readonly received: Array<Received> = []
  /** How often a message was handled. */
  private readonly attempts = new Map<string, number>()
  private readonly handling = new Map<number, Handling>()
  readonly exits: Array<{ readonly actor: number; readonly exit: Exit.Exit<unknown, unknown> | "running" }> = []
  /** Failures that actors got, besides those that ended them. */
  readonly failures: Array<{ readonly actor: number; readonly reasons: ReadonlyArray<string> }> = []
  /** Connections that could not be made. */
  readonly refused: Array<{ readonly connection: 0 | 1; readonly cause: Cause.Cause<unknown> }> = []
  readonly violations: Array<string> = []
  readonly topologies: Array<RegisteredTopology> = []
  readonly states: readonly [Array<SeenState>, Array<SeenState>] = [[], []]
  private readonly allDials: readonly [Array<Dial>, Array<Dial>] = [[], []]
  /** The settlements that were written to sockets. */
  readonly settlements: Array<
    { readonly session: Session; readonly id: string; readonly settlement: Settlement }
  > = []
  /** How often a message was sent, and arrived at the broker. */
  private readonly sent = new Map<string, number>()
  private readonly arrived = new Map<string, number>()
  private readonly firstArrivals = new Map<string, number>()
  /** How many unsettled deliveries of a message clients have, on channels that they know to be open. */
  private readonly open = new Map<string, number>()
  /** The messages that were nacked although a queue has taken them. */
  readonly nacked = new Set<string>()
  /** The ids of the messages that queues have taken from publishers, in order. */
  readonly arrivals: Array<string> = []
  /** When publishes without retries failed as unknown because of a loss. */
  readonly unknownPublishes: Array<{ readonly client: 0 | 1; readonly id: string; readonly at: number }> = []
  /** When consumers have changed their prefetch, by actor. */
  readonly prefetchChanges = new Map<number, number>()
  /** The channels that faults have closed, by client. */
  readonly closedChannels: [number, number] = [0, 0]

  dial(client: 0 | 1, endpoint: number, at: number, isFirst: boolean): Dial {
    const dials = this.allDials[client]
    const dial: Dial = { number: dials.length, endpoint, at, isFirst, openedAt: undefined, endedAt: undefined }
    dials.push(dial)
    return dial
  }

  dialsOf(client: 0 | 1): ReadonlyArray<Dial> {
    return this.allDials[client]
  }

  /** Grows with everything that takes unsettled messages away from a client. */
  disturbancesOf(client: 0 | 1): number {
    const dials = this.allDials[client]
    return dials.length + dials.filter(({ endedAt }) => endedAt !== undefined).length + this.closedChannels[client]
  }

  /** A message was written to a socket. */
  sentOnWire(id: string): void {
    this.sent.set(id, this.sentCount(id) + 1)
  }

  sentCount(id: string): number {
    return this.sent.get(id) ?? 0
  }

  /** Queues have taken a message on a channel with confirms. Returns how often that has happened. */
  arrive(id: string): number {
    const count = this.arrivedCount(id) + 1
    this.arrived.set(id, count)
    if (count === 1) this.firstArrivals.set(id, this.arrivals.length)
    this.arrivals.push(id)
    return count
  }

  /** The place of the first arrival of a message among all arrivals. */
  arrivalOf(id: string): number | undefined {
    return this.firstArrivals.get(id)
  }

  arrivedCount(id: string): number {
    return this.arrived.get(id) ?? 0
  }

  /** A client has one more or one less unsettled delivery of a message. */
  changeOpen(id: string, change: 1 | -1): void {
    this.open.set(id, this.openCount(id) + change)
  }

  openCount(id: string): number {
    return this.open.get(id) ?? 0
  }

  /** The session of a client, or its attempt to make one. */
  sessionOf(client: 0 | 1): Session {
    return `${client}/${this.allDials[client].length - 1}`
  }

  /** A settlement was written to the socket of a session. */
  settledOnWire(session: Session, id: string, settlement: Settlement): void {
    this.settlements.push({ session, id, settlement })
  }

  publish(published: Published): void {
    this.published.set(published.id, published)
  }

  receive(received: Received): Received {
    this.received.push(received)
    this.attempts.set(received.id, this.attemptsOf(received.id) + 1)
    return received
  }

  handlingOf(actor: number): Handling {
    let handling = this.handling.get(actor)
    if (handling === undefined) this.handling.set(actor, handling = { running: 0, started: 0 })
    return handling
  }

  fail(actor: number, error: unknown): void {
    this.failures.push({ actor, reasons: reasonsOf(error) })
  }

  /** Whether an actor got a failure that it does not end with. */
  hasFailed(actor: number): boolean {
    return this.failures.some((failure) => failure.actor === actor)
  }

  attemptsOf(id: string): number {
    return this.attempts.get(id) ?? 0
  }
}

const padding = "abcdefghijklmnopqrstuvwxyz".repeat(24_000)

/** The text of a message, by which a receiver can verify that it is whole. */
export const textOf = (id: string, size: number): string => {
  const head = `${id}|${size}|`
  return head + padding.slice(0, Math.max(0, size - head.length))
}

/** The id of a text that arrived as it was published; `undefined` for any other text. */
export const idOf = (text: string): string | undefined => {
  const [id = "", size = ""] = text.split("|", 2)
  return text === textOf(id, Number(size)) ? id : undefined
}

/** The id of a message, by the beginning of its body. */
export const idAtStart = (body: Uint8Array): string => {
  const text = Buffer.from(body.buffer, body.byteOffset, Math.min(body.length, 40)).toString("latin1")
  const end = text.indexOf("|")
  return end === -1 ? text : text.slice(0, end)
}

/** A number from 0 to 99 that follows from the first hundred characters of a text. */
export const percentOf = (text: string): number => {
  let hash = 2166136261
  for (let index = 0; index < Math.min(text.length, 100); index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 16777619)
  }
  hash ^= hash >>> 15
  return (Math.imul(hash, 2246822519) >>> 0) % 100
}

/** Errors that only wrap a reason. */
const wrappers: ReadonlySet<string> = new Set([
  "AmqpPublishError",
  "AmqpPublishAllError",
  "AmqpChannelError",
  "AmqpConnectionError",
  "ConnectionLost",
  "NotSent",
  "OutcomeUnknown"
])

/** The tags of the innermost reasons: one, except for a batch. */
export const reasonsOf = (error: unknown): ReadonlyArray<string> => {
  if (typeof error !== "object" || error === null || !("_tag" in error)) return [String(error)]
  const tag = String(error._tag)
  if (!wrappers.has(tag)) return [tag]
  if ("failures" in error && Array.isArray(error.failures)) {
    return error.failures.flatMap(({ error }: { readonly error: unknown }) => reasonsOf(error))
  }
  return "reason" in error ? reasonsOf(error.reason) : "cause" in error ? reasonsOf(error.cause) : [tag]
}

/** Whether an operation failed because its connection was lost, or was not there. */
export const isLoss = (error: unknown): boolean => {
  if (typeof error !== "object" || error === null) return false
  if ("_tag" in error && error._tag === "ConnectionLost") return true
  return "reason" in error ? isLoss(error.reason) : "cause" in error && isLoss(error.cause)
}

/** The tags of the innermost reasons of a cause. */
export const reasonsOfCause = (cause: Cause.Cause<unknown>): ReadonlyArray<string> =>
  cause.reasons.flatMap((reason) => Cause.isFailReason(reason) ? reasonsOf(reason.error) : [])
