/** A connection of a client over any Socket: the server's end of it. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import * as Socket from "effect/socket/Socket"
import type { ServerConnection, Transport } from "../server/connection.ts"

/** So much waits for the client before nothing more is delivered to it, in bytes. */
const windowBytes = 1024 * 1024

/** So much waits for the client before nothing more is read of it, as it doesn't read the answers, in bytes. */
const answersBytes = 8 * windowBytes

/** Speaks to the client at the other end of the socket until one of both closes it. */
export const serve = Effect.fnUntraced(function*(
  socket: Socket.Socket,
  step: <A>(action: () => A) => A,
  connect: (transport: Transport) => ServerConnection
) {
  const outgoing = yield* Queue.unbounded<Uint8Array | "close">()
  const severed = yield* Deferred.make<void>()
  const mayRead = Latch.makeUnsafe(true)
  let pendingBytes = 0
  let congested = false
  let paused = false
  const decideToRead = (): void =>
    void (paused || pendingBytes >= answersBytes ? mayRead.closeUnsafe() : mayRead.openUnsafe())
  const pull = yield* Socket.readerBytes(socket)
  const writer = yield* socket.writer
  const connection = step(() =>
    connect({
      send: (chunks) => {
        for (const bytes of chunks) {
          pendingBytes += bytes.length
          Queue.offerUnsafe(outgoing, bytes)
        }
        decideToRead()
      },
      isCongested: (bytesToCome) => congested = pendingBytes + bytesToCome >= windowBytes,
      pauseReading: () => {
        paused = true
        decideToRead()
      },
      resumeReading: () => {
        paused = false
        decideToRead()
      },
      close: () => Queue.offerUnsafe(outgoing, "close"),
      cut: () => Deferred.doneUnsafe(severed, Effect.void)
    })
  )
  const read = Effect.gen(function*() {
    while (true) {
      // Asked for also while nothing may be read, so that it is noticed when the client is gone.
      const chunks = yield* pull
      yield* mayRead.await
      for (const bytes of chunks) step(() => connection.receive(bytes))
    }
  })
  const write = Effect.gen(function*() {
    while (true) {
      const taken = yield* Queue.takeAll(outgoing)
      const chunks = taken.filter((each) => each !== "close")
      const [first, ...rest] = chunks
      if (first !== undefined) yield* writer.writeAll([first, ...rest])
      for (const { length } of chunks) pendingBytes -= length
      decideToRead()
      if (congested && pendingBytes < windowBytes) {
        congested = false
        step(() => connection.drained())
      }
      if (chunks.length < taken.length) return
    }
  })
  yield* Effect.raceAllFirst([read, write, Deferred.await(severed)]).pipe(
    // However the socket ends, the connection does; why makes no difference to a broker.
    Effect.ignore,
    Effect.ensuring(Effect.sync(() => step(() => connection.lost())))
  )
})
