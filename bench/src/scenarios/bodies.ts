/**
 * The family `bodies`: the same work with bodies from 16 B to 1 MiB.
 */
import { consuming, messages, publishing } from "./scenario.ts"
import type { Scenario } from "./scenario.ts"

const family = "bodies"

const sizes = [
  { label: "16B", size: 16 },
  { label: "1KiB", size: 2 ** 10 },
  { label: "16KiB", size: 2 ** 14 },
  { label: "1MiB", size: 2 ** 20 }
]

export const bodies: ReadonlyArray<Scenario> = sizes.flatMap(({ label, size }): ReadonlyArray<Scenario> => [
  {
    ...messages,
    ...publishing,
    family,
    name: `publish-${label}`,
    workload: "publish",
    title: `publish, unconfirmed, bodies of ${label}`,
    size,
    series: { name: "publish by body size", work: size }
  },
  {
    ...messages,
    ...publishing,
    family,
    name: `publish-confirmed-${label}`,
    workload: "publish-confirmed",
    title: `publish, each confirm awaited, bodies of ${label}`,
    size,
    series: { name: "publish-confirmed by body size", work: size }
  },
  {
    ...messages,
    ...consuming,
    family,
    name: `consume-ack-${label}`,
    workload: "consume-ack",
    title: `consume, each message acknowledged, bodies of ${label}`,
    size,
    series: { name: "consume-ack by body size", work: size }
  }
])
