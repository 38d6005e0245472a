/** A connection in memory between a client in this process and the broker: both of its ends, and its faults. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Socket from "effect/socket/Socket"
import { concat } from "../../../protocol/bytes.ts"
import type { Direction } from "../../AmqpBroker.ts"
import type { Timers } from "../common/timers.ts"
import type { ServerConnection } from "../server/connection.ts"
import { windowBytes } from "../server/transport.ts"
import type { Transport } from "../server/transport.ts"
import { Pipe } from "./pipe.ts"
import { closedError, resetError } from "./socketErrors.ts"

/** How the network behaves from the first byte on. */
export interface LinkOptions {
  /** How long bytes take in each direction, in milliseconds. */
  readonly latencyMillis: number
  /** How many bytes the client reads at a time. */
  readonly readSize: number
  /** After how many bytes from the client the connection is reset. */
  readonly cutAfterSent: number
  /** After how many bytes for the client the connection is reset. */
  readonly cutAfterReceived: number
}

export class MemoryLink implements Transport {
  readonly connection: ServerConnection
  private readonly toClient: Pipe
  private readonly toBroker: Pipe
  private readonly step: <A>(action: () => A) => A
  private readonly readSize: number
  /** What has arrived and the client has not read. */
  private arrived: Array<Uint8Array> = []
  private arrivedBytes = 0
  /** Whether the connection waits for `drained`. */
  private congested = false
  private end: Socket.SocketError | undefined
  private reader: (() => void) | undefined
  private isWaking = false
  private readonly writers = new Set<() => void>()
  /** Whether the broker closes when everything that it sent has arrived. */
  private closing = false

  constructor(
    options: LinkOptions,
    timers: Timers,
    step: <A>(action: () => A) => A,
    connect: (transport: Transport) => ServerConnection
  ) {
    const { cutAfterReceived, cutAfterSent, latencyMillis, readSize } = options
    const onCut = (): void => this.cut()
    this.step = step
    this.readSize = readSize
    this.toClient = new Pipe({
      timers,
      latencyMillis,
      budget: cutAfterReceived,
      onBytes: (bytes) => this.arrive(bytes),
      onCut
    })
    this.toBroker = new Pipe({
      timers,
      latencyMillis,
      budget: cutAfterSent,
      onBytes: (bytes) => {
        this.connection.receive(bytes)
        this.releaseWriters()
      },
      onCut
    })
    this.connection = connect(this)
  }

  // ---------------------------------------------------------------------------
  // the broker's end
  // ---------------------------------------------------------------------------

  isCongested(bytesToCome: number): boolean {
    this.congested = this.arrivedBytes + this.toClient.pending + bytesToCome >= windowBytes
    return this.congested
  }

  send(chunks: ReadonlyArray<Uint8Array>): void {
    for (const bytes of chunks) this.toClient.push(bytes)
  }

  pauseReading(): void {
    this.toBroker.hold("pause")
  }

  resumeReading(): void {
    this.toBroker.release("pause")
  }

  close(): void {
    this.closing = true
    if (this.toClient.pending === 0) this.finish(closedError(1000))
  }

  private arrive(bytes: Uint8Array): void {
    this.arrivedBytes += bytes.length
    for (let start = 0; start < bytes.length; start += this.readSize) {
      this.arrived.push(this.readSize >= bytes.length ? bytes : bytes.subarray(start, start + this.readSize))
    }
    this.wakeReader()
    if (this.closing && this.toClient.pending === 0) this.finish(closedError(1000))
  }

  /**
   * As with any network, the client reads after its own synchronous code. A writer does not expect a reply before it returns, and neither
   * does Effect: its `forEach` takes an element twice if another one ends while that is started.
   */
  private wakeReader(): void {
    if (this.isWaking) return
    this.isWaking = true
    queueMicrotask(() => {
      this.isWaking = false
      this.reader?.()
    })
  }

  // ---------------------------------------------------------------------------
  // faults
  // ---------------------------------------------------------------------------

  /** Resets the connection. What has not arrived is lost. */
  cut(): void {
    this.arrived = []
    this.finish(resetError())
  }

  /** Holds back all bytes of a direction until `resume`. */
  stall(direction: Direction): void {
    this[direction].hold("stall")
  }

  resume(direction: Direction): void {
    this.step(() => this[direction].release("stall"))
  }

  cutAfter(direction: Direction, bytes: number): void {
    this[direction].cutAfter(bytes)
  }

  private finish(error: Socket.SocketError): void {
    if (this.end !== undefined) return
    this.end = error
    this.toClient.end()
    this.toBroker.end()
    this.connection.lost()
    this.wakeReader()
    this.releaseWriters()
  }

  // ---------------------------------------------------------------------------
  // the client's end
  // ---------------------------------------------------------------------------

  readonly pull: Effect.Effect<readonly [Uint8Array, ...Array<Uint8Array>], Socket.SocketError> = Effect.callback(
    (resume) => {
      const read = (): void => {
        const [first, ...rest] = this.arrived
        if (first === undefined) {
          if (this.end === undefined) return
          this.reader = undefined
          return resume(Exit.fail(this.end))
        }
        this.reader = undefined
        // With a read size each piece is a read of its own; otherwise one read takes everything.
        const inPieces = this.readSize !== Infinity
        this.arrived = inPieces ? rest : []
        this.arrivedBytes = inPieces ? this.arrivedBytes - first.length : 0
        if (this.congested && !this.isCongested(0)) this.step(() => this.connection.drained())
        resume(Exit.succeed(inPieces ? [first] : [first, ...rest]))
      }
      this.reader = read
      read()
      return Effect.sync(() => {
        if (this.reader === read) this.reader = undefined
      })
    }
  )

  /** Succeeds once less than `windowBytes` of what was written before is unread. */
  write(chunks: ReadonlyArray<Uint8Array>): Effect.Effect<void, Socket.SocketError> {
    return Effect.callback((resume) => {
      const write = (): void => {
        if (this.end !== undefined) {
          this.writers.delete(write)
          return resume(Exit.fail(this.end))
        }
        if (this.toBroker.pending >= windowBytes) return
        this.writers.delete(write)
        // A copy, because the client may reuse its buffers.
        const bytes = concat(chunks)
        this.step(() => this.toBroker.push(bytes))
        resume(Exit.void)
      }
      this.writers.add(write)
      write()
      return Effect.sync(() => this.writers.delete(write))
    })
  }

  /** The client closes its socket. */
  hangUp(): void {
    this.step(() => this.finish(closedError(1000)))
  }

  private releaseWriters(): void {
    // A writer that is released may write again at once.
    for (const writer of this.writers) writer()
  }
}
