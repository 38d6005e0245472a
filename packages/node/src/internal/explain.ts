/** Adds explanations and hints to Node.js's errors about failed connections. */

/** Hints by the code of the error. The first match applies. */
const hints: ReadonlyArray<readonly [code: RegExp, hint: string]> = [
  [/^ECONNREFUSED$/, "nothing listens there; is the broker running, and is this its port?"],
  [/^ENOTFOUND$/, "the name does not resolve; is it spelled correctly?"],
  [/^EAI_AGAIN$/, "the name server does not respond"],
  [
    /^(ETIMEDOUT|EHOSTUNREACH|ENETUNREACH)$/,
    "it can't be reached; is the address right, or does a firewall block it?"
  ],
  [
    /^(DEPTH_ZERO_SELF_SIGNED_CERT)$/,
    "the server's certificate is self-signed; if you trust it, pass its file as cacertfile=..."
  ],
  [
    /^(SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_GET_ISSUER_CERT(_LOCALLY)?|UNABLE_TO_VERIFY_LEAF_SIGNATURE)$/,
    "the server's certificate is from an unknown authority; pass the authority's certificate as cacertfile=..."
  ],
  [
    // A port without TLS closes the connection on TLS's greeting.
    /^ECONNRESET during the TLS handshake$/,
    "the peer closed the connection during the TLS handshake; does this port speak TLS? use amqp:// or the port for TLS, by default 5671"
  ],
  [/^CERT_HAS_EXPIRED$/, "the server needs a new certificate"],
  [/^CERT_NOT_YET_VALID$/, "is the clock of this machine right?"],
  [
    /^ERR_TLS_CERT_ALTNAME_INVALID$/,
    "connect to a name the certificate is for, or pass that name as server_name_indication=..."
  ],
  [
    /^ERR_SSL_(WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|UNKNOWN_PROTOCOL|HTTP_REQUEST)$/,
    "the server does not speak TLS on this port; use amqp:// or the port for TLS, which by default is 5671"
  ],
  [
    /^ERR_SSL_.*(CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE)$/,
    "the server may want a client certificate; pass certfile=... and keyfile=..."
  ],
  [
    /^ERR_SSL_.*ALERT_(UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_\w+|UNSUPPORTED_CERTIFICATE|ACCESS_DENIED)$/,
    "the server refused the client certificate of certfile=..."
  ],
  [
    /^ERR_SSL_(.*ALERT_PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL|NO_PROTOCOLS_AVAILABLE)$/,
    "server and client have no TLS version in common; by default this client uses 1.2 and 1.3"
  ]
]

/** Codes with which a certificate is refused, by either side: another attempt is refused too. */
const certificateCodes =
  /^(?:DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_\w+|CERT_\w+|ERR_TLS_CERT_ALTNAME_INVALID|ERR_SSL_.*(?:CERTIFICATE\w*|ALERT_UNKNOWN_CA|ALERT_ACCESS_DENIED))$/

/** A connection failed, with an explanation. */
class ExplainedError extends Error {
  /** Whether another attempt may succeed. */
  readonly isRetryable: boolean
  constructor(message: string, cause: Error, isRetryable: boolean) {
    super(message, { cause })
    this.isRetryable = isRetryable
  }
}

const property = (error: Error, name: string): string | undefined => {
  const value: unknown = Reflect.get(error, name)
  return typeof value === "string" && value !== "" ? value : undefined
}

const describe = (error: Error): string => {
  const code = property(error, "code")
  // OpenSSL's messages contain memory addresses and source lines around the reason.
  const reason = code?.startsWith("ERR_SSL_") === true ? property(error, "reason") : undefined
  if (reason !== undefined) return reason
  // A name with several addresses fails with an error for each, and without a message.
  if (error instanceof AggregateError && error.message === "") return error.errors.map(messageOf).join(", ")
  return error.message === "" ? code ?? error.name : error.message
}

/** The message of any thrown value. */
export const messageOf = (thrown: unknown): string => thrown instanceof Error ? describe(thrown) : String(thrown)

/**
 * An error with the given cause, whose message says what failed, why, and what to do. `step` is what was in progress,
 * if it changes the meaning of the code.
 */
export const explain = (what: string, cause: Error, step?: "the TLS handshake"): Error => {
  const ownCode = property(cause, "code")
  const code = step !== undefined && ownCode === "ECONNRESET" ? `${ownCode} during ${step}` : ownCode
  const hint = code === undefined ? undefined : hints.find(([pattern]) => pattern.test(code))?.[1]
  const message = `${what}: ${describe(cause)}${hint === undefined ? "" : ` (${hint})`}`
  return new ExplainedError(message, cause, !(code !== undefined && certificateCodes.test(code)))
}
