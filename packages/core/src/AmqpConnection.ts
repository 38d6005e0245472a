/**
 * A connection to a broker, as a scoped resource and a Layer.
 *
 * The connection runs over any `effect/socket/Socket`; `@effect-amqp/node` makes one from a URL. Its fibers own the socket:
 * one reads, one writes, one keeps the heartbeat. Closing the scope closes the channels and the connection in order, each
 * step bounded in time. When the connection is lost, everything that uses it fails at once with the cause.
 *
 * What a broker can make the client keep in memory has limits: the size of a frame ({@link Options}: `frameMax`), of the properties
 * of a message (`maxHeaderSize`), of its body (`maxBodySize`), and how deep field tables are nested (32, which is fixed). A frame or
 * properties above their limit end the connection, a body above its limit is dropped as it comes, and tables that are nested deeper
 * make reading the properties fail. No error, log or inspected value shows a password or token.
 *
 * Nothing that a program can reach leads to a password or token either, and the bytes of it are wiped when the broker has answered.
 * A text that the program has itself, such as a URL, is the program's to keep.
 *
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import type * as Socket from "effect/socket/Socket"
import * as Stream from "effect/Stream"
import { AmqpConnectionError } from "./AmqpError.ts"
import type { CredentialsUnavailable } from "./AmqpError.ts"
import * as AmqpSasl from "./AmqpSasl.ts"
import * as Session from "./internal/connection/session.ts"
import { register } from "./internal/connection/sessionRegistry.ts"
import { clientPropertiesOf, isTable } from "./internal/options/clientProperties.ts"
import type { SessionOptions } from "./internal/options/sessionOptions.ts"
import * as Validation from "./internal/options/validation.ts"
import type { FieldTable } from "./protocol/fieldTable.ts"

/**
 * How to connect.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * Who logs in. Default: RabbitMQ's `guest` / `guest`, which it accepts from the same machine only.
   *
   * An Effect is run for each connection, when the broker asks who this is, and so may fetch a token. It has as long as
   * `handshakeTimeout`, and brokers have patience for about 10 seconds. When it says that what it answers expires, it is run
   * again before that; see {@link make}.
   */
  readonly credentials?: AmqpSasl.Credentials | Effect.Effect<AmqpSasl.Credentials, CredentialsUnavailable> | undefined
  /**
   * The SASL mechanisms that may be used, the preferred one first: the first that the broker offers is. Default: `plain`, then
   * `amqplain`.
   */
  readonly mechanisms?: NonEmptyReadonlyArray<AmqpSasl.Mechanism> | undefined
  /**
   * How long before they expire credentials are asked for again, though never in the first half of what is left of their life:
   * finite, from 0. Default: 60 seconds.
   */
  readonly credentialsRefreshMargin?: Duration.Input | undefined
  /** Default: `/`. */
  readonly virtualHost?: string | undefined
  /**
   * The heartbeat interval to ask for, in whole seconds from 0 to 65535; the smaller of both sides' is used, and 0 from
   * either turns heartbeats off. Default: 60 seconds.
   */
  readonly heartbeat?: Duration.Input | undefined
  /**
   * The largest frame to ask for, in bytes: 0 (no limit) or from 8192 to 2^32 - 1; the smaller of both sides' is used. A larger
   * one from the broker ends the connection with its first bytes. Default: 131072, which is RabbitMQ's too.
   */
  readonly frameMax?: number | undefined
  /**
   * The largest frame that is sent before the broker has said what it takes, in bytes from 4096 to 2^32 - 1. It is what a token,
   * the user name and the client properties have to fit. Default: what AMQP 0-9-1 guarantees, 4096, and 8192 with RabbitMQ 4.1
   * and later. A broker that is configured otherwise does not say so (RabbitMQ, `initial_frame_max`).
   */
  readonly initialFrameMax?: number | undefined
  /**
   * The number of channels to ask for: 0 (no limit) to 65535; the smaller of both sides' is used. Default: 2047, which is
   * RabbitMQ's too.
   */
  readonly channelMax?: number | undefined
  /**
   * The largest content header (the properties and headers of a message) that is accepted where it is more than `frameMax`, in
   * bytes with the 20 bytes around it. RabbitMQ sends a header as one frame of any size: dead-lettering adds `x-death`, and a
   * message that had just fitted a frame no longer does. A larger one ends the connection. Default: 16 MiB.
   */
  readonly maxHeaderSize?: number | undefined
  /**
   * The largest message body that is accepted, in bytes; larger ones are dropped as they come, and what becomes of the message is up
   * to what asked for it: see `onOversized` of `AmqpConsumer.Options`. Default: 128 MiB, as much as `maxPublishSize`.
   */
  readonly maxBodySize?: number | undefined
  /**
   * The largest message body that is sent, in bytes; a larger one fails before anything of it is sent. Default: 128 MiB, which
   * is what RabbitMQ takes at most; since 4.0 it takes 16 MiB unless configured otherwise (`max_message_size`).
   */
  readonly maxPublishSize?: number | undefined
  /**
   * How many idle channels of each mode (plain, confirmed, transaction) are kept for the next channel programs, from 0.
   * Default: 8.
   */
  readonly maxIdleChannels?: number | undefined
  /**
   * How long to wait for a channel while all that were negotiated are in use, from 0; `Infinity` is without end. After that the
   * operation fails with `TooManyChannels`. Those that wait get a channel in their order. Default: 10 seconds.
   */
  readonly channelTimeout?: Duration.Input | undefined
  /** For everything from the dial to the open connection, from 1 ms; `Infinity` sets no limit. Default: 30 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
  /**
   * For each answer of the broker during the handshake, and for the credentials, from 1 ms; `Infinity` sets no limit.
   * Default: 10 seconds.
   */
  readonly handshakeTimeout?: Duration.Input | undefined
  /**
   * For each answer of the broker to a request on a channel, from 1 ms; `Infinity` sets no limit. It goes on while the broker
   * blocks the connection, as that may be for long. Default: 30 seconds.
   */
  readonly requestTimeout?: Duration.Input | undefined
  /** For the broker's answer when a channel or the connection is closed: finite, from 0. Default: 5 seconds. */
  readonly closeTimeout?: Duration.Input | undefined
  /** What the broker's logs and management call this connection. It is the client property `connection_name`. */
  readonly connectionName?: string | undefined
  /**
   * More of what the broker is told about this client (`rabbitmqctl list_connections client_properties`). Entries of
   * `capabilities` are added to those that this client has.
   */
  readonly clientProperties?: FieldTable | undefined
  /** The language of the broker's texts. Default: `en_US`, which every broker has. */
  readonly locale?: string | undefined
}

/**
 * What a connection is doing.
 *
 * **Details**
 *
 * - `Open`: all is well.
 * - `Blocked`: the broker is short of memory or disk, and this connection has published (RabbitMQ, "Blocked Connections"); `reason`
 *   is the broker's text. RabbitMQ reads nothing more from it: publishers wait, requests fail with `RequestTimeout`, and
 *   acknowledgements are not seen, so that consumers get what their prefetch allows and then nothing more. Heartbeats go on.
 *   Connections that have not published are not blocked, which is why a program that does both is better off with two.
 * - `Closed`: it has ended, with this cause. Nothing comes after it.
 *
 * @category models
 * @since 0.1.0
 */
export type State = Data.TaggedEnum<{
  readonly Open: {}
  readonly Blocked: { readonly reason: string }
  readonly Closed: { readonly error: AmqpConnectionError }
}>

/**
 * Makes and matches states: `State.Open()`, `State.$is("Blocked")`, `State.$match`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const State = Data.taggedEnum<State>()

/**
 * The names of what RabbitMQ says it can do beyond AMQP 0-9-1. Brokers may have others.
 *
 * @category models
 * @since 0.1.0
 */
export type Capability =
  | "authentication_failure_close"
  | "basic.nack"
  | "connection.blocked"
  | "consumer_cancel_notify"
  | "consumer_priorities"
  | "direct_reply_to"
  | "exchange_exchange_bindings"
  | "per_consumer_qos"
  | "publisher_confirms"

/**
 * A connection.
 *
 * **Example** (Taking no orders while the broker can't store them)
 *
 * ```ts
 * import { AmqpConnection } from "@effect-amqp/core"
 * import * as Effect from "effect/Effect"
 * import * as Stream from "effect/Stream"
 *
 * declare const setReady: (isReady: boolean) => Effect.Effect<void>
 *
 * const readiness = Effect.gen(function*() {
 *   const connection = yield* AmqpConnection.AmqpConnection
 *   yield* Stream.runForEach(connection.stateChanges, (state) => setReady(state._tag === "Open"))
 * })
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class AmqpConnection extends Context.Service<AmqpConnection, {
  /** What the broker calls it, if it has a name. */
  readonly name: string | undefined
  /** What the broker was told about this client. */
  readonly clientProperties: FieldTable
  /** What the broker says of itself: product, version, capabilities. */
  readonly serverProperties: FieldTable
  /** What the broker says that it can do beyond AMQP 0-9-1: `capabilities.has("basic.nack")`. */
  readonly capabilities: ReadonlySet<Capability | (string & {})>
  /** The name of the SASL mechanism that was used. */
  readonly mechanism: string
  /** The negotiated limits: bytes of a frame and number of channels (0: no limit), heartbeat interval (0: none). */
  readonly negotiated: { readonly frameMax: number; readonly channelMax: number; readonly heartbeat: Duration.Duration }
  /** What it is doing. */
  readonly state: Effect.Effect<State>
  /** The state now and each time it changes, up to `Closed`. Who is slow misses old states, and never the latest. */
  readonly stateChanges: Stream.Stream<State>
  /** How many channels are open: those in use, and the idle ones that are kept for the next programs. */
  readonly channelCount: Effect.Effect<number>
  /**
   * Gives the broker a new password or token in place of the one that this connection logged in with
   * (`connection.update-secret`; RabbitMQ has it since 3.8). Succeeds when the broker has taken it. The reason is for its logs,
   * at most 255 bytes.
   *
   * Credentials that say when they expire need no call of this. When the broker refuses the secret or does not answer within
   * `requestTimeout`, the connection ends with `UpdateSecretFailed`. Fails with `InvalidArgument`, and does not end, when the
   * secret does not fit a frame or the reason is too long.
   */
  readonly updateSecret: (
    secret: Redacted.Redacted<string>,
    reason: string
  ) => Effect.Effect<void, AmqpConnectionError>
  /** Waits for the end of the connection and fails with its cause. */
  readonly awaitClosed: Effect.Effect<never, AmqpConnectionError>
}>()("@effect-amqp/core/AmqpConnection") {}

/**
 * How well the transport that a `Socket` stands for keeps a secret.
 *
 * @category models
 * @since 0.1.0
 */
export interface TransportProtection {
  /** Where the bytes go, as people and logs know it: `rabbit.example:5672`. */
  readonly peer: string
  /**
   * What keeps others from reading along:
   *
   * - `Verified`: encryption, with a peer that has proved who it is.
   * - `Unverified`: encryption, with a peer that may be anyone.
   * - `Local`: nothing leaves the machine.
   * - `None`: nothing.
   */
  readonly level: "Verified" | "Unverified" | "Local" | "None"
  /** Whether it is TLS, for what errors advise. Default: as `level` says, unknown for `Local`. */
  readonly isEncrypted?: boolean | undefined
}

/**
 * What is known of the transport that the `Socket` stands for. Who provides the socket provides it too, so that a password
 * which goes unprotected to another machine is warned about. Default: nothing is known, and nothing is said.
 *
 * @category references
 * @since 0.1.0
 */
export const TransportProtection: Context.Reference<TransportProtection | undefined> = Context.Reference<
  TransportProtection | undefined
>("@effect-amqp/core/AmqpConnection/TransportProtection", { defaultValue: () => undefined })

const optionKeys = Validation.keysOf<Options>({
  credentials: true,
  mechanisms: true,
  credentialsRefreshMargin: true,
  virtualHost: true,
  heartbeat: true,
  frameMax: true,
  initialFrameMax: true,
  channelMax: true,
  maxHeaderSize: true,
  maxBodySize: true,
  maxPublishSize: true,
  maxIdleChannels: true,
  channelTimeout: true,
  connectTimeout: true,
  handshakeTimeout: true,
  requestTimeout: true,
  closeTimeout: true,
  connectionName: true,
  clientProperties: true,
  locale: true
})

const defaultMechanisms: NonEmptyReadonlyArray<AmqpSasl.Mechanism> = [AmqpSasl.plain, AmqpSasl.amqplain]

const guest: AmqpSasl.Credentials = { username: "guest", password: Redacted.make("guest") }

const mebibyte = 1024 * 1024

const mechanismsOf = (given: Options["mechanisms"] = defaultMechanisms): NonEmptyReadonlyArray<AmqpSasl.Mechanism> => {
  const mechanisms: ReadonlyArray<Partial<AmqpSasl.Mechanism> | null> = Array.isArray(given) ? given : []
  if (mechanisms.length > 0 && mechanisms.every((each) => typeof each?.start === "function")) return given
  throw Validation.invalid("mechanisms: must be a list of SASL mechanisms, such as [AmqpSasl.plain]")
}

/** The options, checked. Throws an `InvalidArgument`. */
const resolve = (given: Options, transport: TransportProtection | undefined): SessionOptions => {
  const options = Validation.knownKeys(given, optionKeys, "AmqpConnection options")
  const { credentials = guest, frameMax = 131072, initialFrameMax } = options
  const heartbeat = Validation.duration("heartbeat", options.heartbeat ?? "60 seconds", 0, true)
  return {
    credentials: Effect.isEffect(credentials) ? credentials : Effect.succeed(credentials),
    mechanisms: mechanismsOf(options.mechanisms),
    refreshMargin: Validation.duration(
      "credentialsRefreshMargin",
      options.credentialsRefreshMargin ?? "60 seconds",
      0,
      true
    ),
    transport,
    virtualHost: options.virtualHost ?? "/",
    locale: options.locale ?? "en_US",
    clientProperties: clientPropertiesOf(
      options.connectionName,
      Validation.record("clientProperties", options.clientProperties ?? {})
    ),
    heartbeatSeconds: Validation.wholeNumber("heartbeat (in seconds)", Duration.toSeconds(heartbeat), 0, 65535),
    frameMax: frameMax === 0 ? 0 : Validation.wholeNumber("frameMax (0, no limit, or bytes)", frameMax, 8192, maxFrame),
    initialFrameMax: initialFrameMax === undefined
      ? undefined
      : Validation.wholeNumber("initialFrameMax", initialFrameMax, 4096, maxFrame),
    channelMax: Validation.wholeNumber("channelMax", options.channelMax ?? 2047, 0, 65535),
    maxHeaderSize: Validation.wholeNumber("maxHeaderSize", options.maxHeaderSize ?? 16 * mebibyte, 0),
    maxBodySize: Validation.wholeNumber("maxBodySize", options.maxBodySize ?? 128 * mebibyte, 0),
    maxPublishSize: Validation.wholeNumber("maxPublishSize", options.maxPublishSize ?? 128 * mebibyte, 0),
    maxIdleChannels: Validation.wholeNumber("maxIdleChannels", options.maxIdleChannels ?? 8, 0, 65535),
    channelTimeout: Validation.duration("channelTimeout", options.channelTimeout ?? "10 seconds", 0),
    connectTimeout: Validation.duration("connectTimeout", options.connectTimeout ?? "30 seconds", 1),
    handshakeTimeout: Validation.duration("handshakeTimeout", options.handshakeTimeout ?? "10 seconds", 1),
    requestTimeout: Validation.duration("requestTimeout", options.requestTimeout ?? "30 seconds", 1),
    closeTimeout: Validation.duration("closeTimeout", options.closeTimeout ?? "5 seconds", 0, true)
  }
}

/** The largest size of a frame that connection.tune can name, in bytes. */
const maxFrame = 0xffffffff

/**
 * Connects, for as long as the scope lives.
 *
 * **Details**
 *
 * Fails with the reason
 *
 * - `ConnectFailed` when there is no transport, `SocketLost` when it ends early, `HandshakeTimeout` when the broker is silent;
 * - `AuthenticationFailed` or `VirtualHostRefused` when it refuses;
 * - `NoCommonMechanism`, `MechanismFailed` or `CredentialsUnavailable` when the client can't log in;
 * - `ProtocolViolation` when the peer is no AMQP 0-9-1 broker;
 * - `InvalidArgument` for options that are out of their range, and for a token, user name and client properties that together
 *   do not fit the first frame: 4096 bytes, 8192 with RabbitMQ 4.1 and later.
 *
 * Credentials that expire are renewed: before they do, the connection asks for others and hands the password to the broker
 * (`connection.update-secret`). When there are none, it logs a warning and asks again until the old ones expire. When that is
 * too late, or the broker refuses, the connection ends with `CredentialsUnavailable` or `UpdateSecretFailed`, which is logged
 * too. Who then connects again is asked for credentials again.
 *
 * **Example** (An OAuth 2.0 token for each connection)
 *
 * ```ts
 * import { AmqpConnection, AmqpError } from "@effect-amqp/core"
 * import * as DateTime from "effect/DateTime"
 * import * as Effect from "effect/Effect"
 * import * as Redacted from "effect/Redacted"
 *
 * declare const requestToken: Effect.Effect<{ readonly access_token: string; readonly expires_in: number }, Error>
 *
 * const AmqpLive = AmqpConnection.layer({
 *   credentials: Effect.gen(function*() {
 *     const token = yield* Effect.mapError(
 *       requestToken,
 *       (cause) => new AmqpError.CredentialsUnavailable({ description: "the token endpoint failed", cause })
 *     )
 *     return {
 *       username: "orders",
 *       password: Redacted.make(token.access_token),
 *       expiresAt: DateTime.add(yield* DateTime.now, { seconds: token.expires_in })
 *     }
 *   })
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options: Options = {}
): Effect.fn.Return<AmqpConnection["Service"], AmqpConnectionError, Scope.Scope | Socket.Socket> {
  const transport = yield* TransportProtection
  const sessionOptions = yield* Effect.mapError(
    Validation.check(() => resolve(options, transport)),
    (reason) => new AmqpConnectionError({ reason })
  )
  const scope = yield* Effect.scope
  // The session has a scope of its own: when it is lost, its socket and fibers go at once, not with the connection.
  const sessionScope = yield* Scope.fork(scope)
  const session = yield* Session.make(sessionOptions).pipe(
    Scope.provide(sessionScope),
    Effect.onError((cause) => Scope.close(sessionScope, Exit.failCause(cause)))
  )
  yield* Deferred.await(session.ended).pipe(
    Effect.tapError(warnOfRenewal),
    Effect.exit,
    Effect.flatMap((exit) => Effect.uninterruptible(Scope.close(sessionScope, exit))),
    Effect.forkIn(scope, { startImmediately: true })
  )
  const connection = connectionOf(session)
  register(connection, session)
  return connection
})

/** What an open connection ends with when its secret was not renewed; the last one for a token that does not fit a frame. */
const renewalReasons: ReadonlySet<string> = new Set(["UpdateSecretFailed", "CredentialsUnavailable", "InvalidArgument"])

/** A program that does not look at its connection should still leave a trace of why it lost it. */
const warnOfRenewal = ({ message, reason }: AmqpConnectionError): Effect.Effect<void> =>
  renewalReasons.has(reason._tag)
    ? Effect.logWarning(`The AMQP connection has ended, as it has no valid secret any more. ${message}`)
    : Effect.void

const stateOf = ({ failure, outbound: { blocked } }: Session.Session): State =>
  failure !== undefined
    ? State.Closed({ error: failure })
    : blocked !== undefined
    ? State.Blocked({ reason: blocked })
    : State.Open()

const stateChangesOf = (session: Session.Session): Stream.Stream<State> =>
  Stream.callback<State>((queue) =>
    Effect.gen(function*() {
      const { blockedListeners } = session.outbound
      const offer = () => void Queue.offerUnsafe(queue, stateOf(session))
      yield* Effect.acquireRelease(
        Effect.sync(() => blockedListeners.add(offer)),
        () => Effect.sync(() => blockedListeners.delete(offer))
      )
      offer()
      // Who comes after the end has seen it just now.
      if (session.failure === undefined) {
        yield* Effect.exit(Deferred.await(session.ended))
        offer()
      }
      yield* Queue.end(queue)
    }), { bufferSize: 16, strategy: "sliding" })

const connectionOf = (session: Session.Session): AmqpConnection["Service"] => {
  const { options: { clientProperties }, serverProperties, tuning } = session
  const { connection_name: name } = clientProperties
  const { capabilities } = serverProperties
  return {
    name: typeof name === "string" ? name : undefined,
    clientProperties,
    serverProperties,
    capabilities: new Set(
      isTable(capabilities) ? Object.keys(capabilities).filter((key) => capabilities[key] === true) : []
    ),
    mechanism: session.login.mechanism,
    negotiated: {
      frameMax: tuning.frameMax,
      channelMax: tuning.channelMax,
      heartbeat: Duration.seconds(tuning.heartbeatSeconds)
    },
    state: Effect.sync(() => stateOf(session)),
    stateChanges: stateChangesOf(session),
    channelCount: Effect.sync(() => session.channelCount),
    updateSecret: (secret, reason) => session.secrets.update(secret, reason),
    awaitClosed: Deferred.await(session.ended)
  }
}

/**
 * A connection as a Layer; see {@link make} for the errors.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<AmqpConnection, AmqpConnectionError, Socket.Socket> =>
  Layer.effect(AmqpConnection, make(options))
