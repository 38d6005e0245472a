/**
 * The clients that are compared. Each is loaded only in its worker, so that no process loads a client that it does not run.
 */
import type { ScenarioName } from "./scenarios.ts"
import type { Client } from "./workload.ts"

export interface ClientEntry {
  /** Whether it is this project's client or a client that it is compared with. */
  readonly kind: "ours" | "our variant" | "peer"
  /** The npm package whose version is reported. */
  readonly packageName: string
  /** The scenarios that it supports. Default: all. */
  readonly scenarios?: ReadonlyArray<ScenarioName>
  readonly load: () => Promise<{ readonly client: Client }>
}

export const clientNames = ["effect-amqp", "amqplib", "rabbitmq-client", "cloudamqp"] as const

export type ClientName = typeof clientNames[number]

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
  }
}
