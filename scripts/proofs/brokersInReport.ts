/**
 * A reporter that adds to vitest's JSON report what it lacks: on which broker an integration test ran.
 */
import type { ProvidedContext } from "vitest"
import type { Reporter, TestCase } from "vitest/node"
import { canStartPrivateBroker } from "../../test/support/privateBroker.ts"
import type { BrokerMeta } from "./report.ts"

/**
 * Whether RabbitMQ is as CI has it. Some tests need one that they can administer or start, and some need its version, its
 * default virtual host or no TLS. A run with another one skips them.
 */
const isLikeCi = ({ administrableBroker, amqpUrl, version }: ProvidedContext): boolean => {
  const { pathname, protocol } = new URL(amqpUrl)
  return administrableBroker !== undefined && canStartPrivateBroker() && version.startsWith("3.10.") &&
    pathname.length <= 1 && protocol === "amqp:"
}

export const metaOf = (context: Partial<ProvidedContext>): BrokerMeta => ({
  broker: context.broker,
  // The global setup of the tests on RabbitMQ provides all the rest.
  isLikeCi: context.broker !== "RabbitMQ" || isLikeCi(context as ProvidedContext)
})

export default class BrokersInReport implements Reporter {
  onTestCaseResult(test: TestCase): void {
    Object.assign(test.meta(), metaOf(test.project.getProvidedContext()))
  }
}
