/**
 * The figures as text: tables for a terminal, Markdown for a document.
 */
import Table from "cli-table3"
import { markdownTable } from "markdown-table"
import type { Environment } from "./environment.ts"
import { scenarios } from "./scenarios.ts"
import type { ScenarioSummary } from "./summary.ts"

export interface Report {
  readonly environment: Environment
  readonly size: number
  readonly rounds: number
  readonly summaries: ReadonlyArray<ScenarioSummary>
}

interface Column {
  readonly title: string
  /** Figures are aligned right, names left. */
  readonly align: "left" | "right"
}

interface Section {
  readonly title: string
  readonly columns: ReadonlyArray<Column>
  readonly rows: ReadonlyArray<ReadonlyArray<string>>
}

const name = (title: string): Column => ({ title, align: "left" })
const figure = (title: string): Column => ({ title, align: "right" })

const integer = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 })
const threeDigits = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 3 })
const ratio = (value: number): string => `${value.toFixed(2)} ×`

const scenarioSection = ({ count, figures, scenario }: ScenarioSummary): Section => ({
  title: `${scenario}: ${scenarios[scenario].title} (${integer.format(count)} ${scenarios[scenario].unit})`,
  columns: [
    name("client"),
    figure("median /s"),
    figure("slowest – fastest /s"),
    figure("CPU µs each"),
    figure("peak RSS MiB")
  ],
  rows: figures.map((of) => [
    of.client,
    integer.format(of.operationsPerSecond),
    `${integer.format(of.slowest)} – ${integer.format(of.fastest)}`,
    threeDigits.format(of.cpuMicrosecondsPerOperation),
    integer.format(of.peakRssBytes / 2 ** 20)
  ])
})

const comparisonSections = (summaries: ReadonlyArray<ScenarioSummary>): ReadonlyArray<Section> => {
  const rows = summaries.flatMap(({ comparison, scenario }) =>
    comparison === undefined ? [] : [[
      scenario,
      ratio(comparison.throughputRatio),
      comparison.fastestPeer,
      ratio(comparison.cpuRatio),
      comparison.leanestPeer
    ]]
  )
  return rows.length === 0 ? [] : [{
    title: "effect-amqp against the best peer (throughput: more is better; CPU: less is better)",
    columns: [name("scenario"), figure("throughput"), name("of the fastest"), figure("CPU"), name("of the leanest")],
    rows
  }]
}

const sections = (report: Report): ReadonlyArray<Section> => [
  ...report.summaries.map(scenarioSection),
  ...comparisonSections(report.summaries)
]

const preamble = ({ environment, rounds, size }: Report): ReadonlyArray<string> => [
  `${environment.date.slice(0, 10)}, Node ${environment.node}, ${environment.broker}, ${environment.cpu}, ` +
  `${environment.cores} cores, ${environment.platform}.`,
  `${Object.entries(environment.packages).map(([name, version]) => `${name} ${version}`).join(", ")}.`,
  `${rounds === 1 ? "One round" : `Medians of ${rounds} rounds`}, bodies of ${size} bytes, each run in a separate ` +
  `process. Sockets have the defaults of their libraries: noDelay on in effect-amqp, off in the peers.`
]

/** Tables for a terminal. */
export const toText = (report: Report): string =>
  [
    preamble(report).join("\n"),
    ...sections(report).map(({ columns, rows, title }) => {
      const table = new Table({
        head: columns.map(({ title }) => title),
        colAligns: columns.map(({ align }) => align),
        // the library's default colours would also go to files and pipes
        style: { head: [], border: [] }
      })
      table.push(...rows.map((row) => [...row]))
      return `${title}\n${table.toString()}`
    })
  ].join("\n\n")

/** Tables for a Markdown document. */
export const toMarkdown = (report: Report): string =>
  [
    ...preamble(report),
    ...sections(report).map(({ columns, rows, title }) => {
      const table = markdownTable([columns.map(({ title }) => title), ...rows.map((row) => [...row])], {
        align: columns.map(({ align }) => align)
      })
      return `### ${title}\n\n${table}`
    })
  ].join("\n\n")
