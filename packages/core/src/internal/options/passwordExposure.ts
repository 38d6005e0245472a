/** Warnings about passwords that are sent over an unprotected transport. */
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import type { TransportProtection } from "../../AmqpConnection.ts"

/** Whether the transport is encrypted, if known. */
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

/** For how many brokers a warning is remembered. Programs mostly have one, and some use a new port each time. */
const maxRemembered = 100

/** The warnings that were logged, by loggers, as connections are made again and again. */
const warned = new WeakMap<object, Set<string>>()

/** Whether the warning was already logged to the loggers. */
const isRepeated = (loggers: object, warning: string): boolean => {
  const known = warned.get(loggers) ?? new Set()
  warned.set(loggers, known)
  if (known.has(warning)) return true
  if (known.size === maxRemembered) known.clear()
  known.add(warning)
  return false
}

/** Warns before a password is sent over an unprotected transport, once for each peer. */
export const warnOfExposure = (transport: TransportProtection | undefined): Effect.Effect<void> => {
  if (transport === undefined) return Effect.void
  const { level, peer } = transport
  if (level !== "None" && level !== "Unverified") return Effect.void
  return Effect.flatMap(Logger.CurrentLoggers, (loggers) =>
    isRepeated(loggers, `${level} ${peer}`)
      ? Effect.void
      : Effect.logWarning(dangers[level].replace("PEER", () => peer)))
}
