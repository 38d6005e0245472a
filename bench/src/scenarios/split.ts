/**
 * The families `channels`, `consumers` and `publishers`: the same work, split among more and more of them on one connection. The number
 * of messages in flight is split too.
 */
import { consuming, messages, publishing } from "./scenario.ts"
import type { Scenario } from "./scenario.ts"

const integer = new Intl.NumberFormat("en-US")

export const channels: ReadonlyArray<Scenario> = [1, 10, 100, 1000].map((channels) => ({
  ...messages,
  ...publishing,
  family: "channels",
  name: `channels-${channels}`,
  workload: "publish-confirmed",
  title: `publish, each confirm awaited, 1000 in flight on ${integer.format(channels)} channel${
    channels > 1 ? "s" : ""
  }`,
  split: { channels },
  series: { name: "publish-confirmed by channels", work: 1 }
}))

export const consumers: ReadonlyArray<Scenario> = [1, 10, 100].map((consumers) => ({
  ...messages,
  ...consuming,
  family: "consumers",
  name: `consumers-${consumers}`,
  workload: "consume-ack",
  title: consumers === 1
    ? "consume, each message acknowledged, prefetch 1000, 1 consumer"
    : `consume, each message acknowledged, ${consumers} consumers of one queue, each with its own channel and a ` +
      `prefetch of ${1000 / consumers}`,
  split: { consumers },
  series: { name: "consume-ack by consumers", work: 1 }
}))

export const publishers: ReadonlyArray<Scenario> = [1, 10].map((publishers) => ({
  ...messages,
  ...publishing,
  family: "publishers",
  name: `publishers-${publishers}`,
  workload: "publish-confirmed-batch",
  title: publishers === 1
    ? "publish, confirms awaited per batch of 1000, 1 publisher"
    : `publish, confirms awaited per batch of ${
      1000 / publishers
    }, ${publishers} publishers at once, each with its own channel`,
  split: { publishers },
  series: { name: "publish-confirmed-batch by publishers", work: 1 }
}))
