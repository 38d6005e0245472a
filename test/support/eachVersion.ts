/** Tests of what differs between versions of RabbitMQ. */
import type { AmqpBroker } from "@effect-amqp/core/testing"
import { versions } from "@effect-amqp/core/testing/internal/common/versionRules"
import { afterAll, beforeAll, describe, it } from "vitest"
import { brokerUrl, isEmbedded } from "./brokerUnderTest.ts"
import { versionAt } from "./conversation.ts"
import { startEmbeddedBroker } from "./embeddedBroker.ts"

/** The version of the RabbitMQ that the tests run against. */
const ofRabbitMQ = isEmbedded ? undefined : await versionAt(brokerUrl)

/**
 * Defines tests for some versions. On the embedded broker they run on each of these versions, on RabbitMQ on its own. `url` may
 * be called in a test.
 */
export const describeVersions = (
  what: string,
  some: ReadonlyArray<AmqpBroker.Version>,
  tests: (version: AmqpBroker.Version, url: () => string) => void
): void => {
  if (isEmbedded) {
    for (const version of versions.filter((version) => some.includes(version))) {
      describe(`${what} of RabbitMQ ${version}`, () => {
        let broker: { readonly url: string; readonly stop: () => Promise<void> }
        beforeAll(async () => {
          broker = await startEmbeddedBroker({ version })
        })
        afterAll(() => broker.stop())
        tests(version, () => broker.url)
      })
    }
  } else if (ofRabbitMQ !== undefined && some.includes(ofRabbitMQ)) {
    describe(`${what} of RabbitMQ ${ofRabbitMQ}`, () => tests(ofRabbitMQ, () => brokerUrl))
  } else {
    it.skip(`${what}: this RabbitMQ is not one of ${some.join(", ")}`)
  }
}
