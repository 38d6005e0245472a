/**
 * The figures as text: tables for a terminal, Markdown for a document.
 */
import Table from "cli-table3"
import { markdownTable } from "markdown-table"
import type { Checked } from "./baseline.ts"
import { growthOf } from "./growth.ts"
import type { SeriesGrowth } from "./growth.ts"
import type { Results } from "./results.ts"
import { scenarioNamed } from "./scenarios.ts"
import type { Against, Figures, ScenarioSummary } from "./summary.ts"

export interface Report extends Pick<Results, "environment" | "rounds" | "size"> {
  readonly summaries: ReadonlyArray<ScenarioSummary>
  /** Empty without `--check`. */
  readonly checked: ReadonlyArray<Checked>
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

/** A column with a figure that only some scenarios have. */
const optionalFigure = (
  title: string,
  figures: ReadonlyArray<Figures>,
  valueOf: (figures: Figures) => number | undefined
): ReadonlyArray<Column & { readonly cell: (figures: Figures) => string }> =>
  figures.every((of) => valueOf(of) === undefined) ? [] : [{
    ...figure(title),
    cell: (of) => {
      const value = valueOf(of)
      return value === undefined ? "" : threeDigits.format(value)
    }
  }]

/** What is done less than a hundred times a second is easier to read as a time. */
const millisecondsOf = (operationsPerSecond: number): number | undefined =>
  operationsPerSecond < 100 ? 1000 / operationsPerSecond : undefined

const scenarioSection = ({ count, figures, scenario }: ScenarioSummary): Section => {
  const { title, unit } = scenarioNamed(scenario)
  const optional = [
    ...optionalFigure("ms each", figures, ({ operationsPerSecond }) => millisecondsOf(operationsPerSecond)),
    ...optionalFigure("p50 µs", figures, ({ latencies }) => latencies?.p50),
    ...optionalFigure("p99 µs", figures, ({ latencies }) => latencies?.p99),
    ...optionalFigure("p99.9 µs", figures, ({ latencies }) => latencies?.p999),
    ...optionalFigure("max µs", figures, ({ latencies }) => latencies?.max),
    ...optionalFigure("loop delay ms", figures, ({ eventLoopDelay }) => eventLoopDelay),
    // near 100 %, the client is the limit; the threads of the garbage collector count too
    ...optionalFigure(
      "client busy %",
      figures,
      ({ cpuMicrosecondsPerOperation, operationsPerSecond, standInCpuMicrosecondsPerOperation }) =>
        standInCpuMicrosecondsPerOperation && cpuMicrosecondsPerOperation * operationsPerSecond / 1e4
    ),
    ...optionalFigure(
      "stand-in CPU µs each",
      figures,
      ({ standInCpuMicrosecondsPerOperation }) => standInCpuMicrosecondsPerOperation
    ),
    ...optionalFigure("beside /s", figures, ({ besidePerSecond }) => besidePerSecond),
    ...optionalFigure("settled RSS MiB", figures, ({ settledRssBytes }) => settledRssBytes && settledRssBytes / 2 ** 20)
  ]
  return {
    title: `${scenario}: ${title} (${integer.format(count)} ${unit})`,
    columns: [
      name("client"),
      figure("median /s"),
      figure("slowest – fastest /s"),
      figure("CPU µs each"),
      figure("peak RSS MiB"),
      ...optional
    ],
    rows: figures.map((of) => [
      of.client,
      integer.format(of.operationsPerSecond),
      `${integer.format(of.slowest)} – ${integer.format(of.fastest)}`,
      threeDigits.format(of.cpuMicrosecondsPerOperation),
      integer.format(of.peakRssBytes / 2 ** 20),
      ...optional.map(({ cell }) => cell(of))
    ])
  }
}

const ratioCells = (against: Against | undefined): ReadonlyArray<string> =>
  against === undefined ? ["", ""] : [ratio(against.ratio), against.peer]

const comparisonSections = (summaries: ReadonlyArray<ScenarioSummary>): ReadonlyArray<Section> => {
  const rows = summaries.flatMap(({ comparison, scenario }) =>
    comparison.throughput === undefined || scenarioNamed(scenario).workload === "idle"
      ? []
      : [[scenario, ...ratioCells(comparison.throughput), ...ratioCells(comparison.cpu)]]
  )
  return rows.length === 0 ? [] : [{
    title: "effect-amqp against the best peer (throughput: more is better; CPU: less is better)",
    columns: [name("scenario"), figure("throughput"), name("of the fastest"), figure("CPU"), name("of the leanest")],
    rows
  }]
}

/** Of the rows that are about something other than throughput. */
const otherComparisonSections = (summaries: ReadonlyArray<ScenarioSummary>): ReadonlyArray<Section> => {
  const rows = summaries.flatMap(({ comparison: { eventLoopDelay, memory, p99, settledMemory }, scenario }) =>
    (p99 ?? eventLoopDelay ?? settledMemory ?? (scenarioNamed(scenario).family === "memory" ? memory : undefined)) ===
        undefined
      ? []
      : [[scenario, ...[p99, eventLoopDelay, memory, settledMemory].flatMap(ratioCells)]]
  )
  return rows.length === 0 ? [] : [{
    title: "effect-amqp against the best peer: latency, event loop and memory (less is better)",
    columns: [
      name("scenario"),
      ...["p99", "loop delay", "peak RSS", "settled RSS"].flatMap((title) => [figure(title), name("of")])
    ],
    rows
  }]
}

const growthSection = (
  series: SeriesGrowth,
  title: string,
  figuresOf: (client: SeriesGrowth["clients"][number]) => ReadonlyArray<number | undefined>
): Section => {
  const factor = (value: number | undefined) => value === undefined ? "" : `${threeDigits.format(value)} ×`
  return {
    title: `${series.name}: ${title} relative to the smallest, which should grow no faster than the work`,
    columns: [name(""), ...series.scenarios.map(figure)],
    rows: [
      ["work", ...series.work.map(factor)],
      ...series.clients.map((client) => [client.client, ...figuresOf(client).map(factor)])
    ]
  }
}

const growthSections = (summaries: ReadonlyArray<ScenarioSummary>): ReadonlyArray<Section> =>
  growthOf(summaries).flatMap((series) => [
    growthSection(series, "CPU time of an operation", ({ cpu }) => cpu),
    growthSection(series, "wall-clock time of an operation", ({ time }) => time)
  ])

const checkSections = (checked: ReadonlyArray<Checked>): ReadonlyArray<Section> =>
  checked.length === 0 ? [] : [{
    title: "Ratios to the best peer compared with the baseline",
    columns: [
      name("scenario"),
      name("metric"),
      figure("baseline"),
      figure("now"),
      figure("tolerance"),
      name("verdict")
    ],
    rows: checked.map(({ baseline, metric, now, scenario, tolerance, verdict }) => [
      scenario,
      metric,
      ratio(baseline),
      ratio(now),
      `${integer.format((tolerance - 1) * 100)} %`,
      verdict
    ])
  }]

const sections = (report: Report): ReadonlyArray<Section> => [
  ...report.summaries.map(scenarioSection),
  ...comparisonSections(report.summaries),
  ...otherComparisonSections(report.summaries),
  ...growthSections(report.summaries),
  ...checkSections(report.checked)
]

const preamble = ({ environment, rounds, size }: Report): ReadonlyArray<string> => [
  `${environment.date.slice(0, 10)}, Node ${environment.node}, ${environment.broker}, ${environment.cpu}, ` +
  `${environment.cores} cores, ${environment.platform}.`,
  `${Object.entries(environment.packages).map(([name, version]) => `${name} ${version}`).join(", ")}.`,
  `${
    rounds === 1 ? "One round" : `Medians of ${rounds} rounds`
  }, bodies of ${size} bytes unless a row has its own, each run ` +
  `in a separate process. Sockets have the defaults of their libraries: noDelay on in effect-amqp, off in the peers, except for calls.`
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
