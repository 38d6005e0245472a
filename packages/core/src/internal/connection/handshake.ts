/**
 * The handshake, from the protocol header to connection.open-ok (AMQP 0-9-1 specification, section 2.2.4). Each step has a timeout.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as AmqpError from "../../AmqpError.ts"
import type { Mechanism, MechanismError, Step } from "../../AmqpSasl.ts"
import { frameMinSize, ReplyCode } from "../../protocol/constants.ts"
import type { Method } from "../../protocol/methods.generated.ts"
import { warnOfExposure } from "../options/passwordExposure.ts"
import { chooseMechanism, firstFrameMax } from "../options/sasl.ts"
import type { SessionOptions, Tuning } from "../options/sessionOptions.ts"
import { connectionError, handshakeTimedOut } from "./connectionErrors.ts"
import type { ConnectionFacts, HandshakeProgress } from "./connectionErrors.ts"
import type { ControlChannel } from "./controlChannel.ts"
import { askCredentials, expiryOf } from "./credentialRenewal.ts"

/** What the handshake needs from a session. */
export interface HandshakeHost extends ConnectionFacts {
  readonly options: SessionOptions
  readonly control: ControlChannel
  readonly progress: HandshakeProgress
  /** Fails when the session has ended. */
  readonly ended: Deferred.Deferred<never, AmqpError.AmqpConnectionError>
  /** Replies to the broker's close, and ends the session. */
  closedByServer(close: MethodOf<"connection.close">): void
}

/** The result of a login. */
export interface Login {
  /** The name of the chosen SASL mechanism. */
  readonly mechanism: string
  /** When the credentials expire, in milliseconds since 1970. `undefined` if they do not. */
  readonly expiresAt: number | undefined
  readonly tuning: Tuning
}

type MethodOf<Tag extends Method["_tag"]> = Extract<Method, { readonly _tag: Tag }>

const fail = (reason: AmqpError.ConnectionErrorReason) => Effect.fail(connectionError(reason))

/** Receives one method on channel 0. It must be one of `tags`, by default only the one that the phase is named after. */
const expect = <Tag extends Method["_tag"]>(
  host: HandshakeHost,
  phase: Tag,
  tags: ReadonlyArray<Tag> = [phase]
): Effect.Effect<MethodOf<Tag>, AmqpError.AmqpConnectionError> =>
  Effect.suspend(() => {
    host.progress.phase = phase
    return host.control.mailbox.takeAll
  }).pipe(
    Effect.timeoutOrElse({
      duration: host.options.handshakeTimeout,
      orElse: () => Effect.fail(handshakeTimedOut(host, phase))
    }),
    Effect.flatMap(([method, ...more]) => {
      // Methods that arrive together with open-ok are for the session. In other phases they are wrong, as the next step finds.
      host.control.mailbox.putBack(more)
      // The method has the tag.
      if (tags.some((tag) => tag === method._tag)) return Effect.succeed(method as MethodOf<Tag>)
      if (method._tag === "connection.close") {
        host.closedByServer(method)
        return Deferred.await(host.ended)
      }
      const description = `${method._tag} arrived where ${phase} was expected`
      return fail(new AmqpError.ProtocolViolation({ replyCode: ReplyCode.commandInvalid, description }))
    })
  )

const smaller = (ours: number, theirs: number): number =>
  ours === 0 ? theirs : theirs === 0 ? ours : Math.min(ours, theirs)

/** Runs a step of the mechanism, for at most the handshake timeout. Fails if the session ends. */
const runStep = (
  { ended, options }: HandshakeHost,
  mechanism: string,
  step: Effect.Effect<Step, MechanismError>
): Effect.Effect<Step, AmqpError.AmqpConnectionError> =>
  step.pipe(
    Effect.timeoutOrElse({
      duration: options.handshakeTimeout,
      orElse: () => {
        const description = `it timed out after ${Duration.format(options.handshakeTimeout)}`
        return Effect.fail(new AmqpError.MechanismFailed({ mechanism, description }))
      }
    }),
    Effect.mapError(connectionError),
    Effect.raceFirst(Deferred.await(ended))
  )

interface Authenticated {
  readonly expiresAt: number | undefined
  readonly tune: MethodOf<"connection.tune">
}

/**
 * Authenticates, from connection.start-ok to connection.tune. The reply to each connection.secure of the broker is the next step of the
 * mechanism.
 */
const authenticate = Effect.fnUntraced(function*(
  host: HandshakeHost,
  mechanism: Mechanism
): Effect.fn.Return<Authenticated, AmqpError.AmqpConnectionError> {
  const { control, options, progress } = host
  const { clientProperties, locale } = options
  const { name } = mechanism
  const frameMax = options.initialFrameMax ?? firstFrameMax(progress.serverProperties)
  let expiresAt: number | undefined
  const credentials = Effect.tap(askCredentials(options), (credentials) =>
    Effect.sync(() => {
      progress.username = credentials.username
      expiresAt = expiryOf(credentials)
    }))
  if (mechanism.revealsPassword === true) yield* warnOfExposure(options.transport)
  progress.phase = "the credentials"
  let step = yield* runStep(host, name, Effect.suspend(() => mechanism.start(credentials)))
  const response = Redacted.value(step.response)
  yield* control.sendSecret(
    { _tag: "connection.start-ok", clientProperties, mechanism: name, response, locale },
    frameMax
  )
  while (true) {
    const method = yield* expect(host, "connection.tune", ["connection.secure", "connection.tune"])
    control.secretReplied()
    if (method._tag === "connection.tune") return { expiresAt, tune: method }
    const { answer } = step
    if (answer === undefined) {
      const description = "the broker sent another challenge (connection.secure) after the last step"
      return yield* fail(new AmqpError.MechanismFailed({ mechanism: name, description }))
    }
    // A copy, because the mechanism may keep the challenge, and the bytes are part of the whole read.
    step = yield* runStep(host, name, Effect.suspend(() => answer(method.challenge.slice())))
    yield* control.sendSecret({ _tag: "connection.secure-ok", response: Redacted.value(step.response) }, frameMax)
  }
})

/** Logs in and negotiates the limits, up to connection.tune-ok. */
export const logIn = Effect.fnUntraced(function*(
  host: HandshakeHost
): Effect.fn.Return<Login, AmqpError.AmqpConnectionError> {
  const { control, options, progress } = host
  control.sendProtocolHeader()
  const start = yield* expect(host, "connection.start")
  if (start.versionMajor !== 0 || start.versionMinor !== 9) {
    const description = `the broker speaks AMQP ${start.versionMajor}-${start.versionMinor}, not 0-9-1`
    return yield* fail(new AmqpError.ProtocolViolation({ replyCode: ReplyCode.notImplemented, description }))
  }
  progress.serverProperties = start.serverProperties
  const mechanism = yield* chooseMechanism(options.mechanisms, start.mechanisms)
  const { expiresAt, tune } = yield* authenticate(host, mechanism)
  if (tune.frameMax !== 0 && tune.frameMax < frameMinSize) {
    const description = `the broker asks for a frame-max of ${tune.frameMax} bytes; the minimum is ${frameMinSize}`
    return yield* fail(new AmqpError.ProtocolViolation({ replyCode: ReplyCode.notAllowed, description }))
  }
  const tuning: Tuning = {
    frameMax: smaller(options.frameMax, tune.frameMax),
    channelMax: smaller(options.channelMax, tune.channelMax),
    // Unlike a limit, 0 from either side turns heartbeats off.
    heartbeatSeconds: Math.min(options.heartbeatSeconds, tune.heartbeat)
  }
  yield* control.send({
    _tag: "connection.tune-ok",
    channelMax: tuning.channelMax,
    frameMax: tuning.frameMax,
    heartbeat: tuning.heartbeatSeconds
  })
  return { mechanism: mechanism.name, expiresAt, tuning }
})

/** Opens the virtual host. */
export const openVirtualHost = (host: HandshakeHost): Effect.Effect<void, AmqpError.AmqpConnectionError> =>
  Effect.andThen(
    host.control.send({ _tag: "connection.open", virtualHost: host.options.virtualHost }),
    Effect.map(expect(host, "connection.open-ok"), () => {
      host.progress.phase = undefined
    })
  )
