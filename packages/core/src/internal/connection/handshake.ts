/**
 * From the protocol header to connection.open-ok (section 2.2.4 of the AMQP 0-9-1 specification). Each step is bounded.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as AmqpError from "../../AmqpError.ts"
import type { Mechanism, MechanismError, Step } from "../../AmqpSasl.ts"
import { frameMinSize, ReplyCode } from "../../protocol/constants.ts"
import type { FieldTable } from "../../protocol/fieldTable.ts"
import type { Method } from "../../protocol/methods.generated.ts"
import { warnOfExposure } from "../options/passwordExposure.ts"
import { chooseMechanism, firstFrameMax } from "../options/sasl.ts"
import type { SessionOptions, Tuning } from "../options/sessionOptions.ts"
import type { Mailbox } from "../wire/mailbox.ts"
import { askCredentials, expiryOf } from "./credentialRenewal.ts"

/** What the handshake needs of a session. */
export interface HandshakeSession {
  /** The method that the handshake waits for, for errors. */
  phase: string | undefined
  serverProperties: FieldTable
  /** The SASL mechanism that was chosen. */
  mechanism: string
  /** Who logs in, as far as the mechanism asked for credentials. */
  username: string
  /** When the credentials expire, in milliseconds since 1970, if they do. */
  expiresAt: number | undefined
  readonly ended: Deferred.Deferred<never, AmqpError.AmqpConnectionError>
  readonly control: Mailbox<Method, AmqpError.AmqpConnectionError>
  sendProtocolHeader(): void
  /** What the peer's silence is to be failed with. */
  silent(phase: string): AmqpError.AmqpConnectionError
  sendControl(method: Method, maxFrameSize?: number): Effect.Effect<void, AmqpError.AmqpConnectionError>
  /** As `sendControl`, for a method that holds a secret. */
  sendSecret(method: Method, maxFrameSize?: number): Effect.Effect<void, AmqpError.AmqpConnectionError>
  /** The broker has answered such a method. */
  secretAnswered(): void
  tuned(tuning: Tuning): void
  closedByServer(close: MethodOf<"connection.close">): void
}

type MethodOf<Tag extends Method["_tag"]> = Extract<Method, { readonly _tag: Tag }>

const fail = (reason: AmqpError.ConnectionErrorReason) => Effect.fail(new AmqpError.AmqpConnectionError({ reason }))

/** Waits for one method of channel 0, and no other. By default only the one that the phase is named after is right. */
const expect = <Tag extends Method["_tag"]>(
  session: HandshakeSession,
  options: SessionOptions,
  phase: Tag,
  tags: ReadonlyArray<Tag> = [phase]
): Effect.Effect<MethodOf<Tag>, AmqpError.AmqpConnectionError> =>
  Effect.suspend(() => {
    session.phase = phase
    return session.control.takeAll
  }).pipe(
    Effect.timeoutOrElse({
      duration: options.handshakeTimeout,
      orElse: () => Effect.fail(session.silent(phase))
    }),
    Effect.flatMap(([method, ...more]) => {
      // What comes with open-ok in one read is for the session; elsewhere it is wrong, which the next step finds.
      session.control.putBack(more)
      // The tag was compared, so this is the method it names.
      if (tags.some((tag) => tag === method._tag)) return Effect.succeed(method as MethodOf<Tag>)
      if (method._tag === "connection.close") {
        session.closedByServer(method)
        return Deferred.await(session.ended)
      }
      const description = `${method._tag} arrived where ${phase} was expected`
      return fail(new AmqpError.ProtocolViolation({ replyCode: ReplyCode.commandInvalid, description }))
    })
  )

const smaller = (ours: number, theirs: number): number =>
  ours === 0 ? theirs : theirs === 0 ? ours : Math.min(ours, theirs)

/** Has the mechanism answer, as long as there is someone to answer to, and for at most a handshake timeout. */
const respond = (
  session: HandshakeSession,
  options: SessionOptions,
  step: Effect.Effect<Step, MechanismError>
): Effect.Effect<Step, AmqpError.AmqpConnectionError> => {
  const { mechanism } = session
  return step.pipe(
    Effect.timeoutOrElse({
      duration: options.handshakeTimeout,
      orElse: () => {
        const description = `it timed out after ${Duration.format(options.handshakeTimeout)}`
        return Effect.fail(new AmqpError.MechanismFailed({ mechanism, description }))
      }
    }),
    Effect.mapError((reason) => new AmqpError.AmqpConnectionError({ reason })),
    Effect.raceFirst(Deferred.await(session.ended))
  )
}

/**
 * The authentication exchange, from connection.start-ok to connection.tune: each connection.secure of the server is answered by
 * the next step of the mechanism.
 */
const authenticate = Effect.fnUntraced(function*(
  session: HandshakeSession,
  options: SessionOptions,
  mechanism: Mechanism
): Effect.fn.Return<MethodOf<"connection.tune">, AmqpError.AmqpConnectionError> {
  const { clientProperties, locale } = options
  const maxFrameSize = options.initialFrameMax ?? firstFrameMax(session.serverProperties)
  session.mechanism = mechanism.name
  const credentials = Effect.tap(askCredentials(options), (credentials) =>
    Effect.sync(() => {
      session.username = credentials.username
      session.expiresAt = expiryOf(credentials)
    }))
  if (mechanism.revealsPassword === true) yield* warnOfExposure(options.transport)
  session.phase = "the credentials"
  let step = yield* respond(session, options, Effect.suspend(() => mechanism.start(credentials)))
  const response = Redacted.value(step.response)
  yield* session.sendSecret(
    { _tag: "connection.start-ok", clientProperties, mechanism: mechanism.name, response, locale },
    maxFrameSize
  )
  while (true) {
    const method = yield* expect(session, options, "connection.tune", ["connection.secure", "connection.tune"])
    session.secretAnswered()
    if (method._tag === "connection.tune") return method
    const { answer } = step
    if (answer === undefined) {
      const description = "the broker wants another answer (connection.secure), and there is none"
      return yield* fail(new AmqpError.MechanismFailed({ mechanism: mechanism.name, description }))
    }
    // A copy: the bytes that were received are not the mechanism's to keep.
    step = yield* respond(session, options, Effect.suspend(() => answer(method.challenge.slice())))
    yield* session.sendSecret(
      { _tag: "connection.secure-ok", response: Redacted.value(step.response) },
      maxFrameSize
    )
  }
})

export const handshake = Effect.fnUntraced(function*(
  session: HandshakeSession,
  options: SessionOptions
): Effect.fn.Return<void, AmqpError.AmqpConnectionError> {
  session.sendProtocolHeader()
  const start = yield* expect(session, options, "connection.start")
  if (start.versionMajor !== 0 || start.versionMinor !== 9) {
    const description = `the server speaks AMQP ${start.versionMajor}-${start.versionMinor}, not 0-9-1`
    return yield* fail(new AmqpError.ProtocolViolation({ replyCode: ReplyCode.notImplemented, description }))
  }
  session.serverProperties = start.serverProperties
  const mechanism = yield* chooseMechanism(options.mechanisms, start.mechanisms)
  const tune = yield* authenticate(session, options, mechanism)
  if (tune.frameMax !== 0 && tune.frameMax < frameMinSize) {
    const description = `the server asks for a frame-max of ${tune.frameMax} bytes; the minimum is ${frameMinSize}`
    return yield* fail(new AmqpError.ProtocolViolation({ replyCode: ReplyCode.notAllowed, description }))
  }
  const tuning: Tuning = {
    frameMax: smaller(options.frameMax, tune.frameMax),
    channelMax: smaller(options.channelMax, tune.channelMax),
    // Unlike the limits, 0 from either side means that there are no heartbeats.
    heartbeatSeconds: Math.min(options.heartbeatSeconds, tune.heartbeat)
  }
  yield* session.sendControl({
    _tag: "connection.tune-ok",
    channelMax: tuning.channelMax,
    frameMax: tuning.frameMax,
    heartbeat: tuning.heartbeatSeconds
  })
  session.tuned(tuning)
  yield* session.sendControl({ _tag: "connection.open", virtualHost: options.virtualHost })
  yield* expect(session, options, "connection.open-ok")
})
