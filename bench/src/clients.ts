/**
 * The clients that are compared. Each is loaded only in its process, so that no process loads a client that it does not run.
 */
import type { ClientEntry } from "./clients/entry.ts"
import { amqp091Go, librabbitmq } from "./references.ts"
import type { Scenario } from "./scenarios/scenario.ts"

export const clientNames = [
  "effect-amqp",
  "amqplib",
  "rabbitmq-client",
  "cloudamqp",
  "librabbitmq",
  "amqp091-go",
  "effect",
  "node"
] as const

export type ClientName = typeof clientNames[number]

export const isClientName = (name: string): name is ClientName => clientNames.some((client) => client === name)

const isWithoutClient = ({ workload }: Scenario): boolean => workload === "idle" || workload === "start"

export const clients: Readonly<Record<ClientName, ClientEntry>> = {
  "effect-amqp": {
    kind: "ours",
    packageName: "@effect-amqp/node",
    load: () => import("./clients/effect-amqp.ts")
  },
  amqplib: {
    kind: "peer",
    packageName: "amqplib",
    load: () => import("./clients/amqplib.ts")
  },
  "rabbitmq-client": {
    kind: "peer",
    packageName: "rabbitmq-client",
    load: () => import("./clients/rabbitmq-client.ts")
  },
  cloudamqp: {
    kind: "peer",
    packageName: "@cloudamqp/amqp-client",
    load: () => import("./clients/cloudamqp.ts")
  },
  librabbitmq,
  "amqp091-go": amqp091Go,
  // what a process takes before it has a client
  effect: {
    kind: "reference",
    packageName: "effect",
    supports: isWithoutClient,
    isEmpty: true,
    load: () => import("./clients/effect.ts")
  },
  node: {
    kind: "reference",
    packageName: "node",
    supports: isWithoutClient,
    isEmpty: true,
    load: () => import("./clients/node.ts")
  }
}
