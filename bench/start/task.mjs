/**
 * What the scripts of this folder share. They are plain JavaScript, so that no figure contains the time in which Node.js strips types.
 */
import { existsSync, readFileSync } from "node:fs"

const { measured, spawnedAt, url } = JSON.parse(process.env.EFFECT_AMQP_BENCH_TASK ?? "null")

export { url }
export const queue = measured.queue

const status = "/proc/self/status"

/** As in `src/memory.ts`. */
const peakRssBytes = () => {
  const peak = existsSync(status) ? /^VmHWM:\s+(\d+) kB$/mu.exec(readFileSync(status, "utf8")) : null
  return (peak === null ? process.resourceUsage().maxRSS : Number(peak[1])) * 1024
}

/** Called when the broker has confirmed the message: the time since the process was spawned, and all its CPU time so far. */
export const report = () => {
  const nanoseconds = Number(process.hrtime.bigint()) - spawnedAt
  const { system, user } = process.cpuUsage()
  console.log(JSON.stringify({ nanoseconds, cpuMicroseconds: user + system, peakRssBytes: peakRssBytes() }))
}
