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
import type { PublishLimits } from "./publishLimits.ts"
import type { PublishQueue } from "./publishQueue.ts"

/** The shortest sleep of the fiber below while the broker blocks the connection, in milliseconds. */
const blockedPause = 1_000

interface Confirming {
  readonly host: Pick<Supervisor, "confirmsOverdue" | "replacesOverdue">
  readonly session: Pick<Session, "lastConfirm" | "outbound"> & Parameters<Supervisor["confirmsOverdue"]>[0]
  readonly queue: Pick<PublishQueue, "detach">
  readonly ledger: ConfirmLedger
  readonly limits: PublishLimits
}

/** Watches the publishes of a channel, until it is interrupted. */
export const expireConfirms = ({ host, ledger, limits, queue, session }: Confirming): Effect.Effect<never> =>
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
        // What expires now is lost with the session, and makes no room on it.
        if (isReplaced) queue.detach()
        const reason = new ConfirmTimeout(outbound.blocked === undefined ? {} : { blocked: outbound.blocked })
        ledger.expire(time - confirmTimeout, channelError(reason))
        if (isReplaced) host.confirmsOverdue(session, confirmTimeout)
      }
      // A message that is sent during the sleep is due after it.
      const left = Math.min((ledger.oldestTime ?? time) + confirmTimeout - time, confirmTimeout)
      yield* Effect.sleep(sleepMillis(outbound.blocked === undefined ? left : Math.max(left, blockedPause)))
    }
  })
