/**
 * Errors of a connection: why it could not be opened, or has ended.
 *
 * Errors name the address of the peer if the transport knows it. Errors of the handshake name its step, and suggest what to check if the
 * peer has sent nothing.
 */
import * as Predicate from "effect/Predicate"
import type * as Socket from "effect/socket/Socket"
import type { TransportProtection } from "../../AmqpConnection.ts"
import * as AmqpError from "../../AmqpError.ts"
import { ReplyCode } from "../../protocol/constants.ts"
import type { FieldTable } from "../../protocol/fieldTable.ts"
import type { ConnectionClose } from "../../protocol/methods.generated.ts"
import { ProtocolError, ProtocolMismatch } from "../../protocol/ProtocolError.ts"
import { responsibleMethod } from "../errors/replyTexts.ts"
import { isTable } from "../options/clientProperties.ts"
import { isEncrypted } from "../options/passwordExposure.ts"
import type { SessionOptions } from "../options/sessionOptions.ts"
import { describeSocketError, silenceHint } from "../wire/socketErrors.ts"

export const connectionError = (reason: AmqpError.ConnectionErrorReason): AmqpError.AmqpConnectionError =>
  new AmqpError.AmqpConnectionError({ reason })

/** The state of a handshake, which updates it. */
export interface HandshakeProgress {
  /** What the handshake waits for. `undefined` when the connection is open. */
  phase: string | undefined
  /** The user that logs in. Empty before the mechanism has asked for credentials. */
  username: string
  serverProperties: FieldTable
}

/** The state of a connection that its errors depend on. */
export interface ConnectionFacts {
  readonly options: Pick<SessionOptions, "transport" | "virtualHost" | "clientProperties">
  readonly progress: Readonly<HandshakeProgress>
  /** Whether the peer has sent anything. */
  readonly hasReceived: boolean
  /** Whether the broker has not replied to a new secret. */
  readonly isRenewingSecret: boolean
}

/** Reply codes with which brokers refuse a virtual host: it does not exist, the user may not use it, or a limit is reached. */
const virtualHostCodes: ReadonlySet<number> = new Set([
  ReplyCode.invalidPath,
  ReplyCode.accessRefused,
  ReplyCode.notFound,
  ReplyCode.notAllowed
])

/** Reply codes with which brokers refuse a new secret. */
const secretCodes: ReadonlySet<number> = new Set([ReplyCode.accessRefused, ReplyCode.notAllowed])

type Transport = TransportProtection | undefined

const peerOf = (transport: Transport) => transport === undefined ? {} : { peer: transport.peer }

const hintOf = (transport: Transport, hasReceived: boolean) =>
  hasReceived ? {} : { hint: silenceHint(isEncrypted(transport)) }

/** Whether the properties of a client or server announce an extension of AMQP 0-9-1. */
export const announces = ({ capabilities }: FieldTable, capability: string): boolean =>
  isTable(capabilities) && capabilities[capability] === true

/** Transports mark errors that would occur again, such as a refused certificate, in the cause of the socket error. */
const mayPass = ({ reason }: Socket.SocketError): boolean => {
  const cause = "cause" in reason ? reason.cause : undefined
  return !(Predicate.hasProperty(cause, "isRetryable") && cause.isRetryable === false)
}

/** The broker did not accept a new secret. */
export const updateSecretFailed = (description: string): AmqpError.AmqpConnectionError =>
  connectionError(new AmqpError.UpdateSecretFailed({ description }))

/** The socket could not be opened. */
export const dialFailed = (transport: Transport, cause: Socket.SocketError): AmqpError.AmqpConnectionError =>
  connectionError(
    new AmqpError.ConnectFailed({
      description: describeSocketError(cause),
      ...peerOf(transport),
      cause,
      isRetryable: mayPass(cause)
    })
  )

/** The handshake timed out in this phase. */
export const handshakeTimedOut = (
  { hasReceived, options: { transport } }: ConnectionFacts,
  phase: string
): AmqpError.AmqpConnectionError => {
  const hint = phase === "connection.start" ? hintOf(transport, hasReceived) : {}
  return connectionError(new AmqpError.HandshakeTimeout({ phase, ...peerOf(transport), ...hint }))
}

/** The socket closed or failed. */
export const socketLost = (facts: ConnectionFacts, cause: Socket.SocketError): AmqpError.AmqpConnectionError => {
  const { hasReceived, options: { transport }, progress: { phase, username } } = facts
  if (phase === "connection.tune" && !sendsRefusals(facts)) {
    // Without that capability, brokers refuse credentials by closing the socket (AMQP 0-9-1 specification, section 4.10.1). RabbitMQ did so
    // before 3.2.
    const replyText = "the broker closed the socket after the credentials were sent"
    return connectionError(new AmqpError.AuthenticationFailed({ username, replyText }))
  }
  return connectionError(
    new AmqpError.SocketLost({
      description: describeSocketError(cause),
      ...peerOf(transport),
      ...(phase === undefined ? {} : { phase, ...hintOf(transport, hasReceived) }),
      cause,
      isRetryable: mayPass(cause)
    })
  )
}

/** Whether both sides announce the capability to refuse credentials with a connection.close. */
const sendsRefusals = ({ options, progress }: ConnectionFacts): boolean =>
  announces(progress.serverProperties, "authentication_failure_close") &&
  announces(options.clientProperties, "authentication_failure_close")

/** The broker closed the connection. During the handshake, the step shows what the broker refused. */
export const closedByServer = (facts: ConnectionFacts, close: ConnectionClose): AmqpError.AmqpConnectionError => {
  const { isRenewingSecret, options: { virtualHost }, progress: { phase, username } } = facts
  const reason = AmqpError.replyReason({ ...close, method: responsibleMethod(close.classId, close.methodId) })
  const { method, replyCode, replyText } = reason
  if (method === "connection.update-secret" || (isRenewingSecret && secretCodes.has(replyCode))) {
    return updateSecretFailed(`${replyCode} ${replyText}`)
  }
  if (phase === "connection.tune" && replyCode === ReplyCode.accessRefused) {
    return connectionError(new AmqpError.AuthenticationFailed({ username, replyText }))
  }
  if (phase === "connection.open-ok" && virtualHostCodes.has(replyCode)) {
    return connectionError(new AmqpError.VirtualHostRefused({ virtualHost, replyCode, replyText }))
  }
  return connectionError(reason)
}

/** The peer violated the protocol. Throws the error again if it is of another kind. */
export const protocolViolated = (error: unknown): AmqpError.AmqpConnectionError => {
  if (!(error instanceof ProtocolMismatch || error instanceof ProtocolError)) throw error
  const replyCode = error instanceof ProtocolError ? error.replyCode : ReplyCode.notImplemented
  return connectionError(new AmqpError.ProtocolViolation({ replyCode, description: error.message }))
}

/** A fiber of the connection died. */
export const clientFailed = (defect: unknown): AmqpError.AmqpConnectionError =>
  connectionError(
    new AmqpError.ProtocolViolation({
      replyCode: ReplyCode.internalError,
      description: `The client failed: ${defect instanceof Error ? defect.message : String(defect)}`
    })
  )
