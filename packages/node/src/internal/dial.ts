/**
 * Effect sockets over connections of `node:net` and `node:tls`, with explained errors.
 *
 * Opens the connections, and leaves the rest to `NodeSocket.fromDuplex`: `NodeSocket.makeTls` reads its certificates
 * only once, and a connection that it or `makeNet` closes stays open while the peer does not read.
 */
import * as NodeSocket from "@effect/platform-node/NodeSocket"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import type * as net from "node:net"
import { explain, messageOf } from "./explain.ts"

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
  readonly connect: () => net.Socket
  /** The event upon which the connection is usable. */
  readonly readyEvent: "connect" | "secureConnect"
}

const open = (name: string, dial: Dial): Effect.Effect<net.Socket, Socket.SocketError, Scope.Scope> =>
  Effect.gen(function*() {
    const scope = yield* Effect.scope
    let connection: net.Socket | undefined
    let isOpen = false
    yield* Scope.addFinalizer(
      scope,
      Effect.suspend(() => connection === undefined ? Effect.void : close(connection, isOpen))
    )
    return yield* Effect.callback<net.Socket, Socket.SocketError>((resume) => {
      const step = dial.readyEvent === "secureConnect" ? "the TLS handshake" : undefined
      const fail = (cause: Error) => resume(Effect.fail(openError(explain(name, cause, step))))
      let dialed: net.Socket
      try {
        dialed = dial.connect()
      } catch (thrown) {
        const problem = `the TLS settings, such as certfile, keyfile and password, are invalid: ${messageOf(thrown)}`
        return fail(new Error(problem, { cause: thrown }))
      }
      connection = dialed
      dialed.once(dial.readyEvent, () => {
        isOpen = true
        dialed.setNoDelay(true)
        resume(Effect.succeed(dialed))
      })
      // Never removed: an error without a listener ends the process, even a late one.
      dialed.on("error", fail)
    })
  })

/** In TLS 1.3 a server refuses the client's certificate after the handshake, so that the first read fails. */
const explainRead = (name: string) => (error: Socket.SocketError): Socket.SocketError =>
  error.reason._tag === "SocketReadError" && error.reason.cause instanceof Error
    ? new Socket.SocketError({ reason: new Socket.SocketReadError({ cause: explain(name, error.reason.cause) }) })
    : error

/** A socket that asks how to connect for each connection. Errors call it `name`. */
export const makeSocket = (name: string, dial: Effect.Effect<Dial, Error>): Effect.Effect<Socket.Socket> =>
  dial.pipe(
    Effect.mapError((cause) => openError(explain(name, cause))),
    Effect.flatMap((dial) => open(name, dial)),
    (opened) => NodeSocket.fromDuplex(opened),
    Effect.map((socket) =>
      Socket.make({
        writer: socket.writer,
        reader: Effect.map(socket.reader, ({ pull, upgrade }) => ({
          pull: Effect.mapError(pull, explainRead(name)),
          upgrade
        }))
      })
    )
  )
