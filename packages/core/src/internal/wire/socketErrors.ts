/**
 * Describes socket errors, with the text of the platform if it has one, for example "connect ECONNREFUSED 127.0.0.1:5672".
 */
import * as Predicate from "effect/Predicate"
import type * as Socket from "effect/socket/Socket"

export const describeSocketError = (error: Socket.SocketError): string => {
  const { reason } = error
  switch (reason._tag) {
    case "SocketCloseError":
      return describeClose(reason)
    case "SocketOpenError":
      return reason.kind === "Timeout"
        ? "the socket did not open in time"
        : describeCause(reason.cause, "the socket did not open")
    default:
      return describeCause(reason.cause, reason.message)
  }
}

/** Sockets without close codes close with 1000 or 1006, and without a reason. Others come from the peer of a WebSocket. */
const describeClose = ({ closeReason = "", code, message }: Socket.SocketCloseError): string => {
  if (closeReason === "" && code === 1000) return "the peer closed the socket"
  if (closeReason === "" && code === 1006) return "the socket closed"
  return `the peer closed the WebSocket, ${message}`
}

const describeCause = (cause: unknown, otherwise: string): string => {
  // A host with several addresses fails with one error for each of them.
  if (cause instanceof AggregateError) {
    return cause.errors.map((each) => describeCause(each, otherwise)).join("; ")
  }
  // A WebSocket fails with an event. That of the `ws` package has a message; those of browsers and Node do not state a reason.
  const message = Predicate.hasProperty(cause, "message") ? cause.message : undefined
  return typeof message === "string" && message !== "" ? message : otherwise
}

/** What to check if the peer has closed the socket, or the handshake has timed out, before the peer has sent anything. */
export const silenceHint = (isEncrypted: boolean | undefined): string =>
  isEncrypted === true
    ? "Nothing was received: is this the broker's port for AMQP over TLS?"
    : "Nothing was received: does this port want TLS (amqps://), or does something other than AMQP listen on it?"
