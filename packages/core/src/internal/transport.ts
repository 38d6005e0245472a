/**
 * What a connection knows of the transport under it, and what it says about passwords that go over a weak one.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

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

/** Whether the bytes are encrypted, as far as that is known. */
export const isEncrypted = (transport: TransportProtection | undefined): boolean | undefined =>
  transport?.isEncrypted ??
    (transport === undefined || transport.level === "Local" ? undefined : transport.level !== "None")

export const Transport: Context.Reference<TransportProtection | undefined> = Context.Reference<
  TransportProtection | undefined
>(
  "@effect-amqp/core/AmqpConnection/Transport",
  { defaultValue: () => undefined }
)

const dangers = {
  None: "The password goes unencrypted to the broker at PEER, and anyone on the network path can read it. " +
    "Use TLS, with a URL that begins with amqps://.",
  Unverified:
    "The password goes to the broker at PEER, whose certificate is not verified, so that anyone on the network path " +
    "can pose as the broker and read it. Trust the broker's certificate authority instead of any certificate."
} as const

/** What was warned about, once in the life of the process: a connection is made again and again. */
const warned = new Set<string>()

/** Warns when a password is about to go over a transport that does not protect it, once for each peer. */
export const warnOfExposure = (transport: TransportProtection | undefined): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (transport === undefined) return Effect.void
    const { level, peer } = transport
    const key = `${level} ${peer}`
    if ((level !== "None" && level !== "Unverified") || warned.has(key)) return Effect.void
    warned.add(key)
    return Effect.logWarning(dangers[level].replace("PEER", peer))
  })
