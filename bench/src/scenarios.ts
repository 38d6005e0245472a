/**
 * The scenarios that are compared, and what each must leave in its queue.
 */

/** What a scenario leaves in its queue. The runner checks it after every run. */
type Leaves = "every message" | "nothing"

export interface Scenario {
  /** The title of the table. */
  readonly title: string
  /** The unit of an operation, in the plural. */
  readonly unit: string
  /** Operations in the measured section, unless `--count` is given. */
  readonly defaultCount: number
  /** The maximum number of operations before measuring, so that the code is compiled and the socket buffers have grown. */
  readonly warmUp: number
  /** Whether the queue is filled with that many messages before the client starts. */
  readonly prefilled: boolean
  readonly leaves: Leaves
}

export const scenarioNames = [
  "publish",
  "publish-confirmed",
  "publish-confirmed-batch",
  "consume-ack",
  "consume-auto-ack",
  "declare",
  "channel"
] as const

export type ScenarioName = typeof scenarioNames[number]

const messages = { unit: "messages", defaultCount: 200_000, warmUp: 20_000 }

export const scenarios: Readonly<Record<ScenarioName, Scenario>> = {
  publish: {
    ...messages,
    title: "publish, unconfirmed, until the broker has accepted all",
    prefilled: false,
    leaves: "every message"
  },
  "publish-confirmed": {
    ...messages,
    title: "publish, each confirm awaited, 1000 in flight",
    prefilled: false,
    leaves: "every message"
  },
  "publish-confirmed-batch": {
    ...messages,
    title: "publish, confirms awaited per batch of 1000",
    prefilled: false,
    leaves: "every message"
  },
  "consume-ack": {
    ...messages,
    title: "consume, each message acknowledged, prefetch 1000",
    prefilled: true,
    leaves: "nothing"
  },
  "consume-auto-ack": {
    ...messages,
    title: "consume, no acknowledgements",
    prefilled: true,
    leaves: "nothing"
  },
  declare: {
    title: "passive queue declare, one round trip after another",
    unit: "round trips",
    defaultCount: 5000,
    warmUp: 1000,
    prefilled: false,
    leaves: "nothing"
  },
  channel: {
    title: "open and close a channel, one after another",
    unit: "channels",
    defaultCount: 1000,
    warmUp: 200,
    prefilled: false,
    leaves: "nothing"
  }
}
