/**
 * The outbound buffer of a session. All fibers encode into it.
 *
 * Everything that is encoded within one turn is sent in one socket write. The first bytes of a turn schedule the write as a microtask. A fiber
 * that loops without suspending delays microtasks, so above a threshold it is written inline. While the socket has no room, everything waits
 * for that.
 */
import { isReadonlyArrayNonEmpty } from "effect/Array"
import type * as Effect from "effect/Effect"
import type { Transport } from "../../AmqpTransport.ts"
import { ByteWriter } from "../../protocol/ByteWriter.ts"
import { frameMinSize } from "../../protocol/constants.ts"
import { encodeBodyFrames, encodeMethodFrame } from "../../protocol/frames.ts"
import type { Method } from "../../protocol/methods.generated.ts"
import { Signal } from "../common/signal.ts"
import type { Counts } from "../telemetry/counters.ts"
import { completeFrames } from "./detachedBodies.ts"
import { checkFrameSize } from "./frameSize.ts"
import { LargeBodies, turnBytes } from "./largeBodies.ts"

/** Above this size, in bytes, larger writes gain nothing. One socket write costs about as much as encoding 100 small messages. */
const flushBytes = 32 * 1024

/** Publishers wait while this many bytes are buffered, or written and not yet accepted by the socket. */
const highWaterBytes = 1024 * 1024

/** After this many writes in one turn of the event loop, the next one is in another turn: a socket may accept every write at once. */
const writesPerTurn = 16

const none: ReadonlyArray<number> = []

/** Holds frames back until the end of the turn, for example acknowledgements that can be merged. */
export interface HeldFrames {
  flush(): void
}

/** What the outbound buffer needs from its session. */
export interface OutboundHost {
  /** A publisher has begun to wait for room. */
  roomAwaited(): void
  /** The buffer of a body was transferred before all of it was sent, so the channel can no longer be used. */
  bodyDetached(channel: number): void
  /** Runs a step in the next turn of the event loop. */
  inNextTurn(step: () => void): void
  /** A write has thrown. */
  failed(error: unknown): void
}

export class Outbound {
  readonly writer = new ByteWriter()
  /** The largest frame that the broker accepts, in bytes; 0 means no limit. The session sets the negotiated value. */
  frameMax = frameMinSize
  /** How many socket writes were started. */
  writes = 0
  /** Why the broker blocks the connection (`connection.blocked`). `undefined` while it does not. */
  blocked: string | undefined
  /** Called when `blocked` changes, with its new value. */
  readonly blockedListeners = new Set<(reason: string | undefined) => void>()
  /** When the broker last unblocked the connection, in milliseconds of the monotonic clock. */
  readsSince = -Infinity

  private readonly counts: Counts
  private readonly host: OutboundHost
  private blockedBefore = 0
  private blockedSince: number | undefined
  private timedOutWhileBlocked = false
  /** The bytes of the write that the socket has not yet accepted. */
  private inWrite = 0
  private isScheduled = false
  /** Whether `wake` follows in this turn. */
  private isHeld = false
  private isClosed = false
  private transport: Transport | undefined
  /** Whether a write is not accepted yet, or continues in the next turn. */
  private isWriting = false
  /** Whether the socket has room, and the next write is left to the next turn. */
  private isContinuing = false
  private deferred: Array<HeldFrames> = []
  /** The listeners that wait for room, and the channel of each. */
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

  /** Where a channel encodes: behind its large message while one is being sent. */
  writerOf(channel: number): ByteWriter {
    return this.largeBodies.isUnused ? this.writer : this.largeBodies.writerOf(channel) ?? this.writer
  }

  /** Sends a method without content. If it throws an `EncodeError`, nothing is sent. */
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

  /** Adds the encoded frames to the output, which is sent at the end of the turn. */
  commit(writer: ByteWriter = this.writer): void {
    writer.commit()
    if (this.writer.pendingBytes >= flushBytes) this.wake()
    else this.schedule()
  }

  /**
   * Sends the body of a message whose method and header are encoded and not yet committed. A large body is sent in turns with those of other
   * channels, and meanwhile the channel has no room for another message. It must not change until the socket has accepted it. `confirms` is
   * the ledger in which the message is the last one.
   */
  commitBody(
    writer: ByteWriter,
    channel: number,
    body: Uint8Array,
    confirms?: { lastIsLeaving(): (() => void) | undefined }
  ): void {
    // A second large body is sent as a whole: reading the properties of its message may have sent the first one.
    if (body.length <= turnBytes || this.largeBodies.has(channel)) {
      encodeBodyFrames(writer, channel, body, this.frameMax)
    } else {
      writer.commit()
      this.largeBodies.add(channel, body, this.frameMax, confirms?.lastIsLeaving())
    }
    this.commit(writer)
  }

  /** Calls `held.flush` once, before the next write. */
  defer(held: HeldFrames): void {
    this.deferred.push(held)
    this.schedule()
  }

  // ---------------------------------------------------------------------------
  // large bodies
  // ---------------------------------------------------------------------------

  /** Whether a large message of the channel is not yet sent to its end. */
  isSending(channel: number): boolean {
    return this.largeBodies.has(channel)
  }

  /** Calls `listener` when no large body holds back the frames of the channel, so that they precede all that is sent later. */
  whenInOrder(channel: number, listener: () => void): void {
    this.largeBodies.whenMoved(channel, listener)
  }

  /** Waits until all large bodies are sent to their end. */
  readonly awaitBodies: Effect.Effect<void> = this.bodiesSent.until(() =>
    this.largeBodies.isEmpty || this.areBodiesStopped
  )

  /** Stops sending large bodies. They stay incomplete, and `isSending` stays true for their channels. */
  stopBodies(): void {
    this.areBodiesStopped = true
    this.bodiesSent.notify()
  }

  // ---------------------------------------------------------------------------
  // room
  // ---------------------------------------------------------------------------

  /**
   * Whether a publisher should send now on this channel. It should not while the channel has a large message: a message behind that
   * could not be withdrawn. Large messages of other channels do not matter.
   */
  hasRoom(channel: number): boolean {
    if (this.isClosed) return true
    return this.blocked === undefined && this.inWrite + this.writer.pendingBytes < highWaterBytes &&
      (this.largeBodies.isUnused || !this.largeBodies.has(channel))
  }

  /** Calls `listener` once, when a publisher may send on the channel or the session has ended. Returns a function that cancels this. */
  onceRoom(channel: number, listener: () => void): () => void {
    this.waiting.set(listener, channel)
    this.host.roomAwaited()
    return () => this.waiting.delete(listener)
  }

  /** Whether a publisher waits for room. */
  get isAwaited(): boolean {
    return this.waiting.size > 0
  }

  /** Calls listeners in their order while there is room. */
  private notifyRoom(): void {
    // A listener may fill the buffer at once, so that the listeners after it have to wait.
    for (const [listener, channel] of this.waiting) {
      // Other channels may have room while this one has a large message.
      if (!this.hasRoom(channel)) continue
      this.waiting.delete(listener)
      listener()
    }
  }

  // ---------------------------------------------------------------------------
  // blocked connections
  // ---------------------------------------------------------------------------

  /** The broker blocks or unblocks (`undefined`) the connection. `at` is the monotonic time in milliseconds. */
  setBlocked(reason: string | undefined, at: number): void {
    this.blockedBefore = this.blockedMillis(at)
    this.blockedSince = reason === undefined ? undefined : at
    this.blocked = reason
    if (reason === undefined) this.readsSince = at
    this.timedOutWhileBlocked = false
    for (const listener of this.blockedListeners) listener(reason)
    this.notifyRoom()
  }

  /** How long the broker has blocked the connection in total, in milliseconds. `now` is the monotonic time in milliseconds. */
  blockedMillis(now: number): number {
    return this.blockedBefore + (this.blockedSince === undefined ? 0 : Math.max(0, now - this.blockedSince))
  }

  /** A request timed out while the broker blocks the connection. Returns what to log, once per block. */
  noteTimeout(method: string): string | undefined {
    if (this.timedOutWhileBlocked) return undefined
    this.timedOutWhileBlocked = true
    return `${method} timed out because the broker blocks the connection (${this.blocked}). Until it unblocks the connection, it reads ` +
      "neither requests nor acknowledgements from it. Use a separate connection for publishing, so that others keep working."
  }

  // ---------------------------------------------------------------------------
  // writing
  // ---------------------------------------------------------------------------

  /** The connection is open. Writes what was encoded before. */
  start(transport: Transport): void {
    this.transport = transport
    this.wake()
  }

  /** From now on nothing is written until `wake`, which follows in this turn, or until there is enough. */
  hold(): void {
    this.isHeld = true
  }

  /** Writes now instead of at the end of the turn, if the socket has room. */
  wake(): void {
    this.isHeld = false
    if (!this.isWriting) this.write()
  }

  /**
   * Sends the last method of the session, on channel 0. If the socket has room, it is written in this synchronous step, even if the rest of a
   * large body was left to the next turn.
   */
  writeLast(method: Method): void {
    this.stopBodies()
    this.sendMethod(0, method)
    if (this.isContinuing) this.write()
    else this.wake()
  }

  /** The socket has room again. */
  drained(): void {
    try {
      this.accepted()
      if (this.hasLargeBodies) return this.continueInNextTurn()
      this.bodiesSent.notify()
    } catch (error) {
      return this.host.failed(error)
    }
    this.write()
  }

  /** The session has ended: no listener waits for room any longer. */
  close(): void {
    this.isClosed = true
    this.stopBodies()
    this.notifyRoom()
  }

  /**
   * Writes until there is nothing left, or the socket is full. Between two writes of large bodies others have a turn: a socket may accept each
   * write at once, and no other fiber could send then.
   */
  private write(): void {
    try {
      this.writeTo(this.transport)
    } catch (error) {
      this.host.failed(error)
    }
  }

  private writeTo(transport: Transport | undefined): void {
    if (transport === undefined) return
    this.isWriting = true
    this.isContinuing = false
    for (let written = 0; written < writesPerTurn; written++) {
      const chunks = this.take()
      if (!isReadonlyArrayNonEmpty(chunks)) {
        this.isWriting = false
        // The last large body may have been detached.
        if (!this.hasLargeBodies) this.bodiesSent.notify()
        return
      }
      this.writes++
      if (!transport.write(chunks)) return
      this.accepted()
      if (this.hasLargeBodies) break
      this.bodiesSent.notify()
    }
    this.continueInNextTurn()
  }

  private continueInNextTurn(): void {
    this.isContinuing = true
    this.host.inNextTurn(this.continueWriting)
  }

  private readonly continueWriting = (): void => {
    if (this.isContinuing) this.write()
  }

  private accepted(): void {
    this.counts.bytesWritten += this.inWrite
    this.inWrite = 0
    this.notifyRoom()
  }

  private take(): ReadonlyArray<Uint8Array> {
    const deferred = this.deferred
    this.deferred = []
    for (const held of deferred) held.flush()
    const detached = this.hasLargeBodies ? this.largeBodies.moveTo(this.writer) : none
    this.inWrite = this.writer.pendingBytes
    const { chunks, sizes } = this.writer.takeWithSizes()
    if (detached.length === 0 && chunks.every((chunk, index) => chunk.length === sizes[index])) return chunks
    const { bytes, incompleteChannels } = completeFrames(chunks, sizes)
    for (const channel of new Set([...detached, ...incompleteChannels])) {
      this.largeBodies.discard(channel)
      this.host.bodyDetached(channel)
    }
    this.inWrite = bytes.length
    return bytes.length === 0 ? [] : [bytes]
  }

  private get hasLargeBodies(): boolean {
    return !this.largeBodies.isEmpty && !this.areBodiesStopped
  }

  private schedule(): void {
    if (this.isScheduled || this.isHeld || this.isWriting || this.transport === undefined) return
    this.isScheduled = true
    queueMicrotask(this.onTurnEnd)
  }

  private readonly onTurnEnd = (): void => {
    this.isScheduled = false
    this.wake()
  }
}
