/**
 * An Effect socket that makes a connection whenever its reader is acquired.
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import type { Connection } from "./connection.ts"

const bytesOf = (chunk: Uint8Array | string): Uint8Array => typeof chunk === "string" ? Buffer.from(chunk) : chunk

/** `open` opens a connection, and closes it with the scope. */
export const makeSocket = (open: Effect.Effect<Connection, Socket.SocketError, Scope.Scope>): Socket.Socket => {
  let current: Connection | undefined
  const isOpen = Latch.makeUnsafe(false)

  const reader = Effect.gen(function*() {
    const connection = yield* open
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        connection.release()
        if (current !== connection) return
        current = undefined
        isOpen.closeUnsafe()
      })
    )
    current = connection
    isOpen.openUnsafe()
    return connection.readerOf(socket)
  })

  const onceOpen = (
    use: (connection: Connection) => Effect.Effect<void, Socket.SocketError>
  ): Effect.Effect<void, Socket.SocketError> =>
    Effect.suspend(() => current === undefined ? isOpen.whenOpen(onceOpen(use)) : use(current))

  const writeAll = (chunks: NonEmptyReadonlyArray<Uint8Array | string>) =>
    onceOpen((connection) => {
      const [first, ...rest] = chunks
      return connection.writeAll([bytesOf(first), ...rest.map(bytesOf)])
    })

  const close = ({ code }: Socket.CloseEvent) =>
    onceOpen(({ socket }) =>
      Effect.sync(() => void socket.destroy(code > 1000 ? new Error(`closed with code ${code}`) : undefined))
    )

  const socket: Socket.Socket = Socket.make({
    reader,
    writer: Effect.acquireRelease(
      Effect.succeed<Socket.Writer>({
        writeAll,
        write: (chunk) => Socket.isCloseEvent(chunk) ? close(chunk) : writeAll([chunk])
      }),
      () => Effect.sync(() => void current?.socket.end())
    )
  })
  return socket
}
