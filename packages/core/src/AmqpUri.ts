/**
 * AMQP URIs: `amqp[s]://user:password@host:port/virtual-host?parameters`, the address of a broker and how to connect to
 * it.
 *
 * This module parses and formats URIs; it opens no connection and reads no file. It follows RabbitMQ's "URI
 * Specification" and "URI Query Parameters", and also accepts the parameter names of rabbitpy. It does not use the web
 * platform's `URL`, which is missing on some platforms, accepts malformed percent-encoding, drops tabs and line breaks,
 * and resolves the virtual host `..` as a path.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { InvalidArgument } from "./AmqpError.ts"
import type { MechanismName } from "./AmqpSasl.ts"
import { readable } from "./internal/errors/readableError.ts"
import { readParameters, wholeNumber } from "./internal/options/uriParameters.ts"
import type { ParameterFields } from "./internal/options/uriParameters.ts"
import * as Validation from "./internal/options/validation.ts"

/**
 * A string that is not an AMQP URI.
 *
 * **Details**
 *
 * `part` is the part of the URI that is wrong, or `Uri` if it is not a single one. The message explains how to correct it.
 * Neither contains the user name, password, host, or the value of a parameter, so both can be logged.
 *
 * @category errors
 * @since 0.1.0
 */
export class AmqpUriError extends Schema.TaggedError<AmqpUriError>()(
  "AmqpUriError",
  {
    part: Schema.Literals(["Uri", "Scheme", "UserInfo", "Host", "Port", "VirtualHost", "Query"]),
    message: Schema.String
  }
) {
  static {
    readable(this)
  }
  /**
   * Always `false`: the URI has to be corrected first.
   *
   * @since 0.1.0
   */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * The TLS settings of an `amqps://` URI.
 *
 * **Details**
 *
 * The files are in PEM format, and are read each time a connection is opened.
 *
 * @category models
 * @since 0.1.0
 */
export interface TlsParameters {
  /** `cacertfile`, `ssl_cacert` or `cafile`: the file of trusted certificates, instead of those of the platform. */
  readonly caFile: string | undefined
  /** `capath`: a folder of such files. */
  readonly caPath: string | undefined
  /** `certfile` or `ssl_cert`: the file of the client's certificate. */
  readonly certFile: string | undefined
  /** `keyfile` or `ssl_key`: the file of the certificate's key. Default: the same file. */
  readonly keyFile: string | undefined
  /** `password`: the passphrase of the key. */
  readonly passphrase: Redacted.Redacted<string> | undefined
  /**
   * `verify=verify_none` or `ssl_validation=ignore`: UNSAFE. Accepts any certificate for any host, so that anyone on
   * the network path can pose as the server and read the password. Default: `false`.
   *
   * `verify_peer`, `required` and `optional` are the default: as a server always presents a certificate, they mean the
   * same.
   */
  readonly dangerouslyAcceptAnyCertificate: boolean
  /**
   * `ssl_check_hostname=false`: UNSAFE. Accepts a trusted certificate of any host, so that anyone who has one can pose
   * as the server. If the server has another name, use `serverName` instead. Default: `false`.
   */
  readonly dangerouslyAcceptAnyHostname: boolean
  /**
   * `server_name_indication`: the name to request, and to verify the server's certificate against. `false`, `disable`
   * in a URI, requests no name, and still verifies against the host. Default: the host.
   */
  readonly serverName: string | false | undefined
}

/**
 * A parsed AMQP URI. Settings that are absent from the URI are `undefined`.
 *
 * **Details**
 *
 * Immutable, and equal to another one with the same content. The password is hidden when it is printed, inspected or
 * serialized.
 *
 * @see {@link parse}
 * @see {@link make}
 *
 * @category models
 * @since 0.1.0
 */
export class AmqpUri extends Data.Class<{
  /** A name or an IP address; an IPv6 address without brackets. Default: `localhost`. */
  readonly host: string
  /** From 1 to 65535. Default: 5672, or 5671 with TLS. */
  readonly port: number
  /** Default: `guest`. */
  readonly username: string
  /** Default: `guest`. */
  readonly password: Redacted.Redacted<string>
  /** Default: `/`. */
  readonly virtualHost: string
  /** `heartbeat`: whole seconds from 0 to 65535; 0 disables heartbeats. */
  readonly heartbeat: Duration.Duration | undefined
  /** `channel_max`: the highest channel number, from 0 to 65535; 0 leaves it to the broker. */
  readonly channelMax: number | undefined
  /** `frame_max`: the maximum frame size in bytes, from 8192 to 2^32 - 1, or 0 to leave it to the broker. */
  readonly frameMax: number | undefined
  /** `connection_timeout` in milliseconds, as in RabbitMQ, or `timeout` in seconds, as in rabbitpy; at least 1. */
  readonly connectTimeout: Duration.Duration | undefined
  /** `locale`: the language of the broker's texts, such as `en_US`. */
  readonly locale: string | undefined
  /**
   * `auth_mechanism`, repeated for several: the allowed SASL mechanisms, in order of preference. In a URI `plain`,
   * `amqplain`, `external` and `anonymous`, in any case.
   */
  readonly mechanisms: ReadonlyArray<MechanismName> | undefined
  /** Present for `amqps://`, absent for `amqp://`. */
  readonly tls: TlsParameters | undefined
}> {
  /**
   * The URI, with `<redacted>` in place of secrets.
   *
   * @since 0.1.0
   */
  override toString(): string {
    return render(this, String)
  }
}

/**
 * The parts of a URI for {@link make}, with the meanings and defaults of {@link AmqpUri}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly host?: string | undefined
  readonly port?: number | undefined
  readonly username?: string | undefined
  readonly password?: Redacted.Redacted<string> | undefined
  readonly virtualHost?: string | undefined
  readonly heartbeat?: Duration.Input | undefined
  readonly channelMax?: number | undefined
  readonly frameMax?: number | undefined
  readonly connectTimeout?: Duration.Input | undefined
  readonly locale?: string | undefined
  readonly mechanisms?: ReadonlyArray<MechanismName> | undefined
  /** `{}` is TLS with its defaults. */
  readonly tls?: Partial<TlsParameters> | undefined
}

/**
 * Makes a URI from its parts, without encoding.
 *
 * **When to use**
 *
 * Use when host, user name and password come from different sources.
 *
 * **Details**
 *
 * Fails with an {@link AmqpUriError} if a part is out of range, and for an unknown option.
 *
 * **Example** (A broker with TLS)
 *
 * ```ts
 * import * as AmqpUri from "@effect-amqp/core/AmqpUri"
 * import * as Redacted from "effect/Redacted"
 *
 * const uri = AmqpUri.make({
 *   host: "rabbit.example",
 *   username: "app",
 *   password: Redacted.make("p@ss/word"),
 *   virtualHost: "orders",
 *   tls: { caFile: "/etc/app/ca.pem" }
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): Result.Result<AmqpUri, AmqpUriError> =>
  // Through the text, so that defaults and ranges are only in the parser.
  Result.flatMap(
    Result.try({
      try: () => render(checked(options), reveal),
      catch: (thrown) =>
        thrown instanceof AmqpUriError
          ? thrown
          : invalid("Uri", "a part contains a lone surrogate, which UTF-8 can't express")
    }),
    parse
  )

const optionKeys = Validation.keysOf<Options>({
  host: true,
  port: true,
  username: true,
  password: true,
  virtualHost: true,
  heartbeat: true,
  channelMax: true,
  frameMax: true,
  connectTimeout: true,
  locale: true,
  mechanisms: true,
  tls: true
})

const tlsKeys = Validation.keysOf<TlsParameters>({
  caFile: true,
  caPath: true,
  certFile: true,
  keyFile: true,
  passphrase: true,
  dangerouslyAcceptAnyCertificate: true,
  dangerouslyAcceptAnyHostname: true,
  serverName: true
})

/** Checks what the text can't express: unknown options, and values of other types. Throws an `AmqpUriError`. */
const checked = (options: Options): Options => {
  check("Uri", () => {
    const { host, password, tls, username, virtualHost } = Validation.knownKeys(options, optionKeys, "AmqpUri options")
    for (const [name, text] of Object.entries({ host, username, virtualHost })) checkText(name, text)
    checkSecret("password", password)
    if (tls === undefined) return
    const { caFile, caPath, certFile, keyFile, passphrase } = Validation.knownKeys(tls, tlsKeys, "AmqpUri options: tls")
    for (const [name, text] of Object.entries({ caFile, caPath, certFile, keyFile })) checkText(`tls: ${name}`, text)
    checkSecret("tls: passphrase", passphrase)
  })
  const { connectTimeout, heartbeat } = options
  check("Query", () => {
    if (heartbeat !== undefined) Validation.duration("heartbeat", heartbeat, 0, true)
    if (connectTimeout !== undefined) Validation.duration("connectTimeout", connectTimeout, 1, true)
  })
  return options
}

const checkText = (name: string, value: unknown): void => {
  if (value !== undefined && typeof value !== "string") throw Validation.invalid(`${name}: must be a string`)
}

const checkSecret = (name: string, value: unknown): void => {
  if (value !== undefined && !isSecret(value)) throw Validation.invalid(`${name}: must be a Redacted string`)
}

const check = (part: AmqpUriError["part"], body: () => void): void => {
  try {
    body()
  } catch (thrown) {
    throw thrown instanceof InvalidArgument ? invalid(part, thrown.description) : thrown
  }
}

/**
 * The complete URI, including the password.
 *
 * **When to use**
 *
 * Use to pass the URI to a program or library that takes a string. {@link parse} returns the same URI again.
 *
 * @category converting
 * @since 0.1.0
 */
export const toRedacted = (self: AmqpUri): Redacted.Redacted<string> => Redacted.make(render(self, reveal))

/**
 * Parses an AMQP URI.
 *
 * **Details**
 *
 * - The scheme is `amqp` or `amqps`, in any case.
 * - User name, password, host and virtual host are percent-decoded: in them, `:`, `/`, `?`, `#` and `@` are written
 *   `%3A`, `%2F`, `%3F`, `%23` and `%40`, and `%` is written `%25`, as `encodeURIComponent` does. A `+` is a `+`.
 * - A missing user name or password is `guest`. `amqp://:@host` has both, and both are empty: an unset variable in a
 *   template does not log in as `guest`.
 * - No path, `/` and `/%2F` all mean the virtual host `/`.
 * - An IPv6 address is in brackets: `amqp://[::1]:5672`.
 * - The parameters are those of {@link AmqpUri} and {@link TlsParameters}. A parameter may be repeated with the same
 *   value, and `auth_mechanism` with several.
 *
 * Everything else fails with an {@link AmqpUriError}. This includes unknown parameters, to catch typing errors in names
 * such as `cacertfile` (the message suggests the closest name), and TLS parameters with `amqp://`, as they suggest a
 * secure connection.
 *
 * **Gotchas**
 *
 * RFC 3986 allows an unencoded `@` after the host; here it has to be `%40`. Usually it belongs to a password with an
 * unencoded `/`, part of which would otherwise be looked up as a host name.
 *
 * @category parsing
 * @since 0.1.0
 */
export const parse = (uri: string | Redacted.Redacted<string>): Result.Result<AmqpUri, AmqpUriError> =>
  Result.gen(function*() {
    const { authority, path, query, secure } = yield* split(typeof uri === "string" ? uri : Redacted.value(uri))
    // As in the web platform's URL: the last `@` ends the user info, its first `:` the user name.
    const at = authority.lastIndexOf("@")
    const { password, username } = yield* parseUserInfo(at < 0 ? undefined : authority.slice(0, at))
    const { host, port } = yield* parseAddress(authority.slice(at + 1))
    const virtualHost = yield* parseVirtualHost(path)
    const fields = yield* parseQuery(query, secure)
    return new AmqpUri({
      host,
      port: port ?? (secure ? 5671 : 5672),
      username,
      password,
      virtualHost,
      heartbeat: fields.heartbeat,
      channelMax: fields.channelMax,
      frameMax: fields.frameMax,
      connectTimeout: fields.connectTimeout,
      locale: fields.locale,
      mechanisms: fields.mechanisms,
      tls: secure
        ? {
          caFile: fields.caFile,
          caPath: fields.caPath,
          certFile: fields.certFile,
          keyFile: fields.keyFile,
          passphrase: fields.passphrase,
          dangerouslyAcceptAnyCertificate: fields.dangerouslyAcceptAnyCertificate ?? false,
          dangerouslyAcceptAnyHostname: fields.dangerouslyAcceptAnyHostname ?? false,
          serverName: fields.serverName
        }
        : undefined
    })
  })

const invalid = (part: AmqpUriError["part"], problem: string): AmqpUriError =>
  new AmqpUriError({ part, message: `The AMQP URI is not valid: ${problem}` })

const fail = (part: AmqpUriError["part"], problem: string): Result.Result<never, AmqpUriError> =>
  Result.fail(invalid(part, problem))

const decode = (part: AmqpUriError["part"], text: string): Result.Result<string, AmqpUriError> => {
  try {
    return Result.succeed(decodeURIComponent(text))
  } catch {
    return fail(
      part,
      "invalid percent-encoding, which is % and two hexadecimal digits of UTF-8; write a plain % as %25"
    )
  }
}

interface Split {
  readonly secure: boolean
  readonly authority: string
  readonly path: string
  readonly query: string
}

const split = (text: string): Result.Result<Split, AmqpUriError> => {
  if (/[\s\p{Cc}]/u.test(text)) {
    return fail("Uri", "it contains white space, perhaps a line break at the end; write a space as %20")
  }
  const match = /^(amqps?):\/\/([^/?#]*)([^?#]*)\??([^#]*)(#?)/i.exec(text)
  if (match === null) return fail("Scheme", "it must begin with amqp:// or amqps://")
  const [, scheme = "", authority = "", path = "", query = "", fragment = ""] = match
  // Checked first: what follows an unencoded character of a password may be the rest of the password.
  if (fragment !== "" || path.includes("@") || query.includes("@")) {
    return fail(
      "Uri",
      "write / ? and # in the user name or password as %2F, %3F and %23, and @ and # after the host as %40 and %23"
    )
  }
  return Result.succeed({ secure: scheme.toLowerCase() === "amqps", authority, path, query })
}

interface UserInfo {
  readonly username: string
  readonly password: Redacted.Redacted<string>
}

const parseUserInfo = (text: string | undefined): Result.Result<UserInfo, AmqpUriError> =>
  Result.gen(function*() {
    const colon = text?.indexOf(":") ?? -1
    const name = colon < 0 ? text : text?.slice(0, colon)
    const username = name === undefined ? "guest" : yield* decode("UserInfo", name)
    const password = text === undefined || colon < 0 ? "guest" : yield* decode("UserInfo", text.slice(colon + 1))
    return { username, password: Redacted.make(password) }
  })

interface Address {
  readonly host: string
  readonly port: number | undefined
}

const parseAddress = (text: string): Result.Result<Address, AmqpUriError> =>
  Result.gen(function*() {
    const [, address, name = "", digits = ""] = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::([^:[\]]*))?$/.exec(text) ??
      (yield* fail("Host", "the host must be a name or an IP address, an IPv6 address in brackets as in [::1]:5672"))
    const host = yield* decode("Host", address ?? name)
    if (address !== undefined && !isIpv6(host)) {
      return yield* fail("Host", "brackets must contain an IPv6 address, such as [::1]")
    }
    if (address === undefined && /[\s\p{Cc}/?#@:[\]\\%<>"`^{|}]/u.test(host)) {
      return yield* fail("Host", "the host contains a character that host names can't have")
    }
    const port = digits === "" ? undefined : wholeNumber(1, 65535)(digits)
    if (port === undefined && digits !== "") {
      return yield* fail(
        "Port",
        "the port must be a number from 1 to 65535; write : and @ in the password as %3A and %40"
      )
    }
    return { host: host === "" ? "localhost" : host, port }
  })

const isIpv4 = (text: string): boolean => /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/.test(text)

/** RFC 4291, with a zone as in RFC 4007. */
const isIpv6 = (text: string): boolean => {
  const [, address = "", zone] = /^([^%]*)(?:%(.*))?$/.exec(text) ?? []
  const halves = address.split("::")
  const groups = halves.flatMap((half) => half === "" ? [] : half.split(":"))
  const last = groups.at(-1)
  // The last two groups may be an IPv4 address.
  const hasIpv4 = last !== undefined && isIpv4(last) && !address.endsWith(":")
  const hexadecimal = hasIpv4 ? groups.slice(0, -1) : groups
  const count = hexadecimal.length + (hasIpv4 ? 2 : 0)
  return zone !== "" && hexadecimal.every((group) => /^[0-9a-f]{1,4}$/i.test(group)) &&
    (halves.length === 1 ? count === 8 : halves.length === 2 && count < 8)
}

const parseVirtualHost = (path: string): Result.Result<string, AmqpUriError> => {
  const segment = path.slice(1)
  if (segment === "") return Result.succeed("/")
  return segment.includes("/")
    ? fail(
      "VirtualHost",
      "write / in the name of the virtual host as %2F; for the virtual host / write nothing or %2F"
    )
    : decode("VirtualHost", segment)
}

const parseQuery = (query: string, secure: boolean): Result.Result<ParameterFields, AmqpUriError> =>
  Result.gen(function*() {
    const pairs: Array<readonly [name: string, value: string]> = []
    for (const pair of query.split("&")) {
      if (pair === "") continue
      const [, name = "", value = ""] = /^([^=]*)=?(.*)$/.exec(pair) ?? []
      pairs.push([yield* decode("Query", name), yield* decode("Query", value)])
    }
    const fields = readParameters(pairs, secure)
    return typeof fields === "string" ? yield* fail("Query", fields) : fields
  })

const isSecret = (value: unknown): boolean => Redacted.isRedacted(value) && typeof Redacted.value(value) === "string"

const reveal = (secret: Redacted.Redacted<string>): string => encodeURIComponent(Redacted.value(secret))

const render = (options: Options, secret: (secret: Redacted.Redacted<string>) => string): string => {
  const { tls } = options
  const host = options.host ?? "localhost"
  const address = host.includes(":") ? `[${host.replace("%", "%25")}]` : encodeURIComponent(host)
  const port = options.port ?? (tls === undefined ? 5672 : 5671)
  const username = encodeURIComponent(options.username ?? "guest")
  const password = secret(options.password ?? Redacted.make("guest"))
  const virtualHost = encodeURIComponent(options.virtualHost ?? "/")

  const query: ReadonlyArray<readonly [name: string, value: string | number | boolean | undefined]> = [
    ["heartbeat", options.heartbeat === undefined ? undefined : Duration.toSeconds(options.heartbeat)],
    ["channel_max", options.channelMax],
    ["frame_max", options.frameMax],
    [
      "connection_timeout",
      options.connectTimeout === undefined ? undefined : Duration.toMillis(options.connectTimeout)
    ],
    ["locale", options.locale],
    ...(options.mechanisms ?? []).map((name) => ["auth_mechanism", name.toLowerCase()] as const),
    ["cacertfile", tls?.caFile],
    ["capath", tls?.caPath],
    ["certfile", tls?.certFile],
    ["keyfile", tls?.keyFile],
    ["verify", tls?.dangerouslyAcceptAnyCertificate === true ? "verify_none" : undefined],
    ["ssl_check_hostname", tls?.dangerouslyAcceptAnyHostname === true ? false : undefined],
    ["server_name_indication", tls?.serverName === false ? "disable" : tls?.serverName]
  ]
  const parts = query.flatMap(([name, value]) => value === undefined ? [] : [`${name}=${encodeURIComponent(value)}`])
  if (tls?.passphrase !== undefined) parts.push(`password=${secret(tls.passphrase)}`)

  return `${tls === undefined ? "amqp" : "amqps"}://${username}:${password}@${address}:${port}/${virtualHost}` +
    (parts.length === 0 ? "" : `?${parts.join("&")}`)
}
