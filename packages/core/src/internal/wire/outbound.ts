/**
 * The outbound buffer of a session: everyone encodes into it, only the writer fiber takes out of it.
 *
 * What is written within one turn leaves in one socket write. The first bytes of a turn schedule the writer on a microtask; a fiber that
 * loops without suspending keeps microtasks waiting, so past a threshold the writer is resumed inline.
 */
import * as Effect from "effect/Effect"
import { ByteWriter } from "../../protocol/ByteWriter.ts"
import { frameMinSize } from "../../protocol/constants.ts"
import { encodeBodyFrames, encodeMethodFrame } from "../../protocol/frames.ts"
import type { Method } from "../../protocol/methods.generated.ts"
import { Signal } from "../common/signal.ts"
import type { Counts } from "../telemetry/counters.ts"
import { completeFrames } from "./detachedBodies.ts"
import { checkFrameSize } from "./frameSize.ts"
import { LargeBodies, turnBytes } from "./largeBodies.ts"

/** A socket write costs about as much as encoding a hundred small messages; past this size more gain nothing. */
const flushBytes = 32 * 1024

/** Publishers wait while this much is written or on its way into the socket, in bytes. */
const highWaterBytes = 1024 * 1024

/** Something that holds frames back until the turn ends, such as acknowledgements that can still be merged. */
export interface Deferred {
  flush(): void
}

/** What the session does for its outbound buffer. */
export interface OutboundHost {
  /** A publisher began to wait for room: what the broker sends may make some. */
  roomAwaited(): void
  /** The bytes of a message were detached before all of it was sent, so the channel cannot be used any more. */
  bodyDetached(channel: number): void
}

export class Outbound {
  readonly writer = new ByteWriter()
  /** The largest frame that the broker accepts, in bytes; 0: no limit. The session sets what was negotiated. */
  frameMax = frameMinSize
  /** How many writes have been handed to the socket. */
  writes = 0
  /** Why the broker asks publishers to pause (`connection.blocked`), while it does. */
  blocked: string | undefined
  /** Called with the reason when that changes. */
  readonly blockedListeners = new Set<(reason: string | undefined) => void>()

  private readonly counts: Counts
  private readonly host: OutboundHost
  private blockedBefore = 0
  private blockedSince: number | undefined
  private timedOutWhileBlocked = false
  private taken = 0
  private isScheduled = false
  private isClosed = false
  private wakeWriter: (() => void) | undefined
  private deferred: Array<Deferred> = []
  /** What waits for room, and for which channel. */
  private readonly waiting = new Map<() => void, number>()
  private readonly largeBodies = new LargeBodies()
  private areBodiesStopped = false
  private readonly bodiesSent = new Signal()

  constructor(counts: Counts, host: OutboundHost) {
    this.counts = counts
    this.host = host
  }

  // ---------------------------------------------------------------------------
  // encoding
  // ---------------------------------------------------------------------------

  /** Where a channel encodes: behind its own large message while one is on its way. */
  writerOf(channel: number): ByteWriter {
    return this.largeBodies.isUnused ? this.writer : this.largeBodies.writerOf(channel) ?? this.writer
  }

  /** Sends a method that has no content. Throws an `EncodeError`, and then nothing of it is sent. */
  sendMethod(channel: number, method: Method, frameMax = this.frameMax): void {
    const writer = this.writerOf(channel)
    try {
      encodeMethodFrame(writer, channel, method)
      checkFrameSize(method._tag, writer.provisionalBytes, frameMax)
    } catch (error) {
      writer.rollback()
      throw error
    }
    this.commit(writer)
  }

  /** Makes what was encoded part of the output. */
  commit(writer: ByteWriter = this.writer): void {
    writer.commit()
    if (this.writer.pendingBytes >= flushBytes) this.wake()
    else this.schedule()
  }

  /**
   * Sends the body of a message whose method and header a channel has encoded and not yet committed. A large one goes in turns with those
   * of other channels, and must not change until it has left through the socket; until then the channel has no room for another one.
   * `confirms` are those that a large message is the last of.
   */
  commitBody(
    writer: ByteWriter,
    channel: number,
    body: Uint8Array,
    confirms?: { lastIsLeaving(): (() => void) | undefined }
  ): void {
    // A second large one goes as a whole: what was read for it may have sent the first one.
    if (body.length <= turnBytes || this.largeBodies.has(channel)) {
      encodeBodyFrames(writer, channel, body, this.frameMax)
    } else {
      writer.commit()
      this.largeBodies.add(channel, body, this.frameMax, confirms?.lastIsLeaving())
    }
    this.commit(writer)
  }

  /** Has `deferred.flush` called once before the next write. */
  defer(deferred: Deferred): void {
    this.deferred.push(deferred)
    this.schedule()
  }

  // ---------------------------------------------------------------------------
  // large bodies
  // ---------------------------------------------------------------------------

  /** Whether the end of a large message of the channel is still to be sent. */
  isSending(channel: number): boolean {
    return this.largeBodies.has(channel)
  }

  /** Calls `listener` when everything that the channel has sent comes before what others send from then on, or at once. */
  whenInOrder(channel: number, listener: () => void): void {
    this.largeBodies.whenMoved(channel, listener)
  }

  /** Waits until the rest of all large bodies is in a write. */
  readonly awaitBodies: Effect.Effect<void> = this.bodiesSent.until(() =>
    this.largeBodies.isEmpty || this.areBodiesStopped
  )

  /** Sends nothing more of large bodies. They stay incomplete, which `isSending` tells. */
  stopBodies(): void {
    this.areBodiesStopped = true
    this.bodiesSent.notify()
  }

  // ---------------------------------------------------------------------------
  // room
  // ---------------------------------------------------------------------------

  /**
   * Whether a publisher should send now on this channel: not behind a large message of its own, where nothing could be withdrawn any more,
   * while those of other channels do not count.
   */
  hasRoom(channel: number): boolean {
    if (this.isClosed) return true
    return this.blocked === undefined && this.taken + this.writer.pendingBytes < highWaterBytes &&
      (this.largeBodies.isUnused || !this.largeBodies.has(channel))
  }

  /** Calls `waiter` once, when a publisher may send again on the channel or nothing can be sent any more. Returns how to cancel that. */
  onceRoom(channel: number, waiter: () => void): () => void {
    this.waiting.set(waiter, channel)
    this.host.roomAwaited()
    return () => this.waiting.delete(waiter)
  }

  /** Whether something waits for room. */
  get isAwaited(): boolean {
    return this.waiting.size > 0
  }

  /** Resumes what waits for room, as long as there is some. */
  releaseRoom(): void {
    // What is resumed fills the buffer again at once, so those behind it go on waiting, in their order.
    for (const [waiter, channel] of this.waiting) {
      // Another channel may have room when this one is held up by its own large message.
      if (!this.hasRoom(channel)) continue
      this.waiting.delete(waiter)
      waiter()
    }
  }

  // ---------------------------------------------------------------------------
  // blocked connections
  // ---------------------------------------------------------------------------

  /** `at` is the monotonic time, in milliseconds. */
  setBlocked(reason: string | undefined, at: number): void {
    this.blockedBefore = this.blockedMillis(at)
    this.blockedSince = reason === undefined ? undefined : at
    this.blocked = reason
    this.timedOutWhileBlocked = false
    for (const listener of this.blockedListeners) listener(reason)
    this.releaseRoom()
  }

  /** How long the broker has blocked the connection in total, until this monotonic time, in milliseconds. */
  blockedMillis(now: number): number {
    return this.blockedBefore + (this.blockedSince === undefined ? 0 : Math.max(0, now - this.blockedSince))
  }

  /** A request timed out while the broker blocks the connection. Returns what to log, once for each time that it does. */
  noteTimeout(method: string): string | undefined {
    if (this.timedOutWhileBlocked) return undefined
    this.timedOutWhileBlocked = true
    return `${method} timed out because the broker blocks the connection (${this.blocked}): until that ends it reads nothing ` +
      "that is sent there, neither requests nor acknowledgements. Publish on a connection of its own to keep others working."
  }

  // ---------------------------------------------------------------------------
  // the writer fiber
  // ---------------------------------------------------------------------------

  /** Starts the write of the turn now instead of when it ends. */
  wake(): void {
    const resume = this.wakeWriter
    if (resume === undefined) return
    this.wakeWriter = undefined
    resume()
  }

  /** Writes nothing more; nothing waits any more. */
  close(): void {
    this.isClosed = true
    this.stopBodies()
    this.releaseRoom()
  }

  /** The writer fiber's loop: `write` succeeds when the socket has taken the bytes. */
  readonly drainTo = <E>(write: (chunks: readonly [Uint8Array, ...Array<Uint8Array>]) => Effect.Effect<void, E>) =>
    Effect.gen({ self: this }, function*() {
      while (true) {
        const [first, ...rest] = this.take()
        if (first === undefined) {
          yield* this.awaitBytes
          continue
        }
        this.writes++
        yield* write([first, ...rest])
        this.counts.bytesWritten += this.taken
        this.taken = 0
        this.releaseRoom()
        // A socket may take everything at once, and then no other fiber would get to write between two turns.
        if (this.hasTurns) yield* Effect.yieldNow
        else this.bodiesSent.notify()
      }
    })

  // Only the writer fiber waits here.
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
    const detached = new Set<number>()
    if (this.hasTurns) this.largeBodies.moveTo(this.writer, detached)
    this.taken = this.writer.pendingBytes
    const { chunks, sizes } = this.writer.takeWithSizes()
    if (detached.size === 0 && chunks.every((chunk, index) => chunk.length === sizes[index])) return chunks
    const { bytes, incompleteChannels } = completeFrames(chunks, sizes)
    for (const channel of [...detached, ...incompleteChannels]) {
      this.largeBodies.discard(channel)
      this.host.bodyDetached(channel)
    }
    this.taken = bytes.length
    return bytes.length === 0 ? [] : [bytes]
  }

  private get hasTurns(): boolean {
    return !this.largeBodies.isEmpty && !this.areBodiesStopped
  }

  private schedule(): void {
    if (this.isScheduled || this.wakeWriter === undefined) return
    this.isScheduled = true
    queueMicrotask(this.onTurnEnd)
  }

  private readonly onTurnEnd = (): void => {
    this.isScheduled = false
    this.wake()
  }
}
