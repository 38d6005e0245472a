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
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as net from "node:net"
import * as tls from "node:tls"
import type { Connect } from "./internal/connection.ts"
import * as dial from "./internal/dial.ts"
import { addressOf, protectionOf } from "./internal/protection.ts"
import { tlsOptions, withoutKeys } from "./internal/tlsOptions.ts"

/**
 * Options of `tls.connect`, which take precedence over an `amqps://` URL, except for the address, which the URL
 * determines.
 *
 * **Details**
 *
 * By default, a connection uses TLS 1.2 or 1.3, verifies the server's certificate against the host and the authorities
 * that Node.js trusts, and sends the host as server name unless it is an IP address. The environment variable
 * `NODE_TLS_REJECT_UNAUTHORIZED` has no effect.
 *
 * @category models
 * @since 0.1.0
 */
export interface TlsOptions
  extends Omit<tls.ConnectionOptions, "host" | "port" | "path" | "socket" | "rejectUnauthorized" | "passphrase">
{
  /** The passphrase of `key` or `pfx`. Default: that of the URL. */
  readonly passphrase?: string | Redacted.Redacted<string> | undefined
  /**
   * UNSAFE. Accepts any certificate for any host, so that anyone on the network path can pose as the server and read
   * the password (`rejectUnauthorized: false` of `tls.connect`). Default: `true` if the URL has `verify=verify_none`,
   * otherwise `false`. To trust your own certificate, pass its authority as `ca`.
   */
  readonly dangerouslyAcceptAnyCertificate?: boolean | undefined
}

/**
 * The address of a broker.
 *
 * @category models
 * @since 0.1.0
 */
export interface SocketOptions {
  /**
   * `amqp[s]://user:password@host:port/virtual-host?parameters`, see `AmqpUri.parse`. `AmqpUri.make` makes one from its
   * parts.
   */
  readonly url: string | Redacted.Redacted<string> | AmqpUri.AmqpUri
  /** Takes precedence over the URL, which has to begin with `amqps://`. */
  readonly tls?: TlsOptions | undefined
}

/**
 * The address of a broker, or of the nodes of a cluster, and how to connect to it. Options take precedence over the URL;
 * what neither sets has the default of `AmqpConnection`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Omit<SocketOptions, "url">, AmqpConnection.EndpointOptions {
  /**
   * As in {@link SocketOptions}, or several, which are tried one after the other. They may differ in their scheme, host,
   * port, user, password and TLS parameters, and must agree in everything else.
   */
  readonly url: SocketOptions["url"] | ReadonlyArray<SocketOptions["url"]>
}

/** The compiler requires each key of the options, and no other. */
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
    locale: true,
    recovery: true,
    endpointOrder: true
  } satisfies Record<keyof Options, true>
)

/** Refuses unknown options, which types do not find in a variable or a spread. */
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
    return Result.fail(new AmqpUri.AmqpUriError({ part: "Uri", message: "The option url is missing" }))
  }
  if (url instanceof AmqpUri.AmqpUri) return Result.succeed(url)
  // A copy with other parts, such as `{ ...uri, virtualHost: "orders" }`, is not an instance, and was not checked.
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
            message: "TLS options need an amqps:// URL, and this one begins with amqp://, which is not encrypted"
          })
        )
  )

const parseUrls = (
  { tls, url }: Options
): Effect.Effect<NonEmptyReadonlyArray<AmqpUri.AmqpUri>, AmqpUri.AmqpUriError> =>
  Effect.gen(function*() {
    const urls = Array.isArray(url) ? url : [url]
    const uris = yield* Effect.forEach(urls, (url) => parseUrl({ url, tls }))
    if (!isReadonlyArrayNonEmpty(uris)) return yield* Effect.fail(urlsError("Uri", "The list of URLs is empty"))
    const [first, ...others] = uris
    for (const [parameter, part, valueOf] of common) {
      const different = others.find((uri) => valueOf(uri) !== valueOf(first))
      if (different === undefined) continue
      const description = `The URLs of one connection must have the same ${parameter}: it is ${valueOf(first)} for ` +
        `${addressOf(first)} and ${valueOf(different)} for ${addressOf(different)}`
      return yield* Effect.fail(urlsError(part, description))
    }
    return uris
  })

const urlsError = (part: AmqpUri.AmqpUriError["part"], message: string) => new AmqpUri.AmqpUriError({ part, message })

type CommonParameter = readonly [
  name: string,
  part: AmqpUri.AmqpUriError["part"],
  valueOf: (uri: AmqpUri.AmqpUri) => string
]

const millisOf = (duration: Duration.Duration | undefined): string =>
  duration === undefined ? "not set" : Duration.format(duration)

/** What the URLs of one connection have in common, as they lead to the same broker. */
const common: ReadonlyArray<CommonParameter> = [
  ["virtual host", "VirtualHost", ({ virtualHost }) => JSON.stringify(virtualHost)],
  ["heartbeat", "Query", ({ heartbeat }) => millisOf(heartbeat)],
  ["frame_max", "Query", ({ frameMax = "not set" }) => String(frameMax)],
  ["channel_max", "Query", ({ channelMax = "not set" }) => String(channelMax)],
  ["connection_timeout", "Query", ({ connectTimeout }) => millisOf(connectTimeout)],
  ["locale", "Query", ({ locale = "not set" }) => locale],
  ["auth_mechanism", "Query", ({ mechanisms }) => mechanisms?.join(" ") ?? "not set"]
]

/**
 * A socket to the broker of a URI. Each time its reader is acquired, it makes a new connection: it resolves the name,
 * and with TLS reads the certificate files.
 *
 * **When to use**
 *
 * Use with `AmqpConnection.make` or `layer` if the URL is known to be valid, or is made by `AmqpUri.make`. Only {@link
 * layerSocket} and {@link make} also provide what the connection needs to warn of an unprotected password.
 *
 * **Details**
 *
 * Bytes are sent without delay (`noDelay`). A failure to connect is a `SocketError` with a `SocketOpenError`, whose
 * `cause` is an error with an explanation, and with Node.js's error as its own cause. When the connection ends, written
 * bytes have one second to be sent. The reader has an `AmqpTransport.Transport`, by which a connection reads and writes without fibers. Its
 * `upgrade` always fails: AMQP has no upgrade to TLS.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeSocket = (uri: AmqpUri.AmqpUri, options: TlsOptions = {}): Effect.Effect<Socket.Socket> => {
  const { host, port } = uri
  const name = addressOf(uri)
  if (uri.tls === undefined) {
    const connect: Connect = (onread) => net.connect({ host, port, noDelay: true, onread })
    return Effect.succeed(dial.makeSocket(name, Effect.succeed({ connect, readyEvent: "connect" })))
  }
  const { dangerouslyAcceptAnyCertificate = uri.tls.dangerouslyAcceptAnyCertificate, passphrase, ...more } = options
  return Effect.succeed(dial.makeSocket(
    name,
    Effect.map(tlsOptions(uri, uri.tls), (fromUri) => ({
      connect: (onread) => {
        // Node.js would print the value in its error.
        if (passphrase !== undefined && typeof passphrase !== "string" && !Redacted.isRedacted(passphrase)) {
          throw new TypeError("passphrase: must be a string or a Redacted")
        }
        // A string such as "false" would count as true.
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
        // Always set, as the environment variable NODE_TLS_REJECT_UNAUTHORIZED could turn verification off otherwise;
        // and set last, as the options may have more properties than their type.
        const rejectUnauthorized = !dangerouslyAcceptAnyCertificate
        // The types of Node.js lack `onread`, which its documentation of `tls.connect` has.
        const settings: tls.ConnectionOptions & Pick<net.SocketConstructorOpts, "onread"> = {
          ...withoutKeys(given),
          rejectUnauthorized,
          host,
          port,
          onread
        }
        return tls.connect(settings)
      },
      readyEvent: "secureConnect"
    }))
  ))
}

/**
 * Provides a socket to the broker of a URL, for an `AmqpConnection` layer, and its
 * `AmqpConnection.TransportProtection`. Fails if the URL is not valid.
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
 * Connects to the broker of a URL, until the scope closes.
 *
 * **Details**
 *
 * Fails with an `AmqpUriError` if the URL is not valid, before it connects; otherwise with the errors of
 * `AmqpConnection.make`. The reason `ConnectFailed` contains the text of Node.js or OpenSSL, and a hint. An unknown
 * option is an `InvalidArgument`.
 *
 * A connection that is lost is established again, see `AmqpConnection.RecoveryOptions`. With several URLs, one after the
 * other is tried.
 *
 * `connection_timeout` and `timeout` in the URL set the option `connectTimeout`: it limits not only the TCP connection,
 * but all steps until the virtual host is open.
 *
 * If a password is sent to another machine without TLS, or to a server whose certificate is not verified, a warning is
 * logged, once per broker and set of loggers.
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
  Effect.gen(function*() {
    yield* checkKeys(options)
    const [uri, ...others] = yield* parseUrls(options)
    const { tls, url: _url, ...connection } = options
    const endpointOf = (uri: AmqpUri.AmqpUri): Effect.Effect<AmqpConnection.Endpoint> =>
      Effect.map(makeSocket(uri, tls), (socket) => ({
        name: addressOf(uri),
        socket,
        transport: protectionOf(uri, tls?.dangerouslyAcceptAnyCertificate),
        credentials: { username: uri.username, password: uri.password }
      }))
    return yield* AmqpConnection.makeFrom(
      [yield* endpointOf(uri), ...yield* Effect.forEach(others, endpointOf)],
      {
        ...connection,
        virtualHost: options.virtualHost ?? uri.virtualHost,
        heartbeat: options.heartbeat ?? uri.heartbeat,
        frameMax: options.frameMax ?? uri.frameMax,
        channelMax: options.channelMax ?? uri.channelMax,
        connectTimeout: options.connectTimeout ?? uri.connectTimeout,
        locale: options.locale ?? uri.locale,
        mechanisms: options.mechanisms ?? mechanismsOf(uri)
      }
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
 * **Example** (The nodes of a cluster, and a program that may start before them)
 *
 * ```ts
 * import { NodeAmqp } from "@effect-amqp/node"
 *
 * const AmqpLive = NodeAmqp.layer({
 *   url: ["amqp://rabbit-1", "amqp://rabbit-2", "amqp://rabbit-3"],
 *   recovery: { initial: "retry" }
 * })
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
 * Separate credentials are one config: `Config.all({ username: Config.String("USER"), password: Config.Redacted("PASS")
 * })`.
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
 * **Example** (Several URLs, separated by commas, from an environment variable)
 *
 * ```ts
 * import { NodeAmqp } from "@effect-amqp/node"
 * import * as Config from "effect/Config"
 * import * as Schema from "effect/Schema"
 *
 * const AmqpLive = NodeAmqp.layerConfig({ url: Config.Array(Schema.Redacted(Schema.String), "AMQP_URLS") })
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
