import * as os from "node:os"
import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

const source = (path: string): string => fileURLToPath(new URL(path, import.meta.url))

export default defineConfig({
  // Tests run on the sources, so that a run sees an edit at once and a stack trace names the line that was written.
  // `test/package` is the exception: it installs what would be published.
  resolve: {
    alias: [
      { find: /^@effect-amqp\/core\/testing$/, replacement: source("./packages/core/src/testing/index.ts") },
      { find: /^@effect-amqp\/(core|node)$/, replacement: source("./packages/$1/src/index.ts") },
      { find: /^@effect-amqp\/(core|node)\/(.+)$/, replacement: source("./packages/$1/src/$2.ts") }
    ]
  },
  test: {
    // Most integration tests wait most of the time, so two files run at once also on a machine with two processors.
    maxWorkers: Math.max(2, os.availableParallelism() - 1),
    // The slowest wait for `rabbitmqctl`, which takes seconds for a word on a machine that has other things to do.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // A private broker is given time to end in order.
    teardownTimeout: 30_000,
    reporters: ["default", "./test/support/brokerReporter.ts"],
    projects: [
      {
        extends: true,
        test: {
          name: "local",
          include: ["test/**/*.test.ts", "examples/*.test.ts"],
          exclude: ["test/integration/**", "test/types/**"]
        }
      },
      {
        // Only these tests need RabbitMQ, so only a run that has some of them looks for one.
        extends: true,
        test: {
          name: "integration",
          include: ["test/integration/**/*.test.ts"],
          globalSetup: ["test/support/globalSetup.ts"],
          provide: { broker: "RabbitMQ" }
        }
      },
      {
        // The same tests on the embedded broker; each file has one for itself.
        extends: true,
        test: {
          name: "embedded",
          include: ["test/integration/**/*.test.ts"],
          provide: { broker: "the embedded broker" }
        }
      }
    ]
  }
})
