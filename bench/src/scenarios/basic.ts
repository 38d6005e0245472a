/**
 * The family `basic`: what every program does, with small bodies. It is measured unless `--scenario` is given.
 */
import { consuming, messages, publishing, withoutMessages } from "./scenario.ts"
import type { Scenario } from "./scenario.ts"

const family = "basic"

export const basic: ReadonlyArray<Scenario> = [
  {
    ...messages,
    ...publishing,
    family,
    name: "publish",
    workload: "publish",
    title: "publish, unconfirmed, until the broker has accepted all"
  },
  {
    ...messages,
    ...publishing,
    family,
    name: "publish-confirmed",
    workload: "publish-confirmed",
    title: "publish, each confirm awaited, 1000 in flight"
  },
  {
    ...messages,
    ...publishing,
    family,
    name: "publish-confirmed-batch",
    workload: "publish-confirmed-batch",
    title: "publish, confirms awaited per batch of 1000"
  },
  {
    ...messages,
    ...consuming,
    family,
    name: "consume-ack",
    workload: "consume-ack",
    title: "consume, each message acknowledged, prefetch 1000"
  },
  {
    ...messages,
    ...consuming,
    family,
    name: "consume-auto-ack",
    workload: "consume-auto-ack",
    title: "consume, no acknowledgements"
  },
  {
    ...messages,
    ...consuming,
    family,
    name: "serve",
    workload: "serve",
    title: "a handler that returns ack, prefetch 1000"
  },
  {
    ...withoutMessages,
    family,
    name: "rpc",
    workload: "rpc",
    title: "call and reply, 100 at once, both sides in the process under test",
    unit: "calls",
    broker: "broker",
    defaultCount: 20_000,
    warmUp: 4000
  },
  {
    ...withoutMessages,
    family,
    name: "rpc-sequential",
    workload: "rpc-sequential",
    title: "call and reply, one after another, both sides in the process under test",
    unit: "calls",
    broker: "broker",
    defaultCount: 3000,
    warmUp: 1000
  },
  {
    ...withoutMessages,
    family,
    name: "declare",
    workload: "declare",
    title: "passive queue declare, one round trip after another",
    unit: "round trips",
    broker: "broker",
    defaultCount: 5000,
    warmUp: 1000
  },
  {
    ...withoutMessages,
    family,
    name: "channel",
    workload: "channel",
    title: "open and close a channel, one after another",
    unit: "channels",
    broker: "broker",
    defaultCount: 1000,
    warmUp: 200
  }
]
