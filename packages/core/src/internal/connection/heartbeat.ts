/**
 * Heartbeats, both ways (section 4.2.7 of the AMQP 0-9-1 specification).
 *
 * One is sent when half an interval was quiet. A peer from which nothing came for two intervals is dead; any byte is a sign of
 * life.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as AmqpError from "../../AmqpError.ts"
import { heartbeatFrame } from "../../protocol/frames.ts"
import { monotonicMillis, sleepMillis } from "../common/time.ts"
import type { Outbound } from "../wire/outbound.ts"

/** A timer that is this late, in milliseconds, says that this process was held up, and then the peer may not be to blame. */
const lateness = 1_000

/** That the process was held up is logged at most once in this time, in milliseconds. */
const logPause = 60_000

export interface HeartbeatSession {
  readonly outbound: Outbound
  readonly failure: AmqpError.AmqpConnectionError | undefined
  /** When the last bytes were read, in milliseconds of the monotonic clock. */
  lastRead: number
  /** Whether bytes that arrive are read: else nothing is known of the peer. */
  readonly mayRead: boolean
  warn(message: string): void
  end(error: AmqpError.AmqpConnectionError): void
}

const heldUp = (millis: number, intervalSeconds: number): string => {
  const seconds = (millis / 1000).toFixed(1)
  const effect = millis >= intervalSeconds * 1_000
    ? `longer than the heartbeat interval of ${intervalSeconds} s, so the broker may have closed the connection`
    : `and no heartbeat was sent or noticed meanwhile (the interval is ${intervalSeconds} s)`
  return `This process was blocked for ${seconds} s, ${effect}. ` +
    "Look for synchronous work that keeps the event loop busy; a paused process or virtual machine looks the same."
}

/** The loop of the heartbeat fiber. */
export const keepAlive = (session: HeartbeatSession, intervalSeconds: number): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { outbound } = session
    const clock = yield* Clock.Clock
    const half = intervalSeconds * 500
    const patience = intervalSeconds * 2_000
    let now = monotonicMillis(clock)
    let nextBeat = now + half
    let lastLog = -Infinity
    session.lastRead = now
    while (session.failure === undefined) {
      const wake = Math.min(nextBeat, session.lastRead + patience)
      yield* Effect.sleep(sleepMillis(wake - now))
      now = monotonicMillis(clock)
      const late = now - wake
      if (!session.mayRead || late > lateness) session.lastRead = now
      if (late > lateness && now - lastLog >= logPause) {
        lastLog = now
        session.warn(heldUp(late, intervalSeconds))
      }
      if (now - session.lastRead >= patience) {
        const reason = new AmqpError.HeartbeatTimeout({ intervalSeconds })
        return session.end(new AmqpError.AmqpConnectionError({ reason }))
      }
      if (now < nextBeat) continue
      if (!outbound.active) {
        outbound.writer.bytes(heartbeatFrame)
        outbound.commit()
        outbound.wake()
      }
      // After the wake, since a heartbeat is no reason to leave out the next one.
      outbound.active = false
      nextBeat = now + half
    }
  })
