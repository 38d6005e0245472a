/** What a run watches while it goes on: connections, workloads, and operations that have not ended. */

/** A connection that was lost and came back. */
export interface Recovery {
  readonly connection: string
  readonly lostAt: number
  readonly openAt: number
}

interface Watched {
  state: string
  /** How often it has been opened. */
  session: number
  lostAt: number | undefined
}

interface Operation {
  readonly what: string
  readonly startedAt: number
}

export class Monitor {
  readonly recoveries: Array<Recovery> = []
  private readonly connections = new Map<string, Watched>()
  /** When the latest operation of each workload began that has succeeded. */
  private readonly successes = new Map<string, number>()
  private readonly operations = new Set<Operation>()
  private readonly now: () => number

  constructor(now = () => performance.now()) {
    this.now = now
  }

  /** Records the state of a connection. A blocked one is open. */
  changed(connection: string, state: string): void {
    let watched = this.connections.get(connection)
    if (watched === undefined) this.connections.set(connection, watched = { state, session: 0, lostAt: undefined })
    const isOpen = state === "Open" || state === "Blocked"
    if (!isOpen && watched.lostAt === undefined) watched.lostAt = this.now()
    if (isOpen && (watched.lostAt !== undefined || watched.session === 0)) {
      if (watched.session > 0 && watched.lostAt !== undefined) {
        this.recoveries.push({ connection, lostAt: watched.lostAt, openAt: this.now() })
      }
      watched.session++
      watched.lostAt = undefined
    }
    watched.state = state
  }

  /** The number of a connection's session. */
  sessionOf(connection: string): number {
    return this.connections.get(connection)?.session ?? 0
  }

  /** Whether a connection was lost and is not open yet. */
  isRecovering(connection: string): boolean {
    return this.connections.get(connection)?.state === "Recovering"
  }

  /** The connections with their states, and the numbers of their sessions. */
  get states(): ReadonlyArray<string> {
    return [...this.connections].map(([name, { session, state }]) => `${name} is ${state}, session ${session}`)
  }

  /** The connections that are not open, with their states. */
  get notOpen(): ReadonlyArray<string> {
    return [...this.connections].filter(([, { state }]) => state !== "Open").map(([name, { state }]) =>
      `${name} is ${state}`
    )
  }

  /** A workload, which has to succeed again after each fault. */
  expect(workload: string): void {
    this.successes.set(workload, -Infinity)
  }

  /** An operation of a workload has succeeded. */
  succeeded(workload: string, startedAt: number): void {
    if (startedAt > (this.successes.get(workload) ?? Infinity)) this.successes.set(workload, startedAt)
  }

  /** The workloads of which no operation has succeeded that began after this time. */
  idleSince(time: number): ReadonlyArray<string> {
    return [...this.successes].filter(([, startedAt]) => startedAt <= time).map(([workload]) => workload)
  }

  /** Begins an operation. Returns what ends it. */
  begin(what: string): () => void {
    const operation = { what, startedAt: this.now() }
    this.operations.add(operation)
    return () => void this.operations.delete(operation)
  }

  /** The operations that have not ended, with their age. */
  get pending(): ReadonlyArray<string> {
    return [...this.operations].map(({ startedAt, what }) => `${what}, for ${Math.round(this.now() - startedAt)} ms`)
  }
}
