/**
 * Runs one round of a scenario with one client in this process. Prints the measurement as a line of JSON.
 */
import { clients } from "./clients.ts"
import type { Measurement, Task } from "./task.ts"
import { taskVariable } from "./task.ts"
import { Stopwatch } from "./workload.ts"

// only the runner starts this file, with a task of this type
const task = JSON.parse(process.env[taskVariable] ?? "null") as Task | null
if (task === null) {
  throw new Error("This file is started by the benchmark: npm run bench")
}
const { client } = await clients[task.client].load()
const run = client[task.scenario]
if (run === undefined) {
  throw new Error(`${task.client} does not support ${task.scenario}`)
}
const stopwatch = new Stopwatch()
await run({
  url: task.url,
  body: Buffer.alloc(task.size, "x"),
  warmUp: task.warmUp,
  measured: task.measured,
  stopwatch
})
const measurement: Measurement = {
  ...stopwatch.result(),
  // Node reports kibibytes
  peakRssBytes: process.resourceUsage().maxRSS * 1024
}
process.stdout.write(`${JSON.stringify(measurement)}\n`)
