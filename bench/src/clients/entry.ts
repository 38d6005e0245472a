/**
 * What the harness knows of a client.
 */
import type { Scenario } from "../scenarios/scenario.ts"
import type { Client } from "../workload.ts"

interface Entry {
  /**
   * This project's client, a client that it is compared with, or a client of another language: its figures are shown, but
   * ratios are to the peers.
   */
  readonly kind: "ours" | "our variant" | "peer" | "reference"
  /** Whether it takes part in a scenario. Default: in all. */
  readonly supports?: (scenario: Scenario) => boolean
  /** A process without a client. It does none of the work, so what it leaves in the queue is not checked. Default: no. */
  readonly isEmpty?: boolean
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
