/**
 * Opens and closes connections of `node:net` and `node:tls`, with explained errors.
 *
 * `NodeSocket.makeTls` reads its certificates only once, and a connection that it or `makeNet` closes stays open while the peer does not
 * read.
 */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import type * as net from "node:net"
import { Connection } from "./connection.ts"
import type { Connect } from "./connection.ts"
import { explain, messageOf } from "./explain.ts"
import * as sockets from "./socket.ts"

/** How long a connection may take to send its last bytes, which a broker that is short of resources does not read. */
const flushMillis = 1_000

/**
 * Closes a connection, and waits until it is closed, so that the next one is not opened before. If the peer reads nothing, and so many bytes
 * wait that writes do too, these are discarded at once.
 */
const close = (connection: net.Socket, isOpen: boolean): Effect.Effect<void> =>
  Effect.callback((resume) => {
    if (connection.destroyed) return resume(Effect.void)
    if (!isOpen || connection.writableNeedDrain) {
      connection.destroy()
      return resume(Effect.void)
    }
    const timer = setTimeout(() => connection.destroy(), flushMillis)
    connection.once("close", () => {
      clearTimeout(timer)
      resume(Effect.void)
    })
    connection.destroySoon()
  })

const openError = (cause: unknown): Socket.SocketError =>
  new Socket.SocketError({ reason: new Socket.SocketOpenError({ kind: "Unknown", cause }) })

/** How to open a connection. */
export interface Dial {
  /** Starts to connect. Throws for TLS settings that do not work. */
  readonly connect: Connect
  /** The event upon which the connection is usable. */
  readonly readyEvent: "connect" | "secureConnect"
}

const open = (name: string, dial: Dial): Effect.Effect<Connection, Socket.SocketError, Scope.Scope> =>
  Effect.gen(function*() {
    const scope = yield* Effect.scope
    let dialed: net.Socket | undefined
    let isOpen = false
    yield* Scope.addFinalizer(scope, Effect.suspend(() => dialed === undefined ? Effect.void : close(dialed, isOpen)))
    return yield* Effect.callback<Connection, Socket.SocketError>((resume) => {
      const step = dial.readyEvent === "secureConnect" ? "the TLS handshake" : undefined
      const fail = (cause: Error) => resume(Effect.fail(openError(explain(name, cause, step))))
      let connection: Connection
      try {
        connection = new Connection(name, dial.connect)
      } catch (thrown) {
        const problem = `the TLS settings, such as certfile, keyfile and password, are invalid: ${messageOf(thrown)}`
        return fail(new Error(problem, { cause: thrown }))
      }
      const { socket } = connection
      dialed = socket
      socket.once(dial.readyEvent, () => {
        isOpen = true
        socket.setNoDelay(true)
        // Nothing is read before it is asked for.
        connection.pause()
        resume(Effect.succeed(connection))
      })
      // Never removed: an error without a listener ends the process, even a late one.
      socket.on("error", fail)
    })
  })

/** A socket that asks how to connect for each connection. Errors call it `name`. */
export const makeSocket = (name: string, dial: Effect.Effect<Dial, Error>): Socket.Socket =>
  sockets.makeSocket(
    dial.pipe(
      Effect.mapError((cause) => openError(explain(name, cause))),
      Effect.flatMap((dial) => open(name, dial))
    )
  )
