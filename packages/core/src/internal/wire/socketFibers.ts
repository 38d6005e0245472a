/**
 * A transport over the reader and the writer of any `Socket`: a fiber that pulls, and a fiber that writes.
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import type { Transport, TransportListener } from "../../AmqpTransport.ts"
import { isTransportReader, TypeId } from "./transportReader.ts"

type Chunks = NonEmptyReadonlyArray<Uint8Array>

type Pull = Effect.Effect<Chunks, Socket.SocketError>

type Fork = (loop: Effect.Effect<void>) => void

const interrupted = new Socket.SocketError({ reason: new Socket.SocketCloseError({ code: 1006 }) })

/** Dials. Takes the transport of the reader, or else makes one of fibers, which `fork` runs for as long as the connection. */
export const transportOf = (
  socket: Socket.Socket,
  fork: Fork
): Effect.Effect<Transport, Socket.SocketError, Scope.Scope> =>
  Effect.gen(function*() {
    const reader = yield* socket.reader
    // A socket that wraps the reader or the writer of another one would be bypassed.
    if (isTransportReader(reader) && reader.socket === socket) return reader[TypeId]
    const { writer } = socket
    const pull = yield* Socket.readerBytes(Socket.make({ reader: Effect.succeed(reader), writer }))
    return new SocketFibers(pull, yield* writer, fork)
  })

class SocketFibers implements Transport {
  private readonly pull: Pull
  private readonly writer: Socket.Writer
  private readonly fork: Fork
  private readonly unpaused = Latch.makeUnsafe(true)
  /** Resumes the writer fiber while it waits for something to write. */
  private resumeWriter: ((chunks: Effect.Effect<Chunks>) => void) | undefined
  /** Whether `write` has returned `false`, so that the listener waits for `drained`. */
  private isDrainAwaited = false

  constructor(pull: Pull, writer: Socket.Writer, fork: Fork) {
    this.pull = pull
    this.writer = writer
    this.fork = fork
  }

  start(listener: TransportListener): void {
    const orEnd = (loop: Effect.Effect<never, Socket.SocketError>): Effect.Effect<void> =>
      loop.pipe(
        Effect.catch((error) => Effect.sync(() => listener.ended(error))),
        // By the socket itself, for example if it reads from a queue that is shut down; or by the end of the session, which knows that it ends.
        Effect.onInterrupt(() => Effect.sync(() => listener.ended(interrupted)))
      )
    this.fork(orEnd(this.writeFor(listener)))
    this.fork(orEnd(this.readFor(listener)))
  }

  pause(): void {
    this.unpaused.closeUnsafe()
  }

  resume(): void {
    this.unpaused.openUnsafe()
  }

  write(chunks: Chunks): boolean {
    const resume = this.resumeWriter
    if (resume === undefined) return false
    this.resumeWriter = undefined
    resume(Effect.succeed(chunks))
    // If the socket has accepted the chunks at once, the writer fiber waits again.
    this.isDrainAwaited = this.resumeWriter === undefined
    return !this.isDrainAwaited
  }

  private readFor(listener: TransportListener): Effect.Effect<never, Socket.SocketError> {
    return Effect.gen({ self: this }, function*() {
      while (true) {
        if (Latch.isOpen(this.unpaused)) listener.received(yield* this.pull)
        // What resumes may be in the middle of a step, for example between the frames of a message, so reading goes on in the next turn.
        else yield* Effect.andThen(this.unpaused.await, Effect.yieldNow)
      }
    })
  }

  private writeFor(listener: TransportListener): Effect.Effect<never, Socket.SocketError> {
    const awaitChunks = Effect.callback<Chunks>((resume) => {
      this.resumeWriter = resume
      if (this.isDrainAwaited) {
        this.isDrainAwaited = false
        listener.drained()
      }
      return Effect.sync(() => {
        this.resumeWriter = undefined
      })
    })
    return Effect.gen({ self: this }, function*() {
      while (true) yield* this.writer.writeAll(yield* awaitChunks)
    })
  }
}
