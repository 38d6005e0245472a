/**
 * The resident set of this process.
 */
import { existsSync, readFileSync } from "node:fs"
import { setTimeout } from "node:timers/promises"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"

const status = "/proc/self/status"

/**
 * The peak, in bytes. On Linux not from `process.resourceUsage()`: there it starts at the size of the process that has forked this one,
 * which was 205 MiB for a program of 45 MiB started by one of 246 MiB.
 */
export const peakRssBytes = (): number => {
  const peak = existsSync(status) ? /^VmHWM:\s+(\d+) kB$/mu.exec(readFileSync(status, "utf8")) : null
  return (peak === null ? process.resourceUsage().maxRSS : Number(peak[1])) * 1024
}

/** The size after full collections, in bytes. V8 returns memory to the system in the background, so it is given some time. */
export const settledRssBytes = async (): Promise<number> => {
  setFlagsFromString("--expose-gc")
  const collect: unknown = runInNewContext("gc")
  for (let round = 0; round < 3; round++) {
    if (typeof collect === "function") {
      collect()
    }
    await setTimeout(200)
  }
  return process.memoryUsage.rss()
}
