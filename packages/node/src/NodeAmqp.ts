/**
 * AMQP connections over TCP and TLS on Node.js, from a URL.
 *
 * @since 0.1.0
 */
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import { AmqpConnectionError, InvalidArgument } from "@effect-amqp/core/AmqpError"
import * as AmqpSasl from "@effect-amqp/core/AmqpSasl"
import * as AmqpUri from "@effect-amqp/core/AmqpUri"
import { isReadonlyArrayNonEmpty } from "effect/Array"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as net from "node:net"
import * as tls from "node:tls"
import * as dial from "./internal/dial.ts"
import { addressOf, protectionOf } from "./internal/protection.ts"
import { tlsOptions, withoutKeys } from "./internal/tlsOptions.ts"

/**
 * Options of `tls.connect`, on top of what an `amqps://` URL says and before it. Not among them is where to connect to,
 * which the URL says.
 *
 * **Details**
 *
 * By default a connection takes TLS 1.2 and 1.3, verifies the server's certificate with the authorities that Node.js
 * trusts and against the host, and sends the host as server name unless it is an IP address. The environment variable
 * `NODE_TLS_REJECT_UNAUTHORIZED` changes nothing.
 *
 * @category models
 * @since 0.1.0
 */
export interface TlsOptions
  extends Omit<tls.ConnectionOptions, "host" | "port" | "path" | "socket" | "rejectUnauthorized" | "passphrase">
{
  /** What `key` or `pfx` is encrypted with. Default: what the URL says. */
  readonly passphrase?: string | Redacted.Redacted<string> | undefined
  /**
   * UNSAFE. Takes whatever certificate the server presents, for whatever host, so that whoever is on the way can pose as the
   * server, and have the password. In the terms of `tls.connect`, `rejectUnauthorized: false`. Default: what the URL says, where
   * it is `verify=verify_none`, and else `false`. To trust a certificate of your own, give its authority as `ca`.
   */
  readonly dangerouslyAcceptAnyCertificate?: boolean | undefined
}

/**
 * Where a broker is.
 *
 * @category models
 * @since 0.1.0
 */
export interface SocketOptions {
  /**
   * `amqp[s]://user:password@host:port/virtual-host?parameters`, see `AmqpUri.parse` for the details. `AmqpUri.make` makes
   * one of its parts.
   */
  readonly url: string | Redacted.Redacted<string> | AmqpUri.AmqpUri
  /** Only with an `amqps://` URL. Wins over what that says. */
  readonly tls?: TlsOptions | undefined
}

/**
 * Where a broker is and how to connect to it. An option that is given wins over what the URL says, and what neither says
 * has the default of `AmqpConnection`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends SocketOptions, AmqpConnection.Options {}

/** The compiler wants each key of the options, and no other. */
const optionKeys = Object.keys(
  {
    url: true,
    tls: true,
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
  } satisfies Record<keyof Options, true>
)

/** Refuses options that would be ignored: types don't find a wrong key in what comes from a variable or a spread. */
const checkKeys = (options: object): Effect.Effect<void, AmqpConnectionError> => {
  const unknown = Object.keys(options).find((key) => !optionKeys.includes(key))
  return unknown === undefined
    ? Effect.void
    : Effect.fail(
      new AmqpConnectionError({ reason: InvalidArgument.unknownKey("NodeAmqp options", unknown, optionKeys) })
    )
}

const socketKeys = Object.keys({ url: true, tls: true } satisfies Record<keyof SocketOptions, true>)

const checkSocketKeys = (options: object): Effect.Effect<void, AmqpUri.AmqpUriError> => {
  const unknown = Object.keys(options).find((key) => !socketKeys.includes(key))
  if (unknown === undefined) return Effect.void
  const { message } = InvalidArgument.unknownKey("NodeAmqp socket options", unknown, socketKeys)
  return Effect.fail(new AmqpUri.AmqpUriError({ part: "Uri", message }))
}

const parse = (url: SocketOptions["url"] | undefined): Result.Result<AmqpUri.AmqpUri, AmqpUri.AmqpUriError> => {
  if (url === undefined) {
    return Result.fail(new AmqpUri.AmqpUriError({ part: "Uri", message: "There is no url among the options" }))
  }
  if (url instanceof AmqpUri.AmqpUri) return Result.succeed(url)
  // A copy with other parts, such as `{ ...uri, virtualHost: "orders" }`, is no instance, and was not checked.
  return typeof url === "string" || Redacted.isRedacted(url) ? AmqpUri.parse(url) : AmqpUri.make(url)
}

const parseUrl = ({ tls, url }: SocketOptions): Effect.Effect<AmqpUri.AmqpUri, AmqpUri.AmqpUriError> =>
  Effect.flatMap(
    Effect.fromResult(parse(url)),
    (uri) =>
      tls === undefined || uri.tls !== undefined
        ? Effect.succeed(uri)
        : Effect.fail(
          new AmqpUri.AmqpUriError({
            part: "Scheme",
            message: "There are TLS options, but the URL begins with amqp://, which is not encrypted; use amqps://"
          })
        )
  )

/**
 * A socket to the broker of a URI. Each time its reader is acquired it connects anew: resolves the name, and with TLS
 * reads the files of certificates.
 *
 * **When to use**
 *
 * Use with `AmqpConnection.make` or `layer` when the URL is known to be right, or is made by `AmqpUri.make`. What the
 * connection may use to warn of an unprotected password is provided by {@link layerSocket} and {@link make} only.
 *
 * **Details**
 *
 * Nothing is sent late to fill a packet (`noDelay` is on). A failure to connect is a `SocketError` with a
 * `SocketOpenError`, whose `cause` is an error with a message for people and with that of Node.js as its own cause. When
 * the connection ends, what was written has a second to leave.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeSocket = (uri: AmqpUri.AmqpUri, options: TlsOptions = {}): Effect.Effect<Socket.Socket> => {
  const { host, port } = uri
  const name = addressOf(uri)
  if (uri.tls === undefined) {
    const connect = () => net.connect({ host, port, noDelay: true })
    return dial.makeSocket(name, Effect.succeed({ connect, readyEvent: "connect" }))
  }
  const { dangerouslyAcceptAnyCertificate = uri.tls.dangerouslyAcceptAnyCertificate, passphrase, ...more } = options
  return dial.makeSocket(
    name,
    Effect.map(tlsOptions(uri, uri.tls), (fromUri) => ({
      connect: () => {
        // Node.js would show the value in its error.
        if (passphrase !== undefined && typeof passphrase !== "string" && !Redacted.isRedacted(passphrase)) {
          throw new TypeError("passphrase: must be a string or a Redacted")
        }
        // A text such as "false" would count as true.
        if (typeof dangerouslyAcceptAnyCertificate !== "boolean") {
          throw new TypeError("dangerouslyAcceptAnyCertificate: must be true or false")
        }
        const given = passphrase === undefined
          ? { ...fromUri, ...more }
          : {
            ...fromUri,
            ...more,
            passphrase: Redacted.isRedacted(passphrase) ? Redacted.value(passphrase) : passphrase
          }
        // In any case, as else the environment variable NODE_TLS_REJECT_UNAUTHORIZED could turn it off; and last, as an object
        // that was made elsewhere may have more than its type says.
        return tls.connect({ ...withoutKeys(given), rejectUnauthorized: !dangerouslyAcceptAnyCertificate, host, port })
      },
      readyEvent: "secureConnect"
    }))
  )
}

/**
 * Provides a socket to the broker of a URL, for an `AmqpConnection` layer, and what that should know of it
 * (`AmqpConnection.TransportProtection`). Fails when the URL is not valid.
 *
 * @see {@link makeSocket}
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSocket = (options: SocketOptions): Layer.Layer<Socket.Socket, AmqpUri.AmqpUriError> =>
  Layer.unwrap(Effect.map(Effect.andThen(checkSocketKeys(options), parseUrl(options)), (uri) =>
    Layer.merge(
      Layer.effect(Socket.Socket, makeSocket(uri, options.tls)),
      Layer.succeed(AmqpConnection.TransportProtection, protectionOf(uri, options.tls?.dangerouslyAcceptAnyCertificate))
    )))

/**
 * Connects to the broker of a URL, for as long as the scope lives.
 *
 * **Details**
 *
 * Fails with an `AmqpUriError` when the URL is not valid, and then has not tried to connect; otherwise with the errors of
 * `AmqpConnection.make`, whose reason `ConnectFailed` has the words of Node.js and OpenSSL, and what to do about them. An unknown
 * option is an `InvalidArgument`.
 *
 * `connection_timeout` or `timeout` in the URL is the option `connectTimeout`: it bounds not only the connection of TCP,
 * but all steps until the broker has opened the virtual host.
 *
 * A password that goes to another machine without TLS, or to a server that need not prove who it is, is warned about with
 * `Effect.logWarning`, once for each broker, as long as the program logs to the same loggers.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options
): Effect.Effect<
  AmqpConnection.AmqpConnection["Service"],
  AmqpUri.AmqpUriError | AmqpConnectionError,
  Scope.Scope
> =>
  Effect.flatMap(Effect.andThen(checkKeys(options), parseUrl(options)), (uri) => {
    const { tls, url: _url, ...connection } = options
    return AmqpConnection.make({
      ...connection,
      credentials: options.credentials ?? { username: uri.username, password: uri.password },
      virtualHost: options.virtualHost ?? uri.virtualHost,
      heartbeat: options.heartbeat ?? uri.heartbeat,
      frameMax: options.frameMax ?? uri.frameMax,
      channelMax: options.channelMax ?? uri.channelMax,
      connectTimeout: options.connectTimeout ?? uri.connectTimeout,
      locale: options.locale ?? uri.locale,
      mechanisms: options.mechanisms ?? mechanismsOf(uri)
    }).pipe(
      Effect.provideService(
        AmqpConnection.TransportProtection,
        protectionOf(uri, tls?.dangerouslyAcceptAnyCertificate)
      ),
      Effect.provideServiceEffect(Socket.Socket, makeSocket(uri, tls))
    )
  })

const mechanismsOf = ({ mechanisms = [] }: AmqpUri.AmqpUri) => {
  const found = mechanisms.map(AmqpSasl.fromName)
  return isReadonlyArrayNonEmpty(found) ? found : undefined
}

/**
 * Provides a connection to the broker of a URL; see {@link make} for the errors.
 *
 * **Example** (A broker on this machine)
 *
 * ```ts
 * import { NodeAmqp } from "@effect-amqp/node"
 *
 * const AmqpLive = NodeAmqp.layer({ url: "amqp://guest:guest@localhost:5672", connectionName: "orders" })
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options
): Layer.Layer<AmqpConnection.AmqpConnection, AmqpUri.AmqpUriError | AmqpConnectionError> =>
  Layer.effect(AmqpConnection.AmqpConnection, make(options))

/**
 * Provides a connection whose options come from `Config`; see {@link make} for the errors.
 *
 * **Details**
 *
 * Credentials of their own are one config: `Config.all({ username: Config.String("USER"), password: Config.Redacted("PASS") })`.
 *
 * **Example** (The URL from an environment variable)
 *
 * ```ts
 * import { NodeAmqp } from "@effect-amqp/node"
 * import * as Config from "effect/Config"
 *
 * const AmqpLive = NodeAmqp.layerConfig({ url: Config.Redacted("AMQP_URL") })
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<
  AmqpConnection.AmqpConnection,
  Config.ConfigError | AmqpUri.AmqpUriError | AmqpConnectionError
> =>
  Layer.effect(
    AmqpConnection.AmqpConnection,
    Effect.andThen(
      Config.isConfig(options) ? Effect.void : checkKeys(options),
      Effect.flatMap(Config.unwrap(options), make)
    )
  )
