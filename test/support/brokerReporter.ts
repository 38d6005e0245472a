/**
 * Prints at the end of a run how many integration tests ran on which broker, and which files have tests that need RabbitMQ. The
 * arguments of `onRabbitMQ` in those files tell why.
 */
import * as path from "node:path"
import type { ProvidedContext } from "vitest"
import type { Reporter, TestModule } from "vitest/node"

/** The number of tests of a file that ran. */
const ranIn = (module: TestModule): number =>
  [...module.children.allTests()].filter((test) => ["passed", "failed"].includes(test.result().state)).length

const sum = (counts: Iterable<number>): number => [...counts].reduce((sum, count) => sum + count, 0)

export default class BrokerReporter implements Reporter {
  onTestRunEnd(modules: ReadonlyArray<TestModule>): void {
    const countsOn = (broker: ProvidedContext["broker"]) =>
      new Map(
        modules.filter(({ project }) => project.getProvidedContext().broker === broker)
          .map((module) => [path.basename(module.moduleId), ranIn(module)])
      )
    const onRabbitMQ = countsOn("RabbitMQ")
    const onEmbedded = countsOn("the embedded broker")
    const version = modules.map(({ project }) => project.getProvidedContext().version).find((version) => version)
    const runs = [
      ...onRabbitMQ.size > 0 ? [`${sum(onRabbitMQ.values())} on RabbitMQ ${version}`] : [],
      ...onEmbedded.size > 0 ? [`${sum(onEmbedded.values())} on the embedded broker`] : []
    ]
    if (runs.length > 0) console.log(`Integration tests: ${runs.join(", ")}`)

    const needs = [...onRabbitMQ]
      .map(([file, count]) => ({ file, count: count - (onEmbedded.get(file) ?? count) }))
      .filter(({ count }) => count > 0)
    if (needs.length > 0) {
      const files = needs.map(({ count, file }) => `${count} in ${file}`)
      console.log(`${sum(needs.map(({ count }) => count))} of them need RabbitMQ: ${files.join(", ")}`)
    }
  }
}
