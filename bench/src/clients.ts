/**
 * The clients that are compared. Each is loaded only in its process, so that no process loads a client that it does not run.
 */
import type { Scenario } from "./scenarios/scenario.ts"
import type { Client } from "./workload.ts"

interface Entry {
  /**
   * This project's client, a client that it is compared with, or a client of another language: its figures are shown, but
   * ratios are to the peers.
   */
  readonly kind: "ours" | "our variant" | "peer" | "reference"
  /** Whether it takes part in a scenario. Default: in all. */
  readonly supports?: (scenario: Scenario) => boolean
}

/** A client for Node.js: a module with its workloads, which the worker runs. */
export interface ModuleEntry extends Entry {
  /** The npm package whose version is reported. */
  readonly packageName: string
  readonly load: () => Promise<{ readonly client: Client }>
}

/** A program that takes a `Task` in the same environment variable and prints the same `Measurement` as the last line. */
export interface ProgramEntry extends Entry {
  /** Builds the program once, before the first run. Rejects with the reason if that is not possible on this machine. */
  readonly build: () => Promise<Program>
}

export interface Program {
  readonly command: readonly [program: string, ...args: ReadonlyArray<string>]
  /** Name and version for the report. */
  readonly version: string
}

export type ClientEntry = ModuleEntry | ProgramEntry

export const clientNames = ["effect-amqp", "amqplib", "rabbitmq-client", "cloudamqp"] as const

export type ClientName = typeof clientNames[number]

export const isClientName = (name: string): name is ClientName => clientNames.some((client) => client === name)

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
