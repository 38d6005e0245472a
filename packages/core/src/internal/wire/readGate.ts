/**
 * Whether the connection reads from its socket.
 *
 * A consumer without acknowledgements, or without a prefetch limit, can be sent more than its program handles. When its inbox is full,
 * nothing is read, so that the broker has to wait. But a fiber that waits for a reply must get it, or the inbox might never be emptied: while
 * a reply is expected, the connection reads on.
 */
import * as Effect from "effect/Effect"
import { Signal } from "../common/signal.ts"

/** Messages that have arrived and that no program has taken. */
export interface Inbox {
  readonly buffered: number
  /** What it belongs to, for logs. */
  readonly label?: string
}

export interface ReadGateHost {
  /** Whether someone waits for something that the broker has to send. */
  readonly expectsReply: boolean
  /** Runs an effect for as long as the session. */
  background(effect: Effect.Effect<void>): void
  warn(message: string): void
}

/** A reader that is paused for this long is worth a line in the log, in milliseconds. */
const longPause = 10_000

const pausedFor = ({ buffered, label = "a consumer without acknowledgements" }: Inbox): string =>
  `Nothing has been read from the AMQP connection for ${longPause / 1000} s: ${label} ` +
  `holds ${buffered} messages that the program has not taken. Other consumers of the connection get nothing either. ` +
  "Take them faster, or consume with acknowledgements and a prefetch count."

export class ReadGate {
  private readonly host: ReadGateHost
  private readonly full = new Set<Inbox>()
  private readonly opened = new Signal()
  /** How often an inbox was full and no longer is. */
  private emptied = 0
  private isWatched = false

  constructor(host: ReadGateHost) {
    this.host = host
  }

  get isOpen(): boolean {
    return this.full.size === 0 || this.host.expectsReply
  }

  /** Waits until the gate may be open. */
  readonly awaitOpen: Effect.Effect<void> = this.opened.until(() => this.isOpen)

  /** The inbox is full: nothing is read until it is released, or while a reply is expected. */
  close(inbox: Inbox): void {
    this.full.add(inbox)
    if (this.isWatched) return
    this.isWatched = true
    this.host.background(this.watch)
  }

  /** The inbox has room again, or is not used any more. */
  release(inbox: Inbox): void {
    if (!this.full.delete(inbox)) return
    this.emptied++
    this.opened.notify()
  }

  /** To be called whenever something begins to wait for the broker. */
  replyExpected(): void {
    this.opened.notify()
  }

  /** Warns of a long pause, once for each. */
  private readonly watch: Effect.Effect<void> = Effect.gen({ self: this }, function*() {
    const { emptied } = this
    yield* Effect.sleep(longPause)
    this.isWatched = false
    const [inbox] = this.full
    if (inbox === undefined) return
    if (emptied === this.emptied && !this.isOpen) this.host.warn(pausedFor(inbox))
    // It was read in between, and the gate is closed again.
    else this.close(inbox)
  })
}
