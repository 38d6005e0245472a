/**
 * What a connection knows of the transport under it, and what it says about passwords that go over a weak one.
 */
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import type { TransportProtection } from "../../AmqpConnection.ts"

/** Whether the bytes are encrypted, where that is known. */
export const isEncrypted = (transport: TransportProtection | undefined): boolean | undefined =>
  transport?.isEncrypted ??
    (transport === undefined || transport.level === "Local" ? undefined : transport.level !== "None")

const dangers = {
  None: "The password goes unencrypted to the broker at PEER, and anyone on the network path can read it. " +
    "Use TLS, with a URL that begins with amqps://.",
  Unverified:
    "The password goes to the broker at PEER, whose certificate is not verified, so that anyone on the network path " +
    "can pose as the broker and read it. Trust the broker's certificate authority instead of any certificate."
} as const

/** Of so many brokers at most it is remembered that they were warned about. Programs mostly have one, and some a new port each time. */
const maxRemembered = 100

/** What was warned about, by the loggers that were told: a connection is made again and again. */
const warned = new WeakMap<object, Set<string>>()

/** Whether the loggers were told this before. */
const isRepeated = (loggers: object, warning: string): boolean => {
  const known = warned.get(loggers) ?? new Set()
  warned.set(loggers, known)
  if (known.has(warning)) return true
  if (known.size === maxRemembered) known.clear()
  known.add(warning)
  return false
}

/** Warns when a password is about to go over a transport that does not protect it, once for each peer. */
export const warnOfExposure = (transport: TransportProtection | undefined): Effect.Effect<void> => {
  if (transport === undefined) return Effect.void
  const { level, peer } = transport
  if (level !== "None" && level !== "Unverified") return Effect.void
  return Effect.flatMap(Logger.CurrentLoggers, (loggers) =>
    isRepeated(loggers, `${level} ${peer}`)
      ? Effect.void
      : Effect.logWarning(dangers[level].replace("PEER", () => peer)))
}
