/**
 * A connection to a broker, as a scoped resource and a Layer.
 *
 * A connection uses any `effect/socket/Socket`; `@effect-amqp/node` makes one from a URL. Closing the scope closes the
 * channels and the connection in order, each step with a time limit.
 *
 * A connection that is lost is established again ({@link RecoveryOptions}). What is in progress then fails at once with
 * the cause. Publishers, consumers, RPC clients and topologies go on with the new connection, and channel programs that
 * begin meanwhile wait for it. `docs/recovery.md` describes what is promised.
 *
 * The memory that a broker can make the client use is limited: the size of a frame ({@link Options}: `frameMax`), of a
 * message's properties (`maxHeaderSize`), of its body (`maxBodySize`), and the nesting of field tables (fixed at 32). A
 * frame or properties above their limit end the connection, a body above its limit is discarded as it arrives, and
 * reading properties with deeper tables fails. No error, log or inspected value shows a password or token.
 *
 * No object that a program can reach leads to a password or token, and its bytes are wiped when the broker has replied.
 * A string of the program's own, such as a URL, is not affected.
 *
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import type * as Redacted from "effect/Redacted"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as Stream from "effect/Stream"
import { AmqpConnectionError } from "./AmqpError.ts"
import type { CredentialsUnavailable } from "./AmqpError.ts"
import * as AmqpSasl from "./AmqpSasl.ts"
import { register } from "./internal/connection/connectionRegistry.ts"
import { start } from "./internal/connection/supervisor.ts"
import type { Supervisor } from "./internal/connection/supervisor.ts"
import type { Dialing } from "./internal/connection/supervisorState.ts"
import { clientPropertiesOf, isTable } from "./internal/options/clientProperties.ts"
import { resolveEndpoints } from "./internal/options/endpointOptions.ts"
import { resolveRecovery } from "./internal/options/recoveryOptions.ts"
import type { ConnectionOptions } from "./internal/options/sessionOptions.ts"
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
   * The user name and password or token. Default: RabbitMQ's `guest` / `guest`, which it accepts only from the same
   * machine.
   *
   * An Effect is run for each connection, when the broker asks for credentials, and so may fetch a token. It has to
   * succeed within `handshakeTimeout`; brokers usually wait for about 10 seconds. If its credentials expire, it is run
   * again before they do; see {@link make}.
   */
  readonly credentials?: AmqpSasl.Credentials | Effect.Effect<AmqpSasl.Credentials, CredentialsUnavailable> | undefined
  /**
   * The allowed SASL mechanisms, in order of preference: the first that the broker offers is used. Default: `plain`,
   * then `amqplain`.
   */
  readonly mechanisms?: NonEmptyReadonlyArray<AmqpSasl.Mechanism> | undefined
  /**
   * How long before their expiry credentials are renewed, but never in the first half of their remaining lifetime:
   * finite, from 0. Default: 60 seconds.
   */
  readonly credentialsRefreshMargin?: Duration.Input | undefined
  /** The virtual host. Default: `/`. */
  readonly virtualHost?: string | undefined
  /**
   * The heartbeat interval to request, in whole seconds from 0 to 65535. The smaller value of both sides is used; 0
   * from either side disables heartbeats. Default: 60 seconds.
   */
  readonly heartbeat?: Duration.Input | undefined
  /**
   * The maximum frame size to request, in bytes: 0 (no limit) or from 8192 to 2^32 - 1. The smaller value of both sides
   * is used. A larger frame from the broker ends the connection as soon as it begins. Default: 131072, as in RabbitMQ.
   */
  readonly frameMax?: number | undefined
  /**
   * The maximum size of frames that are sent before the limits are negotiated, in bytes from 4096 to 2^32 - 1. The
   * token, the user name and the client properties have to fit into one. Default: 4096, which AMQP 0-9-1 guarantees, or
   * 8192 with RabbitMQ 4.1 and later. Brokers do not announce another configuration (RabbitMQ, `initial_frame_max`).
   */
  readonly initialFrameMax?: number | undefined
  /**
   * The number of channels to request: 0 (no limit) to 65535. The smaller value of both sides is used. Default: 2047,
   * as in RabbitMQ.
   */
  readonly channelMax?: number | undefined
  /**
   * The maximum size of a content header (a message's properties and headers) where it is above `frameMax`, in bytes
   * including the 20 bytes around it. RabbitMQ sends a header of any size in one frame: a message may outgrow the limit
   * when dead-lettering adds `x-death`. A larger header ends the connection. Default: 16 MiB.
   */
  readonly maxHeaderSize?: number | undefined
  /**
   * The maximum size of a received body, in bytes from 0. Larger bodies are discarded as they arrive; the receiving
   * operation determines what happens to the message, see `onOversized` of `AmqpConsumer.Options`. Default: 128 MiB, as
   * `maxPublishSize`.
   */
  readonly maxBodySize?: number | undefined
  /**
   * The maximum size of a published body, in bytes from 0. A larger one fails before any of it is sent. Default: 128
   * MiB, the largest size that RabbitMQ accepts; from 4.0 on its default is 16 MiB (`max_message_size`).
   */
  readonly maxPublishSize?: number | undefined
  /**
   * How many idle channels of each mode (plain, confirm, transaction) are kept for later channel programs, from 0 to
   * 65535. Default: 8.
   */
  readonly maxIdleChannels?: number | undefined
  /**
   * How long to wait for a channel while all negotiated ones are in use, from 0; `Infinity` is no limit. Then the
   * operation fails with `TooManyChannels`. Waiting operations get channels in order. Default: 10 seconds.
   */
  readonly channelTimeout?: Duration.Input | undefined
  /** The limit for connecting, up to the open connection, from 1 ms; `Infinity` is no limit. Default: 30 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
  /**
   * The limit for each reply of the broker during the handshake, and for the credentials, from 1 ms; `Infinity` is no
   * limit. Default: 10 seconds.
   */
  readonly handshakeTimeout?: Duration.Input | undefined
  /**
   * The limit for each reply of the broker to a request on a channel, from 1 ms; `Infinity` is no limit. It keeps
   * running while the broker blocks the connection, as that may take long. Default: 30 seconds.
   */
  readonly requestTimeout?: Duration.Input | undefined
  /**
   * The limit for the broker's reply when a channel or the connection is closed: finite, from 0. Default: 5 seconds.
   */
  readonly closeTimeout?: Duration.Input | undefined
  /** The name of the connection in the broker's logs and management UI: the client property `connection_name`. */
  readonly connectionName?: string | undefined
  /**
   * Additional client properties (`rabbitmqctl list_connections client_properties`). Entries of `capabilities` are
   * added to those of this client.
   */
  readonly clientProperties?: FieldTable | undefined
  /** The language of the broker's texts. Default: `en_US`, which every broker supports. */
  readonly locale?: string | undefined
  /**
   * How the connection is established again when it is lost. `false`: not at all, everything on it fails with the cause.
   * Default: `true`, with the defaults of {@link RecoveryOptions}.
   */
  readonly recovery?: boolean | RecoveryOptions | undefined
}

/**
 * How a connection is established again when it is lost.
 *
 * **Details**
 *
 * The endpoints are tried one after the other, beginning with the one after that which was lost. When none could be
 * connected to, the next round begins after a pause. Addresses, certificates and credentials are read anew for each
 * attempt.
 *
 * A connection that ends before `stableAfter` counts as a failed attempt, so that a broker which accepts connections and
 * closes them again is not dialed without pauses.
 *
 * @category models
 * @since 0.1.0
 */
export interface RecoveryOptions {
  /**
   * The pauses between rounds, and how many there are; its input is the error of the round. It starts again after a
   * connection that lasted `stableAfter`. When it ends, so does the connection. Default: exponential from 250 ms to 30
   * seconds with full jitter (each pause is a random part of that), without end. The shortest pause is 50 ms, and a
   * second after an error that is not retryable. `Schedule.recurs(5)` has no pauses: combine it with `exponential` or
   * `spaced`.
   */
  readonly schedule?: Schedule.Schedule<unknown, AmqpConnectionError> | undefined
  /**
   * How long a connection has to last before the schedule starts again, from 0 to 24 days, or `Infinity`. Default: 10
   * seconds.
   */
  readonly stableAfter?: Duration.Input | undefined
  /**
   * What happens if the first round of attempts fails: the connection `fail`s to be made, or it is `retry`ed by the same
   * rules as a connection that is lost, for programs that may start before their broker. The wait is logged once.
   * Default: `fail`.
   */
  readonly initial?: "fail" | "retry" | undefined
  /**
   * How long operations that begin while there is no connection wait for one, from 0; `Infinity` is no limit: channel
   * programs, moves, new secrets, and publishers, consumers and RPC clients that are being made. After that they fail
   * with a `ConnectionLost` that `isRetryable`. Publishers have a limit of their own (`sendTimeout`). Default: 30 seconds.
   */
  readonly waitTimeout?: Duration.Input | undefined
  /**
   * Whether to try again after an error: that of a round, or the one with which the connection was lost. Default: yes after
   * a loss, if the error of a round `isRetryable`, and after an `InternalError` of the broker (541), which an operator may
   * mend. Other errors, such as refused credentials, a missing virtual host or an untrusted certificate, are tried again
   * until a round has failed with the same error three times in a row; a refusal of credentials that have changed is
   * another error. With several endpoints, the error of a round is an `EndpointsFailed` with the reason of each, which
   * `isRetryable` if one of them is.
   */
  readonly isRecoverable?: ((error: AmqpConnectionError) => boolean) | undefined
}

/**
 * A broker, or a node of a cluster, that a connection can be made to.
 *
 * @category models
 * @since 0.1.0
 */
export interface Endpoint {
  /** What logs, errors and states call it, such as `rabbit-1.example:5672`. */
  readonly name: string
  /** Connects each time its reader is acquired. An error whose cause has `isRetryable: false` counts as a refusal. */
  readonly socket: Socket.Socket
  /** How well the transport protects a secret. Default: unknown. */
  readonly transport?: TransportProtection | undefined
  /** The credentials for this endpoint, unless the options of the connection have some. */
  readonly credentials?: AmqpSasl.Credentials | undefined
}

/**
 * The progress of the attempts to connect.
 *
 * @category models
 * @since 0.1.0
 */
export interface Attempts {
  /** How many attempts have begun since the connection was lost or was first made. */
  readonly attempt: number
  /** The endpoint of the current or last attempt. */
  readonly endpoint: string | undefined
  /** Why the last attempt or round of attempts failed. */
  readonly lastError: AmqpConnectionError | undefined
  /** When the next attempt begins. `undefined` while one is under way. */
  readonly nextAttempt: Date | undefined
}

/**
 * The state of a connection.
 *
 * **Details**
 *
 * - `Connecting`: it is being made for the first time, or replaced by `reconnect`.
 * - `Open`: the connection is usable.
 * - `Blocked`: the broker is short of memory or disk, and this connection has published (RabbitMQ, "Blocked
 *   Connections"); `reason` is the broker's text. RabbitMQ reads nothing more from the connection: publishers wait,
 *   requests fail with `RequestTimeout`, and acknowledgements are not seen, so that consumers stall at their prefetch.
 *   Heartbeats continue. Connections that have not published are not blocked: use one connection to publish and another
 *   to consume.
 * - `Recovering`: the connection was lost because of `cause`, at the time `since`, and is being established again.
 * - `Closed`: the connection has ended with this error, and is not established again. This is the last state.
 *
 * @category models
 * @since 0.1.0
 */
export type State = Data.TaggedEnum<{
  readonly Connecting: Attempts
  readonly Open: { readonly endpoint: string }
  readonly Blocked: { readonly endpoint: string; readonly reason: string }
  readonly Recovering: Attempts & { readonly cause: AmqpConnectionError; readonly since: Date }
  readonly Closed: { readonly error: AmqpConnectionError }
}>

/**
 * Constructors and matchers of states: `State.Open({ endpoint })`, `State.$is("Blocked")`, `State.$match`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const State = Data.taggedEnum<State>()

/**
 * The names of RabbitMQ's capabilities beyond AMQP 0-9-1. Brokers may announce others.
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
 * An open connection.
 *
 * **Example** (Not accepting orders while the broker can't store them)
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
  /** The name of the connection, if it has one. */
  readonly name: string | undefined
  /** The client properties that are sent to the broker. */
  readonly clientProperties: FieldTable
  /** The properties of the broker that the connection is open to, or was last: product, version, capabilities. */
  readonly serverProperties: Effect.Effect<FieldTable>
  /** The capabilities that this broker announced, such as `basic.nack`. */
  readonly capabilities: Effect.Effect<ReadonlySet<Capability | (string & {})>>
  /** The name of the SASL mechanism that was used last. */
  readonly mechanism: Effect.Effect<string>
  /**
   * The limits that were negotiated last: frame size in bytes, number of channels (0: no limit), heartbeat interval (0:
   * none).
   */
  readonly negotiated: Effect.Effect<{
    readonly frameMax: number
    readonly channelMax: number
    readonly heartbeat: Duration.Duration
  }>
  /** The current state. */
  readonly state: Effect.Effect<State>
  /**
   * The current state and all changes, up to `Closed`. Slow subscribers may skip intermediate states but always see the
   * latest.
   */
  readonly stateChanges: Stream.Stream<State>
  /** The number of open channels, including idle ones that are kept for later programs. */
  readonly channelCount: Effect.Effect<number>
  /**
   * Replaces the password or token of this connection (`connection.update-secret`, in RabbitMQ since 3.8). Succeeds
   * when the broker has accepted it. The reason appears in the broker's logs and holds at most 255 bytes. While there
   * is no connection, waits as long as channel programs do. If the credentials of the connection are fixed, and not an
   * Effect, later logins use the new secret.
   *
   * Credentials with an expiry are renewed automatically. If the broker refuses the secret, or does not reply within
   * `requestTimeout`, the connection is lost with `UpdateSecretFailed`. If the secret does not fit into a frame, or the
   * reason is too long, this fails with `InvalidArgument` and the connection stays open.
   */
  readonly updateSecret: (
    secret: Redacted.Redacted<string>,
    reason: string
  ) => Effect.Effect<void, AmqpConnectionError>
  /**
   * Replaces the connection in order, for drills and rotations. First, consumers take no further messages, and let their
   * handlers finish, which may publish and run programs. Then new operations wait, publishers wait for their confirms,
   * and channel programs end. Then consumers requeue what they have not handled, the connection is closed, and the next
   * endpoint is dialed. Each of these steps takes at most `closeTimeout`. Succeeds when the connection is open again; fails when it has closed for good. What does not
   * end in time fails with `ConnectionLost`, caused by a `ConnectionReplaced`. While there is no connection, the next
   * attempt begins at once instead of after its pause.
   *
   * A handler or a channel program that waits for this would wait for itself: the message is delivered again, and the program fails. Fork it
   * instead.
   */
  readonly reconnect: Effect.Effect<void, AmqpConnectionError>
  /** Waits until the connection has closed and is not established again, and fails with the reason. */
  readonly awaitClosed: Effect.Effect<never, AmqpConnectionError>
}>()("@effect-amqp/core/AmqpConnection") {}

/**
 * How well a transport protects a secret.
 *
 * @category models
 * @since 0.1.0
 */
export interface TransportProtection {
  /** The address of the peer, for logs and errors: `rabbit.example:5672`. */
  readonly peer: string
  /**
   * What protects the connection from eavesdroppers:
   *
   * - `Verified`: encryption, with a verified peer.
   * - `Unverified`: encryption, with a peer that is not verified.
   * - `Local`: nothing leaves the machine.
   * - `None`: nothing.
   */
  readonly level: "Verified" | "Unverified" | "Local" | "None"
  /** Whether the transport uses TLS, for hints in errors. Default: as `level` implies, unknown for `Local`. */
  readonly isEncrypted?: boolean | undefined
}

/**
 * The protection of the transport under the provided `Socket`. Provide it with the socket to get a warning when a
 * password is sent to another machine unprotected. Default: `undefined`, unknown, without warnings.
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
  locale: true,
  recovery: true
})

const defaultMechanisms: NonEmptyReadonlyArray<AmqpSasl.Mechanism> = [AmqpSasl.plain, AmqpSasl.amqplain]

const mebibyte = 1024 * 1024

const mechanismsOf = (given: Options["mechanisms"] = defaultMechanisms): NonEmptyReadonlyArray<AmqpSasl.Mechanism> => {
  const mechanisms: ReadonlyArray<Partial<AmqpSasl.Mechanism> | null> = Array.isArray(given) ? given : []
  if (mechanisms.length > 0 && mechanisms.every((each) => typeof each?.start === "function")) return given
  throw Validation.invalid("mechanisms: must be a list of SASL mechanisms, such as [AmqpSasl.plain]")
}

/** The options, checked and with defaults. Throws an `InvalidArgument`. */
const resolve = (given: EndpointOptions, givenEndpoints: NonEmptyReadonlyArray<Endpoint>): ConnectionOptions => {
  const endpoints = resolveEndpoints(givenEndpoints)
  const options = Validation.knownKeys(given, [...optionKeys, "endpointOrder"], "AmqpConnection options")
  const { credentials, frameMax = 131072, initialFrameMax } = options
  const heartbeat = Validation.duration("heartbeat", options.heartbeat ?? "60 seconds", 0, true)
  return {
    credentials,
    endpoints,
    isShuffled:
      Validation.oneOf("endpointOrder", options.endpointOrder ?? "shuffled", ["shuffled", "ordered"]) === "shuffled",
    recovery: resolveRecovery(options.recovery),
    mechanisms: mechanismsOf(options.mechanisms),
    refreshMargin: Validation.duration(
      "credentialsRefreshMargin",
      options.credentialsRefreshMargin ?? "60 seconds",
      0,
      true
    ),
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

/** The maximum frame size in `connection.tune`, in bytes. */
const maxFrame = 0xffffffff

/**
 * Connects, until the scope closes.
 *
 * **Details**
 *
 * Fails with an `AmqpConnectionError` with the reason
 *
 * - `ConnectFailed` if no transport could be opened, `SocketLost` if it ended early, `HandshakeTimeout` if the broker
 *   did not reply in time;
 * - `AuthenticationFailed` or `VirtualHostRefused` if the broker refused;
 * - `NoCommonMechanism`, `MechanismFailed` or `CredentialsUnavailable` if the client can't log in;
 * - `ProtocolViolation` if the peer is not an AMQP 0-9-1 broker;
 * - `InvalidArgument` for options out of range, and for a token, user name and client properties that do not fit into
 *   the first frame: 4096 bytes, or 8192 with RabbitMQ 4.1 and later.
 *
 * Credentials with an expiry are renewed before they expire: the connection gets new ones and sends their password to
 * the broker (`connection.update-secret`). If that fails, it logs a warning and retries until the old ones expire.
 * Then, or if the broker refuses the new password, the connection is lost with `CredentialsUnavailable` or
 * `UpdateSecretFailed`, and established again with credentials that are asked for anew.
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
  const socket = yield* Socket.Socket
  const transport = yield* TransportProtection
  yield* checkOptions(() => Validation.knownKeys(options, optionKeys, "AmqpConnection options"))
  return yield* makeFrom([{ name: transport?.peer ?? "the broker", socket, transport }], options)
})

/**
 * The options of a connection that has a choice of endpoints.
 *
 * @category models
 * @since 0.1.0
 */
export interface EndpointOptions extends Options {
  /**
   * The order in which the endpoints are tried: `shuffled` spreads the clients of a cluster over its nodes, `ordered` is
   * the given order. Default: `shuffled`.
   */
  readonly endpointOrder?: "shuffled" | "ordered" | undefined
}

const checkOptions = <A>(resolve: () => A): Effect.Effect<A, AmqpConnectionError> =>
  Effect.mapError(Validation.check(resolve), (reason) => new AmqpConnectionError({ reason }))

/**
 * Connects to one of several endpoints, such as the nodes of a cluster, until the scope closes. One after the other is
 * tried, without pauses. Fails like {@link make}, and with an `EndpointsFailed` that has the reason of each if none of
 * several could be connected to.
 *
 * **When to use**
 *
 * Use with transports of your own; `NodeAmqp.make` of `@effect-amqp/node` takes URLs.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeFrom = Effect.fnUntraced(function*(
  endpoints: NonEmptyReadonlyArray<Endpoint>,
  options: EndpointOptions = {}
): Effect.fn.Return<AmqpConnection["Service"], AmqpConnectionError, Scope.Scope> {
  const resolved = yield* checkOptions(() => resolve(options, endpoints))
  const supervisor = yield* start(resolved)
  const connection = connectionOf(supervisor)
  register(connection, supervisor)
  return connection
})

const stateOf = ({ session, state }: Supervisor): State => {
  const attemptsOf = ({ attempt, endpoint, lastError, nextAttempt }: Dialing): Attempts => ({
    attempt,
    endpoint,
    lastError,
    nextAttempt: nextAttempt === undefined ? undefined : new Date(nextAttempt)
  })
  switch (state._tag) {
    case "Connecting":
      return State.Connecting(attemptsOf(state))
    case "Recovering":
      return State.Recovering({ ...attemptsOf(state), cause: state.cause, since: new Date(state.since) })
    case "Closed":
      return State.Closed({ error: state.error })
    case "Open": {
      const { endpoint } = state
      const reason = session?.outbound.blocked
      return reason === undefined ? State.Open({ endpoint }) : State.Blocked({ endpoint, reason })
    }
  }
}

const stateChangesOf = (supervisor: Supervisor): Stream.Stream<State> =>
  Stream.callback<State>((queue) =>
    Effect.gen(function*() {
      const offer = () => void Queue.offerUnsafe(queue, stateOf(supervisor))
      yield* Effect.acquireRelease(
        Effect.sync(() => supervisor.stateListeners.add(offer)),
        () => Effect.sync(() => supervisor.stateListeners.delete(offer))
      )
      offer()
      // A subscriber after the end has already got `Closed`, and the listener gets it otherwise.
      yield* Effect.exit(Deferred.await(supervisor.closed))
      yield* Queue.end(queue)
    }), { bufferSize: 16, strategy: "sliding" })

const connectionOf = (supervisor: Supervisor): AmqpConnection["Service"] => {
  const { options: { clientProperties } } = supervisor
  const { connection_name: name } = clientProperties
  return {
    name: typeof name === "string" ? name : undefined,
    clientProperties,
    serverProperties: Effect.sync(() => supervisor.latest.serverProperties),
    capabilities: Effect.sync(() => {
      const { capabilities } = supervisor.latest.serverProperties
      return new Set(
        isTable(capabilities) ? Object.keys(capabilities).filter((key) => capabilities[key] === true) : []
      )
    }),
    mechanism: Effect.sync(() => supervisor.latest.login.mechanism),
    negotiated: Effect.sync(() => {
      const { channelMax, frameMax, heartbeatSeconds } = supervisor.latest.tuning
      return { frameMax, channelMax, heartbeat: Duration.seconds(heartbeatSeconds) }
    }),
    state: Effect.sync(() => stateOf(supervisor)),
    stateChanges: stateChangesOf(supervisor),
    channelCount: Effect.sync(() => supervisor.session?.channelCount ?? 0),
    updateSecret: (secret, reason) => supervisor.updateSecret(secret, reason),
    reconnect: supervisor.reconnect,
    awaitClosed: Deferred.await(supervisor.closed)
  }
}

/**
 * Provides a connection; see {@link make} for the errors.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<AmqpConnection, AmqpConnectionError, Socket.Socket> =>
  Layer.effect(AmqpConnection, make(options))

/**
 * Provides a connection to one of several endpoints; see {@link makeFrom} for the errors.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerFrom = (
  endpoints: NonEmptyReadonlyArray<Endpoint>,
  options: EndpointOptions = {}
): Layer.Layer<AmqpConnection, AmqpConnectionError> => Layer.effect(AmqpConnection, makeFrom(endpoints, options))
