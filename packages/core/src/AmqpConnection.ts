/**
 * A connection to a broker, as a scoped resource and a Layer.
 *
 * The connection runs over any `effect/socket/Socket`; `@effect-amqp/node` makes one from a URL. Its fibers own the socket:
 * one reads, one writes, one keeps the heartbeat. Closing the scope closes the channels and the connection in order, each
 * step bounded in time. When the connection is lost, everything that uses it fails at once with the cause.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import type * as Socket from "effect/socket/Socket"
import { AmqpConnectionError, InvalidArgument } from "./AmqpError.ts"
import * as Session from "./internal/session.ts"
import type { SessionOptions } from "./internal/sessionOptions.ts"
import type { FieldTable } from "./protocol/fieldTable.ts"

/**
 * How to connect.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** For the SASL mechanism PLAIN. Default: RabbitMQ's `guest` / `guest`, which it accepts from the same machine only. */
  readonly credentials?: { readonly username: string; readonly password: Redacted.Redacted<string> } | undefined
  /** Default: `/`. */
  readonly virtualHost?: string | undefined
  /**
   * The heartbeat interval to ask for, in whole seconds from 0 to 65535; the smaller of both sides' is used, and 0 from
   * either turns heartbeats off. Default: 60 seconds.
   */
  readonly heartbeat?: Duration.Input | undefined
  /** The largest frame to ask for, in bytes: 0 (no limit) or 8192 and more. Default: 131072. */
  readonly frameMax?: number | undefined
  /** The number of channels to ask for: 0 (no limit) to 65535. Default: 2047. */
  readonly channelMax?: number | undefined
  /** The largest message body that is accepted, in bytes; larger ones are dropped as they come. Default: 16 MiB. */
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
  /** For everything from the dial to the open connection. Default: 30 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
  /** For each answer of the broker during the handshake. Default: 10 seconds. */
  readonly handshakeTimeout?: Duration.Input | undefined
  /** For each answer of the broker to a request on a channel. Default: 30 seconds. */
  readonly requestTimeout?: Duration.Input | undefined
  /** For the broker's answer when a channel or the connection is closed. Default: 5 seconds. */
  readonly closeTimeout?: Duration.Input | undefined
  /** What the broker's management shows for this connection. */
  readonly connectionName?: string | undefined
  /** More properties for the broker's management to show. */
  readonly clientProperties?: FieldTable | undefined
  /** Default: `en_US`. */
  readonly locale?: string | undefined
}

/**
 * A connection.
 *
 * @category services
 * @since 0.1.0
 */
export class AmqpConnection extends Context.Service<AmqpConnection, {
  /** What the broker says of itself: product, version, capabilities. */
  readonly serverProperties: FieldTable
  /** The negotiated limits: bytes of a frame and number of channels (0: no limit), heartbeat interval (0: none). */
  readonly negotiated: { readonly frameMax: number; readonly channelMax: number; readonly heartbeat: Duration.Duration }
  /** Waits for the end of the connection and fails with its cause. */
  readonly awaitClosed: Effect.Effect<never, AmqpConnectionError>
}>()("@effect-amqp/core/AmqpConnection") {}

const sessionKey: unique symbol = Symbol("@effect-amqp/core/session")

/** A connection as this package makes it: with the session that its channels are opened in. */
type ConnectionWithSession = AmqpConnection["Service"] & { readonly [sessionKey]: Session.Session }

/**
 * The session behind the connection.
 *
 * @internal
 */
export const session: Effect.Effect<Session.Session, never, AmqpConnection> = Effect.map(
  AmqpConnection,
  // Only `make` makes connections.
  (connection) => (connection as ConnectionWithSession)[sessionKey]
)

const invalid = (description: string) =>
  Effect.fail(new AmqpConnectionError({ reason: new InvalidArgument({ description }) }))

const capabilities: FieldTable = {
  publisher_confirms: true,
  exchange_exchange_bindings: true,
  "basic.nack": true,
  consumer_cancel_notify: true,
  "connection.blocked": true,
  authentication_failure_close: true
}

const integerIn = (value: number, minimum: number, maximum: number): boolean =>
  Number.isInteger(value) && value >= minimum && value <= maximum

const resolve = (options: Options): Effect.Effect<SessionOptions, AmqpConnectionError> => {
  const heartbeatSeconds = Duration.toSeconds(options.heartbeat ?? "60 seconds")
  const { channelMax = 2047, frameMax = 131072, maxBodySize = 16 * 1024 * 1024 } = options
  const { maxIdleChannels = 8, maxPublishSize = 128 * 1024 * 1024 } = options
  if (!integerIn(heartbeatSeconds, 0, 65535)) return invalid("heartbeat: must be whole seconds from 0 to 65535")
  if (frameMax !== 0 && !integerIn(frameMax, 8192, 0xffffffff)) {
    return invalid("frameMax: must be 0 (no limit) or whole bytes from 8192 to 4294967295")
  }
  if (!integerIn(channelMax, 0, 65535)) return invalid("channelMax: must be a whole number from 0 to 65535")
  if (!integerIn(maxBodySize, 0, Number.MAX_SAFE_INTEGER)) return invalid("maxBodySize: must be whole bytes from 0")
  if (!integerIn(maxIdleChannels, 0, 65535)) return invalid("maxIdleChannels: must be a whole number from 0 to 65535")
  if (!integerIn(maxPublishSize, 0, Number.MAX_SAFE_INTEGER)) {
    return invalid("maxPublishSize: must be whole bytes from 0")
  }
  return Effect.succeed({
    username: options.credentials?.username ?? "guest",
    password: options.credentials?.password ?? Redacted.make("guest"),
    virtualHost: options.virtualHost ?? "/",
    locale: options.locale ?? "en_US",
    clientProperties: {
      product: "effect-amqp",
      platform: "Effect",
      capabilities,
      ...(options.connectionName === undefined ? {} : { connection_name: options.connectionName }),
      ...options.clientProperties
    },
    heartbeatSeconds,
    frameMax,
    channelMax,
    maxBodySize,
    maxPublishSize,
    maxIdleChannels,
    connectTimeout: Duration.fromInputUnsafe(options.connectTimeout ?? "30 seconds"),
    handshakeTimeout: Duration.fromInputUnsafe(options.handshakeTimeout ?? "10 seconds"),
    requestTimeout: Duration.fromInputUnsafe(options.requestTimeout ?? "30 seconds"),
    closeTimeout: Duration.fromInputUnsafe(options.closeTimeout ?? "5 seconds")
  })
}

/**
 * Connects, for as long as the scope lives.
 *
 * **Details**
 *
 * Fails with the reason `DialFailed` when there is no transport, `HandshakeTimeout` when the broker is silent,
 * `AuthenticationFailed` or `VirtualHostRefused` when it refuses, `ProtocolViolation` when the peer is no AMQP 0-9-1
 * broker, and `InvalidArgument` for options out of their range.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options: Options = {}
): Effect.fn.Return<AmqpConnection["Service"], AmqpConnectionError, Scope.Scope | Socket.Socket> {
  const sessionOptions = yield* resolve(options)
  const scope = yield* Effect.scope
  // The session has a scope of its own: when it is lost, its socket and fibers go at once, not with the connection.
  const sessionScope = yield* Scope.fork(scope)
  const session = yield* Session.make(sessionOptions).pipe(
    Scope.provide(sessionScope),
    Effect.onError((cause) => Scope.close(sessionScope, Exit.failCause(cause)))
  )
  yield* Deferred.await(session.ended).pipe(
    Effect.exit,
    Effect.flatMap((exit) => Effect.uninterruptible(Scope.close(sessionScope, exit))),
    Effect.forkIn(scope, { startImmediately: true })
  )
  const { tuning } = session
  const connection: ConnectionWithSession = {
    serverProperties: session.serverProperties,
    negotiated: {
      frameMax: tuning.frameMax,
      channelMax: tuning.channelMax,
      heartbeat: Duration.seconds(tuning.heartbeatSeconds)
    },
    awaitClosed: Deferred.await(session.ended),
    [sessionKey]: session
  }
  return connection
})

/**
 * A connection as a Layer; see {@link make} for the errors.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<AmqpConnection, AmqpConnectionError, Socket.Socket> =>
  Layer.effect(AmqpConnection, make(options))
