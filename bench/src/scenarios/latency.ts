/**
 * The families `latency`, `large-body` and `event-loop`: how long something waits for its turn.
 */
import { heartbeatSeconds, messagesPerSecond, smallPerSecond } from "../workload.ts"
import { consuming, messages, publishing, withoutMessages } from "./scenario.ts"
import type { Scenario } from "./scenario.ts"

const integer = new Intl.NumberFormat("en-US")

const atFixedRate = {
  ...messages,
  ...withoutMessages,
  family: "latency",
  // six seconds and one second
  defaultCount: 6 * messagesPerSecond,
  warmUp: messagesPerSecond
} as const

const rate = `${integer.format(messagesPerSecond)} messages/s, from the time of the schedule to the handler`

export const latency: ReadonlyArray<Scenario> = [
  {
    ...atFixedRate,
    name: "latency-alone",
    workload: "latency",
    title: rate
  },
  {
    ...atFixedRate,
    name: "latency-beside-publisher",
    // the messages take several times as long as their schedule
    defaultCount: 3 * messagesPerSecond,
    warmUp: messagesPerSecond / 2,
    workload: "latency-beside-publisher",
    title: `${rate}, beside a channel of the same connection that publishes without a pause`
  }
]

const largeBodyMiB = 100

export const largeBody: ReadonlyArray<Scenario> = [
  {
    ...withoutMessages,
    family: "large-body",
    name: "large-body-beside-small",
    workload: "large-body",
    title:
      `confirmed bodies of ${largeBodyMiB} MiB one after another, heartbeat ${heartbeatSeconds} s; latencies: the confirms of ` +
      `${integer.format(smallPerSecond)} small messages/s on another channel`,
    unit: "large bodies",
    broker: "broker",
    // takes longer than two heartbeats
    defaultCount: 60,
    warmUp: 2,
    size: largeBodyMiB * 2 ** 20,
    maximumBytes: Infinity,
    observeEventLoop: true
  }
]

const saturating = { ...messages, family: "event-loop", observeEventLoop: true } as const

export const eventLoop: ReadonlyArray<Scenario> = [
  {
    ...saturating,
    ...publishing,
    name: "event-loop-publish",
    workload: "publish",
    title: "the longest delay of the event loop in publish"
  },
  {
    ...saturating,
    ...publishing,
    name: "event-loop-publish-confirmed",
    workload: "publish-confirmed",
    title: "the longest delay of the event loop in publish-confirmed"
  },
  {
    ...saturating,
    ...consuming,
    name: "event-loop-consume-ack",
    workload: "consume-ack",
    title: "the longest delay of the event loop in consume-ack"
  }
]
