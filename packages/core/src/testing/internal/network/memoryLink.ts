/** The network between a client in this process and the broker: both ends of a connection, and its faults. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Socket from "effect/socket/Socket"
import type { Direction } from "../../AmqpBroker.ts"
import type { Timers } from "../common/timers.ts"
import type { ServerConnection, Transport } from "../server/connection.ts"

/** What the network does to a connection from its first byte on. */
export interface LinkOptions {
  /** How long bytes are under way, in milliseconds. */
  readonly latencyMillis: number
  /** How many bytes arrive at once at most. */
  readonly readSize: number
  /** After how many bytes of the client the connection is reset. */
  readonly cutAfterSent: number
  /** After how many bytes for the client the connection is reset. */
  readonly cutAfterReceived: number
}

/** So much waits for a reader before the writer has to, as with a socket's buffers, in bytes. */
const windowBytes = 1024 * 1024

export const closedError = (code: number): Socket.SocketError =>
  new Socket.SocketError({ reason: new Socket.SocketCloseError({ code }) })

/** What a dial fails with when nobody listens. */
export const refusedError = (): Socket.SocketError =>
  new Socket.SocketError({
    reason: new Socket.SocketOpenError({ kind: "Unknown", cause: new Error("the connection was refused") })
  })

/** What a socket fails with whose peer is gone without a word. */
export const resetError = (): Socket.SocketError =>
  new Socket.SocketError({ reason: new Socket.SocketReadError({ cause: new Error("the connection was reset") }) })

/** A fault, or the broker that doesn't read. */
type Hold = "stall" | "pause"

/** One direction: bytes in their order, handed over when they are due and the way is open. */
class Pipe {
  private readonly timers: Timers
  private readonly latencyMillis: number
  private readonly take: (bytes: Uint8Array) => void
  private readonly onCut: () => void
  /** How many bytes may still pass until the connection is cut. */
  private budget: number
  /** Why nothing passes, while nothing does. */
  private readonly holds = new Set<Hold>()
  /** What is held, in its order. What comes while it is let go comes behind it. */
  private readonly held: Array<Uint8Array> = []
  private isReleasing = false
  /** Bytes under way. */
  pending = 0
  private ended = false

  constructor(
    timers: Timers,
    latencyMillis: number,
    budget: number,
    take: (bytes: Uint8Array) => void,
    onCut: () => void
  ) {
    this.timers = timers
    this.latencyMillis = latencyMillis
    this.budget = budget
    this.take = take
    this.onCut = onCut
  }

  push(bytes: Uint8Array): void {
    if (this.ended) return
    this.pending += bytes.length
    if (this.latencyMillis === 0) this.arrive(bytes)
    else this.timers.schedule(this.latencyMillis, () => this.arrive(bytes))
  }

  hold(hold: Hold): void {
    this.holds.add(hold)
  }

  release(hold: Hold): void {
    this.holds.delete(hold)
    if (this.isReleasing) return
    this.isReleasing = true
    // Each may lead to another hold, or to an answer that has more sent.
    while (this.holds.size === 0) {
      const bytes = this.held.shift()
      if (bytes === undefined) break
      this.pass(bytes)
    }
    this.isReleasing = false
  }

  /** Lets so many more bytes pass, and then cuts the connection. */
  cutAfter(bytes: number): void {
    this.budget = bytes
    if (bytes <= 0) this.onCut()
  }

  end(): void {
    this.ended = true
    this.pending = 0
  }

  private arrive(bytes: Uint8Array): void {
    if (this.ended) return
    if (this.holds.size > 0 || this.held.length > 0) this.held.push(bytes)
    else this.pass(bytes)
  }

  private pass(bytes: Uint8Array): void {
    if (this.ended) return
    this.pending -= bytes.length
    const passing = bytes.length <= this.budget ? bytes : bytes.subarray(0, this.budget)
    this.budget -= passing.length
    if (passing.length > 0) this.take(passing)
    if (this.budget <= 0) this.onCut()
  }
}

export class MemoryLink implements Transport {
  private readonly toClient: Pipe
  private readonly toBroker: Pipe
  private readonly step: <A>(action: () => A) => A
  readonly connection: ServerConnection
  private readonly readSize: number
  /** What arrived and the client has not read. */
  private arrived: Array<Uint8Array> = []
  private arrivedBytes = 0
  private congested = false
  private end: Socket.SocketError | undefined
  private reader: (() => void) | undefined
  private isWaking = false
  private readonly writers = new Set<() => void>()
  /** The server closes when everything that it sent has arrived. */
  private closing = false

  constructor(
    options: LinkOptions,
    timers: Timers,
    step: <A>(action: () => A) => A,
    connect: (transport: Transport) => ServerConnection
  ) {
    const cut = (): void => this.cut()
    this.step = step
    this.readSize = options.readSize
    this.toClient = new Pipe(
      timers,
      options.latencyMillis,
      options.cutAfterReceived,
      (bytes) => this.arrive(bytes),
      cut
    )
    this.toBroker = new Pipe(timers, options.latencyMillis, options.cutAfterSent, (bytes) => {
      this.connection.receive(bytes)
      this.releaseWriters()
    }, cut)
    this.connection = connect(this)
  }

  // ---------------------------------------------------------------------------
  // the server's end
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
   * The client reads when its step is over, as with any network: whoever writes does not expect to be answered before it goes on, and
   * neither does Effect, whose `forEach` takes an element twice when another one ends while it is begun.
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

  /** Ends the connection without a word, and what was under way is lost. */
  cut(): void {
    this.arrived = []
    this.finish(resetError())
  }

  /** Keeps back what either side sends, until `resume`. */
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
        // Cut into pieces, each piece is a read of its own; else everything that is there is one read.
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

  /** Succeeds when the bytes are on their way: when not too much of what was written is still unread. */
  write(chunks: ReadonlyArray<Uint8Array>): Effect.Effect<void, Socket.SocketError> {
    return Effect.callback((resume) => {
      const write = (): void => {
        if (this.end !== undefined) {
          this.writers.delete(write)
          return resume(Exit.fail(this.end))
        }
        if (this.toBroker.pending >= windowBytes) return
        this.writers.delete(write)
        // One buffer, and the broker's own: the client may use its own again.
        const bytes = joined(chunks)
        this.step(() => this.toBroker.push(bytes))
        resume(Exit.void)
      }
      this.writers.add(write)
      write()
      return Effect.sync(() => this.writers.delete(write))
    })
  }

  /** The client is gone. */
  hangUp(): void {
    this.step(() => this.finish(closedError(1000)))
  }

  private releaseWriters(): void {
    // Whoever is released may write again at once.
    for (const writer of this.writers) writer()
  }
}

const joined = (chunks: ReadonlyArray<Uint8Array>): Uint8Array => {
  let length = 0
  for (const chunk of chunks) length += chunk.length
  const bytes = new Uint8Array(length)
  let position = 0
  for (const chunk of chunks) {
    bytes.set(chunk, position)
    position += chunk.length
  }
  return bytes
}

/** A socket that makes a link whenever it is opened. */
export const memorySocket = (dial: Effect.Effect<MemoryLink, Socket.SocketError>): Socket.Socket => {
  let current: MemoryLink | undefined
  return Socket.make({
    reader: Effect.gen(function*() {
      const link = yield* Effect.acquireRelease(dial, (link) => Effect.sync(() => link.hangUp()))
      current = link
      return { pull: link.pull, upgrade: () => Effect.die(new Error("the network in memory has no TLS")) }
    }),
    writer: Effect.sync(() => {
      const write = (chunks: ReadonlyArray<Uint8Array | string>): Effect.Effect<void, Socket.SocketError> =>
        current === undefined
          ? Effect.fail(closedError(1006))
          : current.write(chunks.map((chunk) => typeof chunk === "string" ? new TextEncoder().encode(chunk) : chunk))
      return {
        write: (chunk) => {
          if (!Socket.isCloseEvent(chunk)) return write([chunk])
          return Effect.sync(() => current?.hangUp())
        },
        writeAll: write
      }
    })
  })
}
