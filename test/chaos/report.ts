/** The figures of a run, as a table and as JSON. */
import type { Totals } from "./account.ts"
import type { Recovery } from "./monitor.ts"
import type { Kind } from "./plan.ts"
import type { Violation } from "./violations.ts"

/** A fault that was inflicted. */
export interface FaultRecord {
  readonly kind: Kind
  readonly beganAt: number
  readonly endedAt: number
  /** When everything worked again; `undefined` if the next fault came before. */
  readonly recoveredAt: number | undefined
}

/** Durations in milliseconds; `null`, as in JSON, if there are none. */
export interface Durations {
  readonly count: number
  readonly medianMillis: number | null
  readonly worstMillis: number | null
}

export interface Report {
  readonly seed: number
  readonly nodes: number
  readonly version: string
  readonly seconds: number
  readonly messages: Totals
  readonly faults: ReadonlyArray<Durations & { readonly kind: Kind; readonly inflicted: number }>
  /** Connections that were lost and came back: from the loss to the open connection, including the fault itself. */
  readonly recoveries: Durations
  /** Consumers to which RabbitMQ delivered nothing more until their connection was replaced. */
  readonly forgottenConsumers: number
  /** From the end of a fault until every connection was open and every program worked again. */
  readonly timeToRecover: Durations
  readonly violations: ReadonlyArray<Violation>
}

export const durationsOf = (values: ReadonlyArray<number>): Durations => {
  const sorted = values.map(Math.round).toSorted((a, b) => a - b)
  return {
    count: sorted.length,
    medianMillis: sorted.length === 0 ? null : sorted[Math.floor((sorted.length - 1) / 2)],
    worstMillis: sorted.at(-1) ?? null
  }
}

export interface Results {
  readonly seed: number
  readonly nodes: number
  readonly version: string
  readonly millis: number
  readonly totals: Totals
  readonly faults: ReadonlyArray<FaultRecord>
  readonly recoveries: ReadonlyArray<Recovery>
  readonly forgottenConsumers: number
  readonly violations: ReadonlyArray<Violation>
}

const timesToRecover = (faults: ReadonlyArray<FaultRecord>): ReadonlyArray<number> =>
  faults.flatMap(({ endedAt, recoveredAt }) => recoveredAt === undefined ? [] : [recoveredAt - endedAt])

export const reportOf = (results: Results): Report => {
  const { faults, forgottenConsumers, millis, nodes, recoveries, seed, totals, version, violations } = results
  const kinds = [...new Set(faults.map(({ kind }) => kind))].toSorted()
  return {
    seed,
    nodes,
    version,
    seconds: Math.round(millis / 100) / 10,
    messages: totals,
    faults: kinds.map((kind) => {
      const ofKind = faults.filter((fault) => fault.kind === kind)
      return { kind, inflicted: ofKind.length, ...durationsOf(timesToRecover(ofKind)) }
    }),
    forgottenConsumers,
    recoveries: durationsOf(recoveries.map(({ lostAt, openAt }) => openAt - lostAt)),
    timeToRecover: durationsOf(timesToRecover(faults)),
    violations
  }
}

/** A table with columns of equal width; numbers are on the right. */
const table = (rows: ReadonlyArray<ReadonlyArray<string>>): ReadonlyArray<string> => {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)))
  return rows.map((row) =>
    row.map((cell, column) => column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column])).join("  ")
      .trimEnd()
  )
}

const duration = (millis: number | null): string => millis === null ? "-" : `${millis} ms`

/** The report as text. */
export const describe = (report: Report): string => {
  const { faults, forgottenConsumers, messages, nodes, recoveries, seconds, seed, timeToRecover, version, violations } =
    report
  const { committedButLost, deliveries, duplicates, outcomes, published } = messages
  const lines = [
    `RabbitMQ ${version}, ${nodes === 1 ? "one node" : `${nodes} nodes`}, seed ${seed}, ${seconds} s`,
    "",
    ...table([
      ["messages", ""],
      ["published", String(published)],
      ["confirmed", String(outcomes.confirmed)],
      ["committed, to a quorum queue", String(outcomes.committed)],
      ["committed but lost", String(committedButLost)],
      ["outcome unknown", String(outcomes.unknown)],
      ["not sent", String(outcomes.notSent)],
      ["nacked", String(outcomes.nacked)],
      ["returned", String(outcomes.returned)],
      ["delivered", String(deliveries)],
      ["duplicates, redelivered", String(duplicates.redelivered)],
      ["duplicates, published again", String(duplicates.publishedAgain)]
    ]),
    "",
    ...table([
      ["fault", "count", "all well again: median", "worst"],
      ...faults.map(({ inflicted, kind, medianMillis, worstMillis }) => [
        kind,
        String(inflicted),
        duration(medianMillis),
        duration(worstMillis)
      ]),
      [
        "all",
        String(faults.reduce((sum, { inflicted }) => sum + inflicted, 0)),
        duration(timeToRecover.medianMillis),
        duration(timeToRecover.worstMillis)
      ]
    ]),
    "",
    `${recoveries.count} connections recovered; without a connection: median ${
      duration(recoveries.medianMillis)
    }, worst ${duration(recoveries.worstMillis)}`,
    `${forgottenConsumers} consumers forgotten by the broker`,
    "",
    ...(violations.length === 0 ? ["No violations."] : [
      "VIOLATIONS:",
      ...violations.flatMap(({ count, examples, kind }) => [
        `  ${count} × ${kind}`,
        ...examples.map((example) => `      ${example}`)
      ])
    ])
  ]
  return lines.join("\n")
}
