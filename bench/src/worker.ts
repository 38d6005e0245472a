/**
 * One client, one scenario, one round, in a process of its own. Prints one line of JSON, the measurement.
 */
import { clients } from "./clients.ts"
import type { Measurement, Task } from "./task.ts"
import { taskVariable } from "./task.ts"
import { Stopwatch } from "./workload.ts"

// the runner alone starts this file, and it writes what it is typed to write
const task = JSON.parse(process.env[taskVariable] ?? "null") as Task | null
if (task === null) {
  throw new Error("This file is started by the benchmark: npm run bench")
}
const { client } = await clients[task.client].load()
const run = client[task.scenario]
if (run === undefined) {
  throw new Error(`${task.client} takes no part in ${task.scenario}`)
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
