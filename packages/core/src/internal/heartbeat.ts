/**
 * Heartbeats, both ways (section 4.2.7 of the AMQP 0-9-1 specification).
 *
 * One is sent when half an interval was quiet. A peer from which nothing came for two intervals is dead; any byte is a sign of
 * life.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as AmqpError from "../AmqpError.ts"
import { heartbeatFrame } from "../protocol/frames.ts"
import type { Outbound } from "./outbound.ts"

/** A timer that is this late, in milliseconds, says that this process was held up, and then the peer may not be to blame. */
const lateness = 1_000

export interface HeartbeatSession {
  readonly outbound: Outbound
  readonly failure: AmqpError.AmqpConnectionError | undefined
  /** When the last bytes were read, in milliseconds of the clock. */
  lastRead: number
  /** Whether bytes that arrive are read: else nothing is known of the peer. */
  readonly mayRead: boolean
  end(error: AmqpError.AmqpConnectionError): void
}

/** The loop of the heartbeat fiber. */
export const keepAlive = (session: HeartbeatSession, intervalSeconds: number): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { outbound } = session
    const clock = yield* Clock.Clock
    const half = intervalSeconds * 500
    const patience = intervalSeconds * 2_000
    let now = clock.currentTimeMillisUnsafe()
    let nextBeat = now + half
    session.lastRead = now
    while (session.failure === undefined) {
      const wake = Math.min(nextBeat, session.lastRead + patience)
      yield* Effect.sleep(wake - now)
      now = clock.currentTimeMillisUnsafe()
      if (!session.mayRead || now - wake > lateness) session.lastRead = now
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
