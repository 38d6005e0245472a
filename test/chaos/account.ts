/**
 * The account of a run: what happened to each message, as publishers and consumers saw it.
 *
 * It holds a few numbers for each message, as a long run has millions.
 */
import { idOf } from "../simulation/seeded/history.ts"
import type { Violations } from "./violations.ts"

/**
 * What the publisher of a message knows about it.
 *
 * - `pending`: its publish has not ended.
 * - `confirmed`: the broker has it, and every confirmed message has to be delivered.
 * - `committed`: it goes to a quorum queue in a transaction, which was committed, or has to be before the message leaves another queue. RabbitMQ
 *   commits even if the queue has refused the message (see `AmqpChannel.transaction`), so it may be lost. Such messages are counted.
 * - `unknown`: the broker may have it.
 * - `notSent`, `nacked`, `returned`: the broker does not have it.
 */
export type Outcome = "pending" | "confirmed" | "committed" | "unknown" | "notSent" | "nacked" | "returned"

/** Outcomes with which a message is in no queue. */
const impossible: ReadonlySet<Outcome> = new Set(["notSent", "nacked", "returned"])

export interface SourceOptions {
  readonly name: string
  /** The queue that gets its messages. */
  readonly queue: string
  /** Whether its messages are delivered first in the order in which they were published. */
  readonly isOrdered: boolean
}

/** The messages of one publisher, numbered from 0. */
export class Source {
  readonly name: string
  readonly queue: string
  readonly isOrdered: boolean
  readonly outcomes: Array<Outcome> = []
  readonly startedAt: Array<number> = []
  /** Whether each was certainly published only once. */
  readonly isSingle: Array<boolean> = []
  /** How often each was delivered. */
  readonly deliveries: Array<number> = []
  /** How often each was acknowledged. */
  readonly acknowledgements: Array<number> = []
  /** The consumer and session that acknowledged each last. */
  readonly acknowledgedBy: Array<string | undefined> = []
  /** How often each was delivered without the flag `redelivered`. */
  readonly fresh: Array<number> = []
  /** Messages that were redelivered to the consumer and in the session that had acknowledged them. */
  readonly redeliveredToSame: Array<{ readonly number: number; readonly by: string; readonly at: number }> = []
  /** Messages that arrived after a newer one. */
  readonly late: Array<
    { readonly number: number; readonly before: number; readonly by: string; readonly at: number }
  > = []
  /** Messages that were published again for another reason than a loss, and so after newer ones. */
  readonly outOfOrder = new Set<number>()
  /** The last message that was delivered first and without the flag `redelivered`. */
  private lastInOrder = -1
  private readonly now: () => number

  constructor({ isOrdered, name, queue }: SourceOptions, now: () => number) {
    this.now = now
    this.name = name
    this.queue = queue
    this.isOrdered = isOrdered
  }

  /** Begins a publish, and returns the number of its message. */
  publish(): number {
    this.isSingle.push(false)
    this.startedAt.push(this.now())
    this.deliveries.push(0)
    this.acknowledgements.push(0)
    this.acknowledgedBy.push(undefined)
    this.fresh.push(0)
    return this.outcomes.push("pending") - 1
  }

  /** Ends a publish. `isSingle` is whether the message was certainly not published several times. */
  settle(number: number, outcome: Outcome, isSingle: boolean): void {
    this.outcomes[number] = outcome
    this.isSingle[number] = isSingle
  }

  /** Counts a delivery. Returns the number of the message that should have come after this one, if there is one. */
  deliver(number: number, redelivered: boolean, by: string): number | undefined {
    const isFirst = this.deliveries[number]++ === 0
    if (redelivered) {
      if (this.acknowledgedBy[number] === by) this.redeliveredToSame.push({ number, by, at: this.now() })
      return undefined
    }
    this.fresh[number]++
    if (!isFirst) return undefined
    const last = this.lastInOrder
    this.lastInOrder = Math.max(last, number)
    return this.isOrdered && number < last ? last : undefined
  }

  idOf(number: number): string {
    return `${this.name}.${number}`
  }
}

/** A message as a consumer got it. */
export interface Receipt {
  readonly text: string
  readonly messageId: string | undefined
  readonly queue: string
  readonly redelivered: boolean
  /** The consumer, with its session and its tag: what the broker knows it by. */
  readonly by: string
}

/** A delivery, to be acknowledged. */
export interface Delivered {
  readonly source: Source
  readonly number: number
  readonly by: string
}

/** A queue that was deleted, with what was in it. */
interface Deletion {
  readonly queue: string
  readonly beganAt: number
  /** Infinite until it is deleted. */
  endedAt: number
}

export interface Totals {
  readonly published: number
  readonly outcomes: Readonly<Record<Outcome, number>>
  /** How many of those that are `committed` were not delivered. */
  readonly committedButLost: number
  readonly deliveries: number
  readonly duplicates: {
    /** Further deliveries with the flag `redelivered`: a connection was lost before the acknowledgement arrived. */
    readonly redelivered: number
    /** Further deliveries without it: the message was published again, as its outcome was unknown. */
    readonly publishedAgain: number
  }
}

export class Account {
  readonly violations: Violations
  /**
   * Whether a cluster may lose acknowledgements. It does not confirm them: those that are under way to the leader of a quorum queue are lost
   * when its node fails or is cut off, and the same consumer gets the messages again.
   */
  losesAcknowledgements = false
  private readonly sources = new Map<string, Source>()
  private readonly deletions: Array<Deletion> = []
  private readonly now: () => number
  private readonly startedAt: number

  constructor(violations: Violations, now = () => performance.now()) {
    this.violations = violations
    this.now = now
    this.startedAt = now()
  }

  /** A time for people: since the run began. */
  private secondsOf(time: number): string {
    return ((time - this.startedAt) / 1000).toFixed(1)
  }

  source(options: SourceOptions): Source {
    const source = new Source(options, this.now)
    this.sources.set(options.name, source)
    return source
  }

  /** Records a delivery. Returns `undefined` for a message that was not published like this, which is a violation. */
  deliver({ by, messageId, queue, redelivered, text }: Receipt): Delivered | undefined {
    const id = idOf(text)
    const [name = "", digits = ""] = id?.split(".") ?? []
    const source = this.sources.get(name)
    const number = Number(digits)
    if (source === undefined || source.outcomes[number] === undefined || source.queue !== queue || messageId !== id) {
      const what = `${JSON.stringify(text.slice(0, 80))} with message id ${JSON.stringify(messageId)}`
      this.violations.add("a message arrived that was not published like this", `${what} from ${queue}`)
      return undefined
    }
    const before = source.deliver(number, redelivered, by)
    if (before !== undefined) {
      source.late.push({ number, before, by, at: this.now() })
    }
    return { source, number, by }
  }

  /** Records that an acknowledgement was sent. */
  acknowledge({ by, number, source }: Delivered): void {
    source.acknowledgements[number]++
    source.acknowledgedBy[number] = by
  }

  /**
   * Records that a queue is being deleted. What is published to it before that has ended may be gone, although it was confirmed.
   * Returns what ends it.
   */
  deleting(queue: string): () => void {
    const deletion: Deletion = { queue, beganAt: this.now(), endedAt: Infinity }
    this.deletions.push(deletion)
    return () => {
      deletion.endedAt = this.now()
    }
  }

  /** Whether a queue was deleted, or may have been, since this time. */
  wasDeletedSince(queue: string, time: number): boolean {
    return this.deletions.some((deletion) => deletion.queue === queue && deletion.endedAt > time)
  }

  /** The sources whose confirmed messages have not all arrived yet. */
  get missing(): ReadonlyArray<string> {
    return [...this.sources.values()].flatMap((source) => {
      const deletedUntil = this.deletedUntil(source)
      const count = source.outcomes.filter((outcome, number) =>
        outcome === "confirmed" && source.deliveries[number] === 0 && source.startedAt[number] > deletedUntil
      ).length
      return count === 0 ? [] : [`${count} confirmed messages of ${source.name} have not arrived`]
    })
  }

  /** The ids of the confirmed messages to a queue that are not among these. */
  confirmedWithout(queue: string, ids: ReadonlySet<string>): ReadonlyArray<string> {
    return [...this.sources.values()].filter((source) => source.queue === queue).flatMap((source) =>
      source.outcomes.flatMap((outcome, number) => {
        const id = source.idOf(number)
        return outcome === "confirmed" && !ids.has(id) ? [id] : []
      })
    )
  }

  private deletedUntil({ queue }: Source): number {
    return this.deletions.findLast((deletion) => deletion.queue === queue)?.endedAt ?? -Infinity
  }

  /** Adds the violations that can be known only in the end, when all queues are empty. */
  check(): void {
    for (const source of this.sources.values()) this.checkSource(source)
  }

  private checkSource(source: Source): void {
    const deletedUntil = this.deletedUntil(source)
    for (const [number, outcome] of source.outcomes.entries()) {
      const deliveries = source.deliveries[number]
      const add = (kind: string) => this.violations.add(kind, source.idOf(number))
      if (outcome === "pending") add("a publish did not end")
      if (deliveries > 0 && impossible.has(outcome)) add(`a message was delivered although it was ${outcome}`)
      if (outcome === "confirmed" && source.startedAt[number] > deletedUntil) {
        if (deliveries === 0) add("a confirmed message was not delivered")
        else if (source.acknowledgements[number] === 0) add("a confirmed message was not acknowledged")
      }
      if (source.isSingle[number] && source.fresh[number] > 1) add("a message that was published once arrived twice")
    }
    for (const { at, before, by, number } of source.late) {
      // The first copy of a message that was published again may be held by a consumer that is lost, and come back later.
      const cameBack = source.deliveries[number] > source.fresh[number]
      if (cameBack || source.outOfOrder.has(number)) continue
      this.violations.add(
        "messages arrived in another order than they were published in",
        `${source.idOf(number)} after ${source.idOf(before)}, to ${by} at ${this.secondsOf(at)} s`
      )
    }
    for (const { at, by, number } of source.redeliveredToSame) {
      if (source.isSingle[number] && !this.losesAcknowledgements) {
        this.violations.add(
          "a message was redelivered to the consumer that acknowledged it",
          `${source.idOf(number)}, to ${by} at ${this.secondsOf(at)} s`
        )
      }
    }
  }

  get totals(): Totals {
    const outcomes = { pending: 0, confirmed: 0, committed: 0, unknown: 0, notSent: 0, nacked: 0, returned: 0 }
    let [published, deliveries, redelivered, publishedAgain, committedButLost] = [0, 0, 0, 0, 0]
    for (const source of this.sources.values()) {
      published += source.outcomes.length
      for (const [number, outcome] of source.outcomes.entries()) {
        outcomes[outcome]++
        if (outcome === "committed" && source.deliveries[number] === 0) committedButLost++
        deliveries += source.deliveries[number]
        const fresh = source.fresh[number]
        publishedAgain += Math.max(0, fresh - 1)
        // If the first delivery had the flag, all others with it are further ones.
        redelivered += Math.max(0, source.deliveries[number] - Math.max(1, fresh))
      }
    }
    return { published, outcomes, committedButLost, deliveries, duplicates: { redelivered, publishedAgain } }
  }
}
