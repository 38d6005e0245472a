/** A socket to the broker in memory, which makes a new link whenever it is opened. */
import * as Effect from "effect/Effect"
import * as Socket from "effect/socket/Socket"
import type { MemoryLink } from "./memoryLink.ts"
import { closedError } from "./socketErrors.ts"

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
