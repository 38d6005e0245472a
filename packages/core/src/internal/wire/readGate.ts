/**
 * Whether the connection reads from its socket.
 *
 * To a consumer without acknowledgements or without a prefetch, the broker may send more than its program handles. While the inbox of such a
 * consumer is full, the connection does not read, so that the broker has to wait. But a fiber that waits for a reply must get it, or the
 * program might never take the messages: while a reply is expected, the connection reads.
 */
import * as Effect from "effect/Effect"
import { Signal } from "../common/signal.ts"

/** Messages that have arrived and that the program has not taken. */
export interface BufferedMessages {
  readonly buffered: number
  /** Which consumer has them, for logs. */
  readonly label?: string
}

export interface ReadGateHost {
  /** Whether a fiber waits for something that the broker has to send. */
  readonly expectsReply: boolean
  /** Runs an effect for as long as the session. */
  background(effect: Effect.Effect<void>): void
  warn(message: string): void
}

/** A pause of this length is logged, in milliseconds. */
const longPause = 10_000

const pausedFor = ({ buffered, label = "a consumer without acknowledgements" }: BufferedMessages): string =>
  `Nothing has been read from the AMQP connection for ${longPause / 1000} s, because ${label} ` +
  `holds ${buffered} messages that the program has not taken. Other consumers of the connection receive nothing either. ` +
  "Take the messages faster, or consume with acknowledgements and a prefetch."

export class ReadGate {
  private readonly host: ReadGateHost
  private readonly full = new Set<BufferedMessages>()
  private readonly changed = new Signal()
  /** How often a full inbox was emptied. */
  private releases = 0
  private isWatched = false

  constructor(host: ReadGateHost) {
    this.host = host
  }

  get isOpen(): boolean {
    return this.full.size === 0 || this.host.expectsReply
  }

  /** Calls `listener` once, when the gate is open. */
  whenOpen(listener: () => void): void {
    if (this.isOpen) listener()
    else this.changed.once(() => this.whenOpen(listener))
  }

  /** The inbox is full: until it is released, the connection reads only while a reply is expected. */
  close(inbox: BufferedMessages): void {
    this.full.add(inbox)
    if (this.isWatched) return
    this.isWatched = true
    this.host.background(this.watch)
  }

  /** The inbox has room again, or is no longer used. */
  release(inbox: BufferedMessages): void {
    if (!this.full.delete(inbox)) return
    this.releases++
    this.changed.notify()
  }

  /** A fiber has begun to wait for the broker. */
  replyExpected(): void {
    this.changed.notify()
  }

  /** Logs a warning if the gate stays closed for a long time, once for each such time. */
  private readonly watch: Effect.Effect<void> = Effect.gen({ self: this }, function*() {
    const { releases } = this
    yield* Effect.sleep(longPause)
    this.isWatched = false
    const [inbox] = this.full
    if (inbox === undefined) return
    if (releases === this.releases && !this.isOpen) this.host.warn(pausedFor(inbox))
    // The connection has read in the meantime.
    else this.close(inbox)
  })
}
