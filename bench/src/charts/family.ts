/**
 * The chart of a family: a line of panels for each row, with a bar for each client. The rows differ by orders of magnitude, so each panel
 * has its own scale, from zero.
 */
import type { EChartsCoreOption } from "echarts/core"
import { scenarioNamed } from "../scenarios.ts"
import type { ScenarioSummary } from "../summary.ts"
import type { ChartInput } from "./input.ts"
import { footnote } from "./input.ts"
import type { Panel } from "./panels.ts"
import { panelsOf } from "./panels.ts"
import { renderSvg } from "./render.ts"
import { colours, line, mutedText, text } from "./theme.ts"

const width = 960
const margin = 20
const clientNameWidth = 110
const valueWidth = 70
const panelGap = 30
const headerHeight = 64
const barHeight = 18
/** Above a row's bars, its title; below them, the scale. */
const rowTitleHeight = 54
const scaleHeight = 30
const footerHeight = 34

const panelWidth = (width - 2 * margin - clientNameWidth - panelGap - 2 * valueWidth) / 2

const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 3 })
const exact = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 4, maximumFractionDigits: 0 })
const small = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 3 })

const label = (value: number): string => value >= 1000 ? exact.format(value) : small.format(value)

const left = (column: number): number => margin + clientNameWidth + column * (panelWidth + valueWidth + panelGap)

const note = (left: number, top: number, content: string, style: object): object => ({
  left,
  top,
  padding: 0,
  text: content,
  textStyle: { fontSize: 12, fontWeight: "normal", color: mutedText, ...style }
})

const rowHeight = ({ figures }: ScenarioSummary): number => rowTitleHeight + figures.length * barHeight + scaleHeight

/** A panel: its grid, axes and bars, to which ECharts refers by their index. */
const panelOption = (summary: ScenarioSummary, panel: Panel, index: number, column: number, top: number) => ({
  grid: {
    left: left(column),
    top: top + rowTitleHeight,
    width: panelWidth,
    height: summary.figures.length * barHeight,
    containLabel: false
  },
  xAxis: {
    gridIndex: index,
    type: "value",
    min: 0,
    splitNumber: 4,
    axisLabel: { fontSize: 10, color: mutedText, formatter: (value: number) => compact.format(value) },
    splitLine: { lineStyle: { color: line } }
  },
  yAxis: {
    gridIndex: index,
    type: "category",
    inverse: true,
    data: summary.figures.map(({ client }) => client),
    axisTick: { show: false },
    axisLine: { lineStyle: { color: mutedText } },
    axisLabel: column === 0 ? { fontSize: 12, color: text } : { show: false }
  },
  series: {
    type: "bar",
    xAxisIndex: index,
    yAxisIndex: index,
    barWidth: barHeight - 5,
    data: summary.figures.map((figures) => {
      const value = panel.valueOf(figures)
      return {
        // "-" is no bar
        value: value ?? "-",
        itemStyle: { color: colours[figures.client] },
        label: {
          show: value !== undefined,
          position: "right",
          fontSize: 11,
          color: text,
          fontWeight: figures.client === "effect-amqp" ? "bold" : "normal",
          formatter: value === undefined ? "" : label(value)
        }
      }
    })
  }
})

export const familyChart = (input: ChartInput, family: string): string => {
  const summaries = input.summaries.filter(({ scenario }) => scenarioNamed(scenario).family === family)
  const panels = panelsOf(family)
  const titles: Array<object> = [
    note(margin, 16, family, { fontSize: 18, fontWeight: "bold", color: text }),
    ...panels.map((panel, column) =>
      note(left(column), 42, `${panel.title} (${panel.better} is better)`, {
        fontSize: 13,
        fontWeight: "bold",
        color: text
      })
    )
  ]
  const parts: Array<ReturnType<typeof panelOption>> = []
  let top = headerHeight
  for (const summary of summaries) {
    const { name, title } = scenarioNamed(summary.scenario)
    titles.push(
      note(margin, top + 14, name, { fontWeight: "bold", color: text }),
      note(margin, top + 31, title, { fontSize: 11, width: width - 2 * margin, overflow: "truncate" })
    )
    for (const [column, panel] of panels.entries()) {
      if (summary.figures.every((figures) => panel.valueOf(figures) === undefined)) continue
      parts.push(panelOption(summary, panel, parts.length, column, top))
    }
    top += rowHeight(summary)
  }
  titles.push(note(margin, top + 10, footnote(input), { fontSize: 11 }))
  const option: EChartsCoreOption = {
    title: titles,
    grid: parts.map(({ grid }) => grid),
    xAxis: parts.map(({ xAxis }) => xAxis),
    yAxis: parts.map(({ yAxis }) => yAxis),
    series: parts.map(({ series }) => series)
  }
  return renderSvg(width, top + footerHeight, option)
}
