/**
 * What a connection that is not made, or is lost, fails with: with the address of the peer where the transport tells it, and with
 * what to look at where the peer said nothing.
 */
import type * as Socket from "effect/socket/Socket"
import type { TransportProtection } from "../../AmqpConnection.ts"
import { AmqpConnectionError, ConnectFailed, HandshakeTimeout, SocketLost } from "../../AmqpError.ts"
import { isEncrypted } from "../options/passwordExposure.ts"
import { describeSocketError, silenceHint } from "../wire/socketErrors.ts"

type Transport = TransportProtection | undefined

const peerOf = (transport: Transport) => transport === undefined ? {} : { peer: transport.peer }

const hintOf = (transport: Transport, hasReceived: boolean) =>
  hasReceived ? {} : { hint: silenceHint(isEncrypted(transport)) }

/** There is no socket. */
export const unreachable = (transport: Transport, cause: Socket.SocketError): AmqpConnectionError => {
  const description = describeSocketError(cause)
  return new AmqpConnectionError({ reason: new ConnectFailed({ description, ...peerOf(transport), cause }) })
}

/** The peer did not send what the phase waits for. */
export const silent = (transport: Transport, phase: string, hasReceived: boolean): AmqpConnectionError => {
  const hint = phase === "connection.start" ? hintOf(transport, hasReceived) : {}
  return new AmqpConnectionError({ reason: new HandshakeTimeout({ phase, ...peerOf(transport), ...hint }) })
}

/** The socket is gone; `phase` is what the handshake waits for, if it is not over. */
export const socketLost = (
  transport: Transport,
  phase: string | undefined,
  hasReceived: boolean,
  cause: Socket.SocketError
): AmqpConnectionError => {
  const description = describeSocketError(cause)
  const connecting = phase === undefined ? {} : { phase, ...hintOf(transport, hasReceived) }
  return new AmqpConnectionError({
    reason: new SocketLost({ description, ...peerOf(transport), ...connecting, cause })
  })
}
