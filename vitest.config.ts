import * as os from "node:os"
import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

const source = (path: string): string => fileURLToPath(new URL(path, import.meta.url))

export default defineConfig({
  // Tests run on the sources, so that a run includes every edit and stack traces have the original lines.
  // `test/package` is the exception: it installs the packages as published.
  resolve: {
    alias: [
      { find: /^@effect-amqp\/core\/testing$/, replacement: source("./packages/core/src/testing/index.ts") },
      { find: /^@effect-amqp\/(core|node)$/, replacement: source("./packages/$1/src/index.ts") },
      { find: /^@effect-amqp\/(core|node)\/(.+)$/, replacement: source("./packages/$1/src/$2.ts") }
    ]
  },
  test: {
    // Integration tests wait most of the time, so two files run at once even on a machine with two processors.
    maxWorkers: Math.max(2, os.availableParallelism() - 1),
    // The slowest tests wait for `rabbitmqctl`, which takes seconds on a busy machine.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // A private broker needs time to stop cleanly.
    teardownTimeout: 30_000,
    reporters: ["default", "./test/support/brokerReporter.ts"],
    projects: [
      {
        extends: true,
        test: {
          name: "local",
          include: ["test/**/*.test.ts", "examples/*.test.ts"],
          exclude: ["test/integration/**", "test/clusters/**", "test/types/**"]
        }
      },
      {
        // Only these tests need RabbitMQ, so only a run that includes some looks for a broker.
        extends: true,
        test: {
          name: "integration",
          include: ["test/integration/**/*.test.ts"],
          globalSetup: ["test/support/globalSetup.ts"],
          provide: { broker: "RabbitMQ" }
        }
      },
      {
        // The same tests on the embedded broker; each file has its own.
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
