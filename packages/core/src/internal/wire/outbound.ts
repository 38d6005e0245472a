/**
 * The outbound buffer of a session: everyone encodes into it, only the writer fiber takes out of it.
 *
 * What is written within one turn leaves in one socket write. The first bytes of a turn schedule the writer on a
 * microtask; a fiber that loops without suspending keeps microtasks waiting, so past a threshold the writer is resumed
 * inline.
 */
import * as Effect from "effect/Effect"
import { ByteWriter } from "../../protocol/ByteWriter.ts"
import { encodeBodyFrames } from "../../protocol/frames.ts"
import type { Counts } from "../telemetry/counters.ts"
import { salvage } from "./detachedBodies.ts"
import { Lanes, turnBytes } from "./largeBodies.ts"

/** A socket write costs about as much as encoding a hundred small messages; past this size more gain nothing. */
const flushBytes = 32 * 1024

/** Publishers wait while this much is written or on its way into the socket, in bytes. */
const highWaterBytes = 1024 * 1024

/** Something that holds frames back until the turn ends, such as acknowledgements that can still be merged. */
export interface Deferred {
  flush(): void
}

export class Outbound {
  readonly writer = new ByteWriter()
  /** Whether anything left since the heartbeat fiber last asked. */
  active = false
  /** Why the broker asks publishers to pause (`connection.blocked`), while it does. */
  blocked: string | undefined
  /** Who hears when that changes. */
  readonly blockedListeners = new Set<(reason: string | undefined) => void>()

  private readonly counts: Counts
  private blockedBefore = 0
  private blockedSince: number | undefined
  private timedOutWhileBlocked = false
  private taken = 0
  private scheduled = false
  private closed = false
  private wakeWriter: (() => void) | undefined
  private deferred: Array<Deferred> = []
  /** Who waits for room, and for which channel. */
  private readonly waiting = new Map<() => void, number>()
  private readonly lanes = new Lanes()
  private lanesStopped = false
  private onLanesEmpty: (() => void) | undefined
  /** Called when somebody begins to wait for room. */
  onWaiting: () => void = () => {}
  /** Called for a channel of which a message can't be sent to its end, as its bytes are gone. */
  onLost: (channel: number) => void = () => {}

  constructor(counts: Counts) {
    this.counts = counts
  }

  /** Where a channel encodes: behind its own large message while one is on its way. */
  writerOf(channel: number): ByteWriter {
    return this.lanes.isUnused ? this.writer : this.lanes.writerOf(channel) ?? this.writer
  }

  /** Makes what was encoded part of the output. */
  commit(writer: ByteWriter = this.writer): void {
    writer.commit()
    if (this.writer.pendingBytes >= flushBytes) this.wake()
    else this.schedule()
  }

  /**
   * Sends the body of a message whose method and header a channel encoded and did not yet commit. A large one goes in turns with
   * those of other channels, and must not change until it left the socket; until then the channel has no room for another.
   * `confirms` are those that a large message is the last of.
   */
  commitBody(
    writer: ByteWriter,
    channel: number,
    body: Uint8Array,
    frameMax: number,
    confirms?: { lastIsLeaving(): (() => void) | undefined }
  ): void {
    // A second one goes whole: what was read for it may have sent the first one.
    if (body.length <= turnBytes || this.lanes.has(channel)) {
      encodeBodyFrames(writer, channel, body, frameMax)
    } else {
      writer.commit()
      this.lanes.add(channel, body, frameMax, confirms?.lastIsLeaving())
    }
    this.commit(writer)
  }

  /** Whether a large message of the channel is on its way of which the end is not. */
  isSending(channel: number): boolean {
    return this.lanes.has(channel)
  }

  /** Calls `listener` when everything that the channel has sent comes before what others send from then on, or at once. */
  whenInOrder(channel: number, listener: () => void): void {
    this.lanes.whenMoved(channel, listener)
  }

  /** Waits until all that is left of large messages is in a write. */
  readonly awaitLanes: Effect.Effect<void> = Effect.callback((resume) => {
    if (this.lanes.isEmpty || this.lanesStopped) return resume(Effect.void)
    this.onLanesEmpty = () => resume(Effect.void)
    return Effect.sync(() => {
      this.onLanesEmpty = undefined
    })
  })

  /** Nothing more of large messages is sent. They stay unfinished, which `isSending` tells. */
  stopLanes(): void {
    this.lanesStopped = true
    this.onLanesEmpty?.()
  }

  /** Has `deferred.flush` called once before the next write. */
  defer(deferred: Deferred): void {
    this.deferred.push(deferred)
    this.schedule()
  }

  /** Starts the write of the turn now instead of at its end. */
  wake(): void {
    const resume = this.wakeWriter
    if (resume === undefined) return
    this.wakeWriter = undefined
    resume()
  }

  /**
   * Whether a publisher should send now on this channel: not behind a large message of its own, where nothing could be withdrawn
   * any more, while those of other channels don't count.
   */
  hasRoom(channel: number): boolean {
    if (this.closed) return true
    return this.blocked === undefined && this.taken + this.writer.pendingBytes < highWaterBytes &&
      (this.lanes.isUnused || !this.lanes.has(channel))
  }

  /**
   * Calls `waiter` once, when a publisher may send again on the channel or there is nothing to send to any more. Answers how to
   * take that back.
   */
  onceRoom(channel: number, waiter: () => void): () => void {
    this.waiting.set(waiter, channel)
    this.onWaiting()
    return () => this.waiting.delete(waiter)
  }

  /** Whether somebody waits for room. */
  get isAwaited(): boolean {
    return this.waiting.size > 0
  }

  /** Lets those go on who waited, as far as there is room. */
  releaseRoom(): void {
    // Whoever is resumed fills the buffer again at once, so those behind go on waiting, in their order.
    for (const [waiter, channel] of this.waiting) {
      // Another channel may have room when this one is held up by its own large message.
      if (!this.hasRoom(channel)) continue
      this.waiting.delete(waiter)
      waiter()
    }
  }

  /** `at` is the monotonic time, in milliseconds. */
  setBlocked(reason: string | undefined, at: number): void {
    this.blockedBefore = this.blockedMillis(at)
    this.blockedSince = reason === undefined ? undefined : at
    this.blocked = reason
    this.timedOutWhileBlocked = false
    for (const listener of this.blockedListeners) listener(reason)
    this.releaseRoom()
  }

  /** For how long the broker has blocked the connection, all in all and until this monotonic time, in milliseconds. */
  blockedMillis(now: number): number {
    return this.blockedBefore + (this.blockedSince === undefined ? 0 : Math.max(0, now - this.blockedSince))
  }

  /** A request timed out while the broker blocks the connection. Returns what to log: one line for each time that it does. */
  noteTimeout(method: string): string | undefined {
    if (this.timedOutWhileBlocked) return undefined
    this.timedOutWhileBlocked = true
    return `${method} timed out because the broker blocks the connection (${this.blocked}): until that ends it reads nothing ` +
      "that is sent there, neither requests nor acknowledgements. Publish on a connection of its own to keep others working."
  }

  /** Nothing is written any more; nobody waits any more. */
  close(): void {
    this.closed = true
    this.stopLanes()
    this.releaseRoom()
  }

  /** The writer fiber's loop: `write` answers when the socket took the bytes. */
  readonly drainTo = <E>(write: (chunks: readonly [Uint8Array, ...Array<Uint8Array>]) => Effect.Effect<void, E>) =>
    Effect.gen({ self: this }, function*() {
      while (true) {
        const [first, ...rest] = this.take()
        if (first === undefined) {
          yield* this.awaitBytes
          continue
        }
        this.active = true
        yield* write([first, ...rest])
        this.counts.bytesWritten += this.taken
        this.taken = 0
        this.releaseRoom()
        if (this.hasTurns) {
          // A socket may take all there is at once, and then nobody else would come to write between two turns.
          yield* Effect.yieldNow
        } else {
          this.onLanesEmpty?.()
        }
      }
    })

  private readonly awaitBytes: Effect.Effect<void> = Effect.callback((resume) => {
    if (this.writer.pendingBytes > 0 || this.deferred.length > 0 || this.hasTurns) return resume(Effect.void)
    this.wakeWriter = () => resume(Effect.void)
    return Effect.sync(() => {
      this.wakeWriter = undefined
    })
  })

  private take(): ReadonlyArray<Uint8Array> {
    const deferred = this.deferred
    this.deferred = []
    for (const one of deferred) one.flush()
    const lost = new Set<number>()
    if (this.hasTurns) this.lanes.moveTo(this.writer, lost)
    this.taken = this.writer.pendingBytes
    const { chunks, sizes } = this.writer.takeWithSizes()
    if (lost.size === 0 && chunks.every((chunk, index) => chunk.length === sizes[index])) return chunks
    const { bytes, channels } = salvage(chunks, sizes)
    for (const channel of [...lost, ...channels]) {
      this.lanes.lose(channel)
      this.onLost(channel)
    }
    this.taken = bytes.length
    return bytes.length === 0 ? [] : [bytes]
  }

  private get hasTurns(): boolean {
    return !this.lanes.isEmpty && !this.lanesStopped
  }

  private schedule(): void {
    if (this.scheduled || this.wakeWriter === undefined) return
    this.scheduled = true
    queueMicrotask(this.onTurnEnd)
  }

  private readonly onTurnEnd = (): void => {
    this.scheduled = false
    this.wake()
  }
}
