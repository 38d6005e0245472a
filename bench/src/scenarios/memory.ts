/**
 * The family `memory`.
 */
import { messagesPerConsumer } from "../workload.ts"
import { messages, withoutMessages } from "./scenario.ts"
import type { Scenario } from "./scenario.ts"

const family = "memory"

export const memory: ReadonlyArray<Scenario> = [
  {
    ...messages,
    ...withoutMessages,
    family,
    name: "memory-through",
    workload: "through",
    title: "publish, confirms awaited per batch of 1000, while a consumer acknowledges each message",
    defaultCount: 1_000_000
  },
  {
    ...withoutMessages,
    family,
    name: "memory-consumers",
    workload: "consumers-settled",
    title:
      `a channel with a consumer each, and ${messagesPerConsumer} messages through each; settled: after a full collection`,
    unit: "channels",
    broker: "broker",
    defaultCount: 1000,
    warmUp: 10
  },
  {
    ...withoutMessages,
    family,
    name: "memory-idle",
    workload: "idle",
    title: "nothing but the imports; settled: after a full collection",
    unit: "processes",
    broker: "broker",
    defaultCount: 1,
    warmUp: 1
  }
]
