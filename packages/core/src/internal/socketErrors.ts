/**
 * What a socket's errors say, in the platform's own words where it has some: "connect ECONNREFUSED 127.0.0.1:5672".
 */
import type * as Socket from "effect/socket/Socket"

export const describeSocketError = (error: Socket.SocketError): string => {
  const { reason } = error
  switch (reason._tag) {
    case "SocketCloseError":
      return reason.code === 1000 ? "the peer closed the socket" : "the socket closed"
    case "SocketOpenError":
      return reason.kind === "Timeout" ? "the socket did not open in time" : describeCause(reason.cause, reason.message)
    default:
      return describeCause(reason.cause, reason.message)
  }
}

const describeCause = (cause: unknown, otherwise: string): string => {
  // A host with several addresses fails with one error for each of them.
  if (cause instanceof AggregateError) {
    return cause.errors.map((each) => describeCause(each, otherwise)).join("; ")
  }
  return cause instanceof Error && cause.message !== "" ? cause.message : otherwise
}
