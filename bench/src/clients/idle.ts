/**
 * The workload `idle`: nothing, after the client was imported.
 */
import { settledRssBytes } from "../memory.ts"
import type { Run } from "../workload.ts"

export const idle: Run = async ({ stopwatch }) => {
  stopwatch.start()
  stopwatch.stop()
  return { settledRssBytes: await settledRssBytes() }
}
