/**
 * Runs one round of a scenario with one client in this process. Prints the measurement as a line of JSON.
 */
import { clients, isClientName } from "./clients.ts"
import { observeEventLoop } from "./eventLoop.ts"
import { peakRssBytes } from "./memory.ts"
import type { Measurement, Task } from "./task.ts"
import { taskVariable } from "./task.ts"
import { Stopwatch } from "./workload.ts"

// only the runner starts this file, with a task of this type
const task = JSON.parse(process.env[taskVariable] ?? "null") as Task | null
if (task === null) {
  throw new Error("This file is started by the benchmark: npm run bench")
}
const entry = isClientName(task.client) ? clients[task.client] : undefined
if (entry === undefined || !("load" in entry)) {
  throw new Error(`${task.client} is not a module`)
}
const { client } = await entry.load()
const run = client[task.workload]
if (run === undefined) {
  throw new Error(`${task.client} does not support ${task.workload}`)
}
const stopwatch = new Stopwatch()
const eventLoop = task.observeEventLoop ? observeEventLoop(stopwatch) : undefined
const observations = await run({ ...task, body: Buffer.alloc(task.size, "x"), stopwatch })
const measurement: Measurement = {
  ...observations,
  ...stopwatch.result(),
  ...eventLoop?.result(),
  peakRssBytes: peakRssBytes()
}
process.stdout.write(`${JSON.stringify(measurement)}\n`)
