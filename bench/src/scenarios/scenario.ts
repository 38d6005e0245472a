/**
 * What a row of the benchmark consists of.
 */
import type { Split, WorkloadName } from "../task.ts"

/** What a scenario leaves in its queue. The runner checks it after every run. */
type Leaves = "every message" | "nothing"

/** Rows that differ in one parameter, the first being the smallest, so that the report can show how the figures grow. */
export interface Series {
  readonly name: string
  /** The work of one operation, in any unit: the bytes of a message, or 1 if only the split differs. */
  readonly work: number
}

/** A row: the work of each client, on which broker, and what is checked afterwards. */
export interface Scenario {
  readonly name: string
  /** `--scenario` also takes the name of a family. */
  readonly family: string
  /** The title of the table. */
  readonly title: string
  /** The unit of an operation, in the plural. */
  readonly unit: string
  /** What the clients do. Several scenarios may have the same workload with different parameters. */
  readonly workload: WorkloadName
  /** RabbitMQ, or the stand-in, which needs less CPU time than any client. */
  readonly broker: "broker" | "stand-in"
  /** Operations in the measured section with small bodies, unless `--count` is given; see `countFor`. */
  readonly defaultCount: number
  /** The maximum number of operations before measuring, so that the code is compiled and the socket buffers have grown. */
  readonly warmUp: number
  /** Whether the queue is filled with that many messages before the client starts. */
  readonly prefilled: boolean
  readonly leaves: Leaves
  /** Bytes in a message's body. Default: `--size`. */
  readonly size?: number
  /** Default: 1 of each. */
  readonly split?: Partial<Split>
  readonly series?: Series
  /** The bytes of the bodies of one run, above which fewer messages are sent. Default: 256 MiB. */
  readonly maximumBytes?: number
  /** Whether the delay of the event loop is measured. Default: no, because that takes CPU time. */
  readonly observeEventLoop?: boolean
}

/** What the scenarios that send or receive messages have in common. */
export const messages = {
  unit: "messages",
  broker: "broker",
  defaultCount: 200_000,
  warmUp: 20_000
} as const

/** Where a scenario publishes, the queue is empty at first, and holds every message in the end. */
export const publishing = { prefilled: false, leaves: "every message" } as const

/** Where a scenario consumes, the queue is filled at first, and empty in the end. */
export const consuming = { prefilled: true, leaves: "nothing" } as const

/** Where a scenario neither publishes to its queue for good nor finds messages there. */
export const withoutMessages = { prefilled: false, leaves: "nothing" } as const
