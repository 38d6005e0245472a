/**
 * The metrics of a test, in its own registry.
 */
import { assert } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"

/** A registry, and the current values of its series. */
export const registry = () => {
  const series: Metric.MetricRegistry = new Map()
  const snapshot = () => Metric.snapshotUnsafe(Context.make(Metric.MetricRegistry, series))
  const find = (name: string, attributes: Readonly<Record<string, string>> = {}) => {
    const found = snapshot().filter(({ attributes: has = {}, id }) =>
      id === name && Object.entries(attributes).every(([key, value]) => has[key] === value)
    )
    if (found.length !== 1) return assert.fail(`${found.length} series ${name} ${JSON.stringify(attributes)}`)
    return found[0]
  }
  return {
    kept: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.provideService(self, Metric.MetricRegistry, series),
    snapshot,
    find,
    /** The value of a counter or gauge, or the number of values of a histogram. */
    value(name: string, attributes?: Readonly<Record<string, string>>): number {
      const found = find(name, attributes)
      if (found.type === "Gauge") return Number(found.state.value)
      if (found.type === "Counter" || found.type === "Histogram") return Number(found.state.count)
      return assert.fail(`${name} is a ${found.type}`)
    },
    /** The values with these names, without their common prefix `amqp.client.`. */
    values(...names: ReadonlyArray<string>): ReadonlyArray<number> {
      return names.map((name) => this.value(`amqp.client.${name}`))
    }
  }
}
