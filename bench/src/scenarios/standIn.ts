/**
 * The family `stand-in`: the basic rows against a server that needs less CPU time than any client, so that the client is the limit.
 */
import { basic } from "./basic.ts"
import type { Scenario } from "./scenario.ts"

const names = [
  "publish",
  "publish-confirmed",
  "publish-confirmed-batch",
  "consume-auto-ack",
  "consume-ack",
  "serve",
  "declare"
]

/** The work is the same. There is more of it, because it takes less time. */
export const standIn: ReadonlyArray<Scenario> = names.flatMap((name) =>
  basic.filter((scenario) => scenario.name === name).map((scenario) => ({
    ...scenario,
    family: "stand-in",
    name: `stand-in-${name}`,
    title: `${scenario.title}; against the stand-in`,
    broker: "stand-in",
    defaultCount: scenario.defaultCount * 2,
    warmUp: scenario.warmUp * 2
  }))
)
