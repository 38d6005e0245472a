/**
 * What a socket's errors say, in the platform's own words where it has some: "connect ECONNREFUSED 127.0.0.1:5672". And what to
 * look at when the peer says nothing, or nothing of AMQP.
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

/** Transports without close codes have the first two; what a WebSocket says beside them is from who closed it. */
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
  // A WebSocket fails with an event. That of the `ws` package has a message; those of browsers and Node keep why to themselves.
  const message = Predicate.hasProperty(cause, "message") ? cause.message : undefined
  return typeof message === "string" && message !== "" ? message : otherwise
}

/** What to look at when a peer closed or stayed silent before it sent anything. */
export const silenceHint = (isEncrypted: boolean | undefined): string =>
  isEncrypted === true
    ? "Nothing was received: is this the broker's port for AMQP over TLS?"
    : "Nothing was received: does this port want TLS (amqps://), or does something other than AMQP listen on it?"
