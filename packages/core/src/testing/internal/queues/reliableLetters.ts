/**
 * Dead letters of a quorum queue that loses none (`x-dead-letter-strategy: at-least-once`, RabbitMQ, "At-Least-Once Dead Lettering"):
 * it keeps each until all queues have it that it belongs to, and until there is such a queue.
 */
import { Alarm } from "../common/alarm.ts"
import type { Message } from "../common/message.ts"
import { again } from "./deadLetters.ts"
import type { Queue, QueueHost } from "./queue.ts"

/** How many letters are tried at a time: those behind them wait. */
const prefetch = 32

/** How long until those are tried again that did not arrive, in milliseconds. */
const retryMillis = 180_000

interface Letter {
  message: Message
  /** The queues that have it. */
  readonly taken: Set<Queue>
  /** When some queue was to have it last, in milliseconds since 1970. */
  tried: number | undefined
}

export class ReliableLetters {
  private readonly host: QueueHost
  private readonly sizeOf: (letter: Message) => number
  private readonly retry: Alarm
  /** The first ones are those that were tried. */
  private letters: ReadonlyArray<Letter> = []
  private untried: Array<Message> = []
  private isTrying = false

  constructor(host: QueueHost, sizeOf: (letter: Message) => number) {
    this.host = host
    this.sizeOf = sizeOf
    this.retry = new Alarm(host.timers, () => this.tryAgain())
  }

  get length(): number {
    return this.letters.length + this.untried.length
  }

  /** What they count for `x-max-length-bytes`. */
  get bytes(): number {
    const sum = (total: number, letter: Message): number => total + this.sizeOf(letter)
    return this.letters.map(({ message }) => message).concat(this.untried).reduce(sum, 0)
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

  /** A letter that arrives may be what another one in turn is dropped for. */
  private tryNext(): void {
    if (this.isTrying) return
    this.isTrying = true
    try {
      while (this.letters.length < prefetch) {
        const message = this.untried.shift()
        if (message === undefined) break
        const letter: Letter = { message, taken: new Set(), tried: undefined }
        if (this.hasArrived(letter)) continue
        if (this.letters.length === 0) this.wait()
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
      letter.message = again(letter.message, this.host.rules)
      return this.hasArrived(letter)
    }))
    this.letters = this.letters.filter((letter) => !arrived.has(letter))
    if (this.letters.length > 0) this.wait()
    this.tryNext()
  }

  private hasArrived(letter: Letter): boolean {
    const outcome = this.host.deadLetter(letter.message, letter.taken)
    if (outcome !== "no queue") letter.tried = this.host.timers.now()
    return outcome === "arrived" || (outcome === "no queue" && letter.taken.size > 0)
  }

  private wait(): void {
    this.retry.set(this.host.timers.now() + retryMillis)
  }
}
