/**
 * Draws an SVG with Apache ECharts, which needs neither a browser nor a canvas for that.
 */
import { BarChart } from "echarts/charts"
import { GridComponent, LegendComponent, MarkLineComponent, TitleComponent } from "echarts/components"
import type { EChartsCoreOption } from "echarts/core"
import { init, use } from "echarts/core"
import { SVGRenderer } from "echarts/renderers"
import { background, font, text } from "./theme.ts"

use([BarChart, GridComponent, LegendComponent, MarkLineComponent, TitleComponent, SVGRenderer])

export const renderSvg = (width: number, height: number, option: EChartsCoreOption): string => {
  const chart = init(null, null, { renderer: "svg", ssr: true, width, height })
  chart.setOption({
    animation: false,
    backgroundColor: background,
    textStyle: { fontFamily: font, color: text },
    ...option
  })
  const svg = chart.renderToSVGString()
  chart.dispose()
  return `${svg}\n`
}
