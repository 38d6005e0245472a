/**
 * What the scripts of this folder share. They are plain JavaScript, so that no figure contains the time in which Node.js strips types.
 */
import { readFileSync } from "node:fs"

const { measured, spawnedAt, url } = JSON.parse(process.env.EFFECT_AMQP_BENCH_TASK ?? "null")

export { url }
export const queue = measured.queue

/** Called when the broker has confirmed the message: the time since the process was spawned, and all its CPU time so far. */
export const report = () => {
  const nanoseconds = Number(process.hrtime.bigint()) - spawnedAt
  const { system, user } = process.cpuUsage()
  // see src/memory.ts
  const peak = /^VmHWM:\s+(\d+) kB$/mu.exec(readFileSync("/proc/self/status", "utf8"))
  console.log(JSON.stringify({ nanoseconds, cpuMicroseconds: user + system, peakRssBytes: Number(peak?.[1]) * 1024 }))
}
