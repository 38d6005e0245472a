/**
 * Latencies of messages that are sent on a schedule, whatever the client and the broker do.
 *
 * A message carries the time at which it should have been sent, and its latency counts from that time. So a client that falls
 * behind, or a loop that is held up, shows in the latency of each message that had to wait, and not only in the one that was
 * being sent ("coordinated omission").
 */
import { setTimeout } from "node:timers/promises"
import type { Latencies } from "./task.ts"

/** The stamp of a message takes that many bytes. */
export const stampSize = 8

/** A body with the time at which it should be sent. */
export const stamped = (intended: number, size: number): Buffer => {
  const body = Buffer.alloc(Math.max(size, stampSize), "x")
  body.writeDoubleBE(intended)
  return body
}

/** The time in the body of a message. */
export const stampOf = (body: Uint8Array): number => new DataView(body.buffer, body.byteOffset, stampSize).getFloat64(0)

/** The times at which messages are due, at equal intervals from the first call of `next`. Times are in milliseconds. */
export class Schedule {
  private readonly interval: number
  private startedAt: number | undefined
  private sent = 0

  constructor(perSecond: number) {
    this.interval = 1000 / perSecond
  }

  /** The time of the next message if it is due, and then the one after it is next. */
  next(): number | undefined {
    const now = performance.now()
    this.startedAt ??= now
    const intended = this.startedAt + this.sent * this.interval
    if (intended > now) {
      return undefined
    }
    this.sent++
    return intended
  }
}

/** A timer of Node.js takes at least this long, in milliseconds. So a message is sent up to about that late. */
export const tick = 1

/**
 * Calls `send` for each message that is due, until it has done so `count` times or `isOver`. `send` returns a promise if the client
 * wants the caller to wait.
 */
export const pace = async (
  perSecond: number,
  count: number,
  send: (intended: number) => Promise<unknown> | undefined,
  isOver: () => boolean = () => false
): Promise<void> => {
  const schedule = new Schedule(perSecond)
  let sent = 0
  while (sent < count && !isOver()) {
    for (let due = schedule.next(); due !== undefined && sent < count; due = schedule.next()) {
      sent++
      const room = send(due)
      if (room !== undefined) {
        await room
      }
    }
    await setTimeout(tick)
  }
}

const microseconds = (milliseconds: number): number => Math.round(milliseconds * 1000)

/** Collects the latencies of messages. */
export class LatencyRecorder {
  private readonly latencies: Array<number> = []

  /** Records that the message which should have been sent at that time has now arrived. */
  record(intended: number): void {
    this.latencies.push(performance.now() - intended)
  }

  /** The nearest-rank percentiles. */
  result(): Latencies {
    const sorted = Float64Array.from(this.latencies).toSorted()
    const percentile = (share: number) => microseconds(sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0)
    return { p50: percentile(0.5), p99: percentile(0.99), p999: percentile(0.999), max: percentile(1) }
  }
}
