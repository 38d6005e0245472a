/**
 * Dead letters of a quorum queue with `x-dead-letter-strategy: at-least-once` (RabbitMQ, "At-Least-Once Dead Lettering"): the queue keeps
 * each of them until it has arrived in all queues that it is routed to, and until there is such a queue.
 */
import type { Message } from "../common/message.ts"
import { MovableTimer } from "../common/movableTimer.ts"
import { republished } from "./deadLetters.ts"
import type { LengthLimits, Load } from "./lengthLimits.ts"
import type { Queue, QueueHost } from "./queue.ts"

/** How many letters are tried at a time. Those behind them wait. */
const prefetch = 32

/** The interval between two attempts, in milliseconds. */
const retryMillis = 180_000

interface Letter {
  message: Message
  /** The queues that it has arrived in. */
  readonly taken: Set<Queue>
  /** When it was last routed to a queue, in milliseconds since 1970. */
  tried: number | undefined
}

export class AtLeastOnceDeadLetters implements Load {
  private readonly host: QueueHost
  private readonly limits: LengthLimits
  private readonly retry: MovableTimer
  /** The letters that are being tried, which come before the untried ones. */
  private letters: ReadonlyArray<Letter> = []
  private untried: Array<Message> = []
  private isTrying = false

  constructor(host: QueueHost, limits: LengthLimits) {
    this.host = host
    this.limits = limits
    this.retry = new MovableTimer(host.timers, () => this.tryAgain())
  }

  get length(): number {
    return this.letters.length + this.untried.length
  }

  get bytes(): number {
    return this.letters.map(({ message }) => message).concat(this.untried)
      .reduce((sum, message) => sum + this.limits.sizeOf(message), 0)
  }

  add(letter: Message): void {
    this.untried.push(letter)
    this.host.afterAllQueues(() => this.tryNext())
  }

  clear(): void {
    this.letters = []
    this.untried = []
    this.retry.clear()
  }

  /** The arrival of a letter may make a queue drop another one, which is added meanwhile. */
  private tryNext(): void {
    if (this.isTrying) return
    this.isTrying = true
    try {
      while (this.letters.length < prefetch) {
        const message = this.untried.shift()
        if (message === undefined) break
        const letter: Letter = { message, taken: new Set(), tried: undefined }
        if (this.hasArrived(letter)) continue
        if (this.letters.length === 0) this.scheduleRetry()
        this.letters = [...this.letters, letter]
      }
    } finally {
      this.isTrying = false
    }
  }

  private tryAgain(): void {
    const now = this.host.timers.now()
    const isDue = ({ tried }: Letter): boolean => tried === undefined || tried + retryMillis <= now
    const arrived = new Set(this.letters.filter((letter) => {
      if (!isDue(letter)) return false
      letter.message = republished(letter.message, this.host.rules)
      return this.hasArrived(letter)
    }))
    this.letters = this.letters.filter((letter) => !arrived.has(letter))
    if (this.letters.length > 0) this.scheduleRetry()
    this.tryNext()
  }

  private hasArrived(letter: Letter): boolean {
    const outcome = this.host.deadLetter(letter.message, letter.taken)
    if (outcome !== "no queue") letter.tried = this.host.timers.now()
    return outcome === "arrived" || (outcome === "no queue" && letter.taken.size > 0)
  }

  private scheduleRetry(): void {
    this.retry.moveTo(this.host.timers.now() + retryMillis)
  }
}
