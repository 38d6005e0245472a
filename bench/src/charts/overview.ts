/**
 * The chart of the README: this client and its peers in the basic rows, as ratios to the best peer of each row, so that
 * rows of different magnitudes have one scale.
 */
import type { EChartsCoreOption } from "echarts/core"
import type { ClientName } from "../clients.ts"
import { clientNames, clients } from "../clients.ts"
import { defaultFamily, scenarioNamed } from "../scenarios.ts"
import type { Figures, ScenarioSummary } from "../summary.ts"
import type { ChartInput } from "./input.ts"
import { footnote } from "./input.ts"
import type { Panel } from "./panels.ts"
import { overviewPanels } from "./panels.ts"
import { renderSvg } from "./render.ts"
import { background, colours, line, mutedText, text } from "./theme.ts"

const width = 960
const margin = 20
const nameWidth = 170
const panelGap = 60
const headerHeight = 100
const barHeight = 10
const rowGap = 14
const scaleHeight = 50
const footerHeight = 30

const panelWidth = (width - 2 * margin - nameWidth - panelGap - margin) / 2

const left = (column: number): number => margin + nameWidth + column * (panelWidth + panelGap)

const isPeer = ({ client }: Figures): boolean => clients[client].kind === "peer"

/** A client's figure over that of the best peer. */
const ratioOf = (panel: Panel, { figures }: ScenarioSummary, client: ClientName): number | undefined => {
  const peers = figures.filter(isPeer).map(panel.valueOf).filter((value) => value !== undefined)
  const own = figures.find((of) => of.client === client)
  const value = own === undefined ? undefined : panel.valueOf(own)
  return value === undefined || peers.length === 0
    ? undefined
    : value / (panel.better === "more" ? Math.max(...peers) : Math.min(...peers))
}

export const overviewChart = (input: ChartInput): string => {
  const summaries = input.summaries.filter(({ scenario }) => scenarioNamed(scenario).family === defaultFamily)
  const shown = clientNames.filter((client) =>
    clients[client].kind !== "reference" && summaries.some(({ figures }) => figures.some((of) => of.client === client))
  )
  const height = summaries.length * (shown.length * barHeight + rowGap)
  const note = (left: number, top: number, content: string, style: object) => ({
    left,
    top,
    padding: 0,
    text: content,
    textStyle: { fontSize: 12, fontWeight: "normal", color: mutedText, ...style }
  })
  const option: EChartsCoreOption = {
    title: [
      note(margin, 14, "effect-amqp and the other AMQP clients for Node.js", {
        fontSize: 18,
        fontWeight: "bold",
        color: text
      }),
      note(left(0), 74, "Throughput: more is better", { fontSize: 13, fontWeight: "bold", color: text }),
      note(left(1), 74, "CPU time per operation: less is better", { fontSize: 13, fontWeight: "bold", color: text }),
      note(margin, headerHeight + height + scaleHeight, footnote(input), { fontSize: 11 })
    ],
    legend: {
      left: margin,
      top: 42,
      padding: 0,
      itemWidth: 14,
      itemHeight: 10,
      // ECharts estimates the width of text, and some fonts are wider
      itemGap: 34,
      data: [...shown],
      textStyle: { fontSize: 12, color: text }
    },
    grid: overviewPanels.map((_, column) => ({ left: left(column), top: headerHeight, width: panelWidth, height })),
    xAxis: overviewPanels.map((panel, gridIndex) => ({
      gridIndex,
      type: "value",
      min: 0,
      splitNumber: 4,
      name: panel.better === "more" ? "× the fastest peer" : "× the leanest peer",
      nameLocation: "middle",
      nameGap: 26,
      nameTextStyle: { fontSize: 11, color: mutedText },
      axisLabel: { fontSize: 11, color: mutedText },
      splitLine: { lineStyle: { color: line } }
    })),
    yAxis: overviewPanels.map((_, gridIndex) => ({
      gridIndex,
      type: "category",
      inverse: true,
      data: summaries.map(({ scenario }) => scenario),
      axisTick: { show: false },
      axisLine: { lineStyle: { color: mutedText } },
      axisLabel: gridIndex === 0 ? { fontSize: 12, color: text } : { show: false }
    })),
    series: overviewPanels.flatMap((panel, index) =>
      shown.map((client) => ({
        type: "bar",
        name: client,
        xAxisIndex: index,
        yAxisIndex: index,
        barWidth: barHeight,
        barGap: 0,
        color: colours[client],
        data: summaries.map((summary) => ratioOf(panel, summary, client) ?? "-"),
        label: {
          show: clients[client].kind === "ours",
          position: "right",
          distance: 3,
          fontSize: 10,
          fontWeight: "bold",
          color: text,
          backgroundColor: background,
          padding: [0, 2],
          lineHeight: barHeight,
          formatter: ({ value }: { readonly value: unknown }) =>
            typeof value === "number" ? `${value.toFixed(2)} ×` : ""
        },
        markLine: {
          silent: true,
          z: 1,
          symbol: "none",
          label: { show: false },
          lineStyle: { color: mutedText, type: "dashed", width: 1 },
          data: [{ xAxis: 1 }]
        }
      }))
    )
  }
  return renderSvg(width, headerHeight + height + scaleHeight + footerHeight, option)
}
