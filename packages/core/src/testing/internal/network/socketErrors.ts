/** The errors of a socket in memory. */
import * as Socket from "effect/socket/Socket"

/** The socket was closed with a WebSocket close code: 1000 in order, 1006 without a close. */
export const closedError = (code: number): Socket.SocketError =>
  new Socket.SocketError({ reason: new Socket.SocketCloseError({ code }) })

/** The network refuses connections. */
export const refusedError = (): Socket.SocketError =>
  new Socket.SocketError({
    reason: new Socket.SocketOpenError({ kind: "Unknown", cause: new Error("the connection was refused") })
  })

/** The connection was cut. */
export const resetError = (): Socket.SocketError =>
  new Socket.SocketError({ reason: new Socket.SocketReadError({ cause: new Error("the connection was reset") }) })
