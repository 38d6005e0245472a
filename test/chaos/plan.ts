/** The faults of a run: a seed determines which ones come, in which order and how long they last. */
import { Dice } from "../support/dice.ts"

/** Faults of the network, by the proxies. */
export const networkKinds = [
  "cut",
  "reset",
  "cutInFrame",
  "stall",
  "trickle",
  "halfOpenToClient",
  "halfOpenToBroker",
  "refuse",
  "acceptThenClose",
  "silence"
] as const

/** Faults of a broker, which need no others. */
export const brokerKinds = [
  "kill",
  "stop",
  "restartApplication",
  "freeze",
  "closeConnections",
  "memoryAlarm",
  "diskAlarm",
  "deleteQueue",
  "changePassword"
] as const

/** Disturbances that programs ask for. */
export const drillKinds = ["reconnect"] as const

/** Faults of a cluster. */
export const clusterKinds = ["killLeader", "partition", "rollingRestart"] as const

export const kinds = [...networkKinds, ...brokerKinds, ...drillKinds, ...clusterKinds] as const

export type Kind = typeof kinds[number]

/** The kinds that end or suspend a node, or cut it off. */
export const nodeKinds: ReadonlySet<Kind> = new Set([
  "kill",
  "stop",
  "restartApplication",
  "freeze",
  "killLeader",
  "partition",
  "rollingRestart"
])

/** What a fault does, for people. */
export const descriptions: Readonly<Record<Kind, string>> = {
  cut: "connections end in order (FIN)",
  reset: "connections are reset (RST)",
  cutInFrame: "connections end after some bytes",
  stall: "no bytes pass, connections stay open",
  trickle: "few bytes pass at a time",
  halfOpenToClient: "the client's end is gone, the broker's stays",
  halfOpenToBroker: "the broker's end is gone, the client's stays",
  refuse: "connections end, new ones are refused",
  acceptThenClose: "connections end, new ones are closed at once",
  silence: "connections end, new ones get no reply",
  kill: "a node is killed (SIGKILL) and started again",
  stop: "a node is stopped in order and started again",
  restartApplication: "rabbitmqctl stop_app and start_app",
  freeze: "a node is suspended (SIGSTOP)",
  closeConnections: "rabbitmqctl close_all_connections",
  memoryAlarm: "the memory alarm blocks publishers",
  diskAlarm: "the disk alarm blocks publishers",
  deleteQueue: "a queue is deleted",
  changePassword: "a password changes, connections are closed",
  reconnect: "clients replace their connections",
  killLeader: "the node of a queue's leader is killed",
  partition: "a node is cut off from the others",
  rollingRestart: "all nodes are restarted, one by one"
}

/** A fault of a run. Each kind uses what it needs of it. */
export interface Fault {
  readonly kind: Kind
  /** How long it lasts. */
  readonly millis: number
  /** The proxy that it hits, or all of them. */
  readonly proxy: number | "all"
  /** The node that it hits. */
  readonly node: number
  /** After how many bytes connections are cut. */
  readonly bytes: number
  readonly from: "client" | "broker"
  /** The pause before the next fault. */
  readonly pauseMillis: number
  /** Whether the next fault comes before everything works again. */
  readonly overlaps: boolean
}

export interface PlanOptions {
  readonly seed: number
  readonly nodes: number
  readonly proxies: number
  /** The kinds of faults to choose from. Default: all that are possible with this number of nodes. */
  readonly kinds?: ReadonlyArray<Kind> | undefined
}

/** The kinds of faults that are possible. */
export const kindsFor = (nodes: number): ReadonlyArray<Kind> =>
  nodes === 1 ? [...networkKinds, ...brokerKinds, ...drillKinds] : kinds

/** The shortest and the longest time that a fault lasts, in milliseconds. Others have no duration of their own. */
const durations: Partial<Record<Kind, readonly [number, number]>> = {
  stall: [500, 12_000],
  trickle: [1_000, 6_000],
  refuse: [200, 6_000],
  acceptThenClose: [200, 6_000],
  silence: [200, 8_000],
  kill: [0, 4_000],
  stop: [0, 2_000],
  restartApplication: [0, 1_000],
  freeze: [500, 12_000],
  memoryAlarm: [500, 6_000],
  diskAlarm: [500, 6_000],
  reconnect: [0, 1_000],
  killLeader: [0, 6_000],
  partition: [2_000, 12_000]
}

/** The faults of a run, without end. Each kind comes once before any comes again. */
export const plan = function*(options: PlanOptions): Generator<Fault, never> {
  const dice = new Dice(options.seed)
  const all = options.kinds ?? kindsFor(options.nodes)
  let left: Array<Kind> = []
  for (;;) {
    if (left.length === 0) left = [...all]
    const [kind] = left.splice(dice.between(0, left.length - 1), 1)
    const [shortest, longest] = durations[kind] ?? [0, 0]
    yield {
      kind,
      millis: dice.between(shortest, longest),
      proxy: dice.chance(30) ? "all" : dice.between(0, options.proxies - 1),
      node: dice.between(0, options.nodes - 1),
      bytes: dice.between(1, 5_000),
      from: dice.oneOf("client", "broker"),
      pauseMillis: dice.between(100, 1_500),
      overlaps: dice.chance(25)
    }
  }
}
