/**
 * Heartbeats in both directions (AMQP 0-9-1 specification, section 4.2.7).
 *
 * A heartbeat is sent when nothing was written for half an interval. The peer is considered dead when no byte has arrived for two
 * intervals.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { HeartbeatTimeout } from "../../AmqpError.ts"
import type { AmqpConnectionError } from "../../AmqpError.ts"
import { heartbeatFrame } from "../../protocol/frames.ts"
import { OccasionalLog } from "../common/occasionalLog.ts"
import { monotonicMillis, sleepMillis } from "../common/time.ts"
import type { Outbound } from "../wire/outbound.ts"
import type { ReadGate } from "../wire/readGate.ts"
import { connectionError } from "./connectionErrors.ts"

/** A timer that fires this late, in milliseconds, shows that this process was blocked, which may be why nothing was read. */
const maxLateness = 1_000

export interface HeartbeatHost {
  readonly outbound: Outbound
  /** While it is closed, nothing is read, so silence does not mean that the peer is dead. */
  readonly readGate: ReadGate
  readonly failure: AmqpConnectionError | undefined
  /** When the last bytes were read, in milliseconds of the monotonic clock. */
  readonly lastRead: number
  warn(message: string): void
  end(error: AmqpConnectionError): void
}

const blockedFor = (millis: number, intervalSeconds: number): string => {
  const seconds = (millis / 1000).toFixed(1)
  const effect = millis >= intervalSeconds * 1_000
    ? `longer than the heartbeat interval of ${intervalSeconds} s, so the broker may have closed the connection`
    : `and no heartbeat was sent or noticed meanwhile (the interval is ${intervalSeconds} s)`
  return `This process was blocked for ${seconds} s, ${effect}. ` +
    "Look for synchronous work that keeps the event loop busy; a paused process or virtual machine looks the same."
}

/** The loop of the heartbeat fiber. */
export const keepAlive = (session: HeartbeatHost, intervalSeconds: number): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { outbound, readGate } = session
    const clock = yield* Clock.Clock
    const half = intervalSeconds * 500
    const timeout = intervalSeconds * 2_000
    let now = monotonicMillis(clock)
    let nextBeat = now + half
    const log = new OccasionalLog(clock)
    // Silence counts from this time on.
    let silenceStart = now
    let writes = 0
    while (session.failure === undefined) {
      const wake = Math.min(nextBeat, Math.max(session.lastRead, silenceStart) + timeout)
      yield* Effect.sleep(sleepMillis(wake - now))
      now = monotonicMillis(clock)
      const late = now - wake
      if (!readGate.isOpen || late > maxLateness) silenceStart = now
      if (late > maxLateness && log.note() !== undefined) session.warn(blockedFor(late, intervalSeconds))
      if (now - Math.max(session.lastRead, silenceStart) >= timeout) {
        return session.end(connectionError(new HeartbeatTimeout({ intervalSeconds })))
      }
      if (now < nextBeat) continue
      if (outbound.writes === writes) {
        outbound.writer.bytes(heartbeatFrame)
        outbound.commit()
        outbound.wake()
      }
      // Read after the wake, so that a heartbeat does not count as a write that makes the next heartbeat unnecessary.
      writes = outbound.writes
      nextBeat = now + half
    }
  })
