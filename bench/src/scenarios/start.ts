/**
 * The family `start`: from the start of a process to its first confirmed message. Not by the worker, but by the scripts in
 * `bench/start`.
 */
import { publishing } from "./scenario.ts"
import type { Scenario } from "./scenario.ts"

export const start: ReadonlyArray<Scenario> = [
  {
    ...publishing,
    family: "start",
    name: "start-to-confirm",
    workload: "start",
    title: "from the start of a process to its first confirmed message, imports included",
    unit: "processes",
    broker: "broker",
    defaultCount: 1,
    warmUp: 1
  }
]
