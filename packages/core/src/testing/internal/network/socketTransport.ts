/** The broker's end of a connection over any Socket. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import * as Socket from "effect/socket/Socket"
import type { ServerConnection } from "../server/connection.ts"
import { windowBytes } from "../server/transport.ts"
import type { Transport } from "../server/transport.ts"

/** How many bytes may wait for the client before nothing more is read from it: it does not read the replies to its requests. */
const maxPendingBytes = 8 * windowBytes

/** Serves the client at the other end of the socket until either side closes it. */
export const serve = Effect.fnUntraced(function*(
  socket: Socket.Socket,
  step: <A>(action: () => A) => A,
  connect: (transport: Transport) => ServerConnection
) {
  const outgoing = yield* Queue.unbounded<Uint8Array | "close">()
  const cut = yield* Deferred.make<void>()
  const mayRead = Latch.makeUnsafe(true)
  let pendingBytes = 0
  let congested = false
  let paused = false
  const updateReading = (): void =>
    void (paused || pendingBytes >= maxPendingBytes ? mayRead.closeUnsafe() : mayRead.openUnsafe())
  const pull = yield* Socket.readerBytes(socket)
  const writer = yield* socket.writer
  const connection = step(() =>
    connect({
      send: (chunks) => {
        for (const bytes of chunks) {
          pendingBytes += bytes.length
          Queue.offerUnsafe(outgoing, bytes)
        }
        updateReading()
      },
      isCongested: (bytesToCome) => congested = pendingBytes + bytesToCome >= windowBytes,
      pauseReading: () => {
        paused = true
        updateReading()
      },
      resumeReading: () => {
        paused = false
        updateReading()
      },
      close: () => Queue.offerUnsafe(outgoing, "close"),
      cut: () => Deferred.doneUnsafe(cut, Effect.void)
    })
  )
  const read = Effect.gen(function*() {
    while (true) {
      // Pulls even while nothing may be read, to notice when the client disconnects.
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
      updateReading()
      if (congested && pendingBytes < windowBytes) {
        congested = false
        step(() => connection.drained())
      }
      if (chunks.length < taken.length) return
    }
  })
  yield* Effect.raceAllFirst([read, write, Deferred.await(cut)]).pipe(
    // The connection ends with the socket, whatever the reason.
    Effect.ignore,
    Effect.ensuring(Effect.sync(() => step(() => connection.lost())))
  )
})
