/**
 * Fails publishes whose confirm does not arrive in time. If the broker has confirmed nothing else meanwhile, the session is taken for dead, as
 * with a missed heartbeat: a node that is cut off from its cluster, or frozen, may keep the socket open.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { ConfirmTimeout } from "../../AmqpError.ts"
import { channelError } from "../channel/channelErrors.ts"
import type { ConfirmLedger } from "../channel/confirmLedger.ts"
import { sleepMillis, TurnClock } from "../common/time.ts"
import type { Session } from "../connection/session.ts"
import type { Supervisor } from "../connection/supervisor.ts"
import { defaultConfirmLimits } from "./publishLimits.ts"
import type { PublishLimits } from "./publishLimits.ts"

/** The shortest sleep of the fiber below while the broker blocks the connection, in milliseconds. */
const blockedPause = 1_000

interface Confirming {
  readonly host: Pick<Supervisor, "confirmsOverdue" | "replacesOverdue">
  readonly session: Session
  readonly ledger: ConfirmLedger
  readonly limits: Pick<PublishLimits, "confirmTimeout" | "countsBlocked">
  readonly replacement: Replacement
}

/** What a sender does when its session is replaced, because its publishes expire: that makes no room on the session. */
export interface Replacement {
  /** Called before they expire. */
  readonly begin: () => void
  /** Called when the session is closed. */
  readonly end: () => void
}

/** Watches the publishes of a channel program or a move, until it is interrupted, with the limits that publishers have by default. */
export const expireProgramConfirms = (
  host: Confirming["host"],
  session: Session,
  ledger: ConfirmLedger,
  replacement: Replacement
): Effect.Effect<never> => expireConfirms({ host, session, ledger, limits: defaultConfirmLimits, replacement })

/** Watches the publishes of a channel, until it is interrupted. */
export const expireConfirms = ({ host, ledger, limits, replacement, session }: Confirming): Effect.Effect<never> =>
  Effect.gen(function*() {
    const { confirmTimeout, countsBlocked } = limits
    const { outbound } = session
    const turns = new TurnClock(yield* Clock.Clock)
    // This clock stops while the broker reads nothing.
    const now = countsBlocked ? () => turns.millis : () => turns.millis - outbound.blockedMillis(turns.millis)
    ledger.noteTimes(now, !countsBlocked)

    /** Whether the broker has confirmed nothing since this time, although it was reading. */
    const isSilentSince = (time: number): boolean => {
      // A confirm in the turn in which a message is sent is not that of the message.
      const lastConfirm = session.lastConfirm ?? -Infinity
      if (!countsBlocked) return lastConfirm <= time
      return outbound.blocked === undefined && outbound.readsSince <= time &&
        lastConfirm <= time - outbound.blockedMillis(turns.millis)
    }

    while (true) {
      const time = now()
      const oldest = ledger.oldestTime ?? Infinity
      if (oldest <= time - confirmTimeout) {
        const isReplaced = isSilentSince(oldest) && host.replacesOverdue(session)
        if (isReplaced) replacement.begin()
        const reason = new ConfirmTimeout(outbound.blocked === undefined ? {} : { blocked: outbound.blocked })
        ledger.expire(time - confirmTimeout, channelError(reason))
        if (isReplaced) {
          host.confirmsOverdue(session, confirmTimeout)
          replacement.end()
        }
      }
      // A message that is sent during the sleep is due after it.
      const left = Math.min((ledger.oldestTime ?? time) + confirmTimeout - time, confirmTimeout)
      yield* Effect.sleep(sleepMillis(outbound.blocked === undefined ? left : Math.max(left, blockedPause)))
    }
  })
