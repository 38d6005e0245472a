/**
 * Turns what Node.js says about a failed connection into something that tells a person what to do.
 */

/** What to do about an error, by its code. The first that matches applies. */
const hints: ReadonlyArray<readonly [code: RegExp, hint: string]> = [
  [/^ECONNREFUSED$/, "nothing listens there; is the broker running, and is this its port?"],
  [/^ENOTFOUND$/, "the name does not resolve; is it spelled right?"],
  [/^EAI_AGAIN$/, "the name server does not answer"],
  [
    /^(ETIMEDOUT|EHOSTUNREACH|ENETUNREACH)$/,
    "there is no way to it; is the address right, and does a firewall block it?"
  ],
  [
    /^(DEPTH_ZERO_SELF_SIGNED_CERT)$/,
    "the server's certificate is self-signed; if you trust it, pass its file as cacertfile=..."
  ],
  [
    /^(SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_GET_ISSUER_CERT(_LOCALLY)?|UNABLE_TO_VERIFY_LEAF_SIGNATURE)$/,
    "the server's certificate is from an authority that is not known here; pass that one's certificate as cacertfile=..."
  ],
  [
    // A port without TLS answers the greeting of TLS by hanging up.
    /^ECONNRESET during the TLS handshake$/,
    "the peer hung up during the TLS handshake; does this port speak TLS? use amqp:// or the port for TLS, by default 5671"
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
    "server and client have no version of TLS in common; by default this client takes 1.2 and 1.3"
  ]
]

const property = (error: Error, name: string): string | undefined => {
  const value: unknown = Reflect.get(error, name)
  return typeof value === "string" && value !== "" ? value : undefined
}

const describe = (error: Error): string => {
  const code = property(error, "code")
  // Around OpenSSL's reason, its messages hold addresses of memory and lines of its source.
  const reason = code?.startsWith("ERR_SSL_") === true ? property(error, "reason") : undefined
  if (reason !== undefined) return reason
  // A name with several addresses fails with an error for each, and no message of its own.
  if (error instanceof AggregateError && error.message === "") return error.errors.map(messageOf).join(", ")
  return error.message === "" ? code ?? error.name : error.message
}

/** The message of whatever was thrown. */
export const messageOf = (thrown: unknown): string => thrown instanceof Error ? describe(thrown) : String(thrown)

/**
 * An error with the same cause whose message says what failed, why, and what to do about it. `step` is what was under way, where
 * the same code means something else then.
 */
export const explain = (what: string, cause: Error, step?: "the TLS handshake"): Error => {
  const ownCode = property(cause, "code")
  const code = step !== undefined && ownCode === "ECONNRESET" ? `${ownCode} during ${step}` : ownCode
  const hint = code === undefined ? undefined : hints.find(([pattern]) => pattern.test(code))?.[1]
  return new Error(`${what}: ${describe(cause)}${hint === undefined ? "" : ` (${hint})`}`, { cause })
}
