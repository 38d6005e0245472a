import { defineConfig, mergeConfig } from "vitest/config"
import config from "./vitest.config.ts"

/** `npm run clusters`: tests that start clusters of RabbitMQ. They take minutes, so `npm test` does without them. */
export default mergeConfig(
  defineConfig({ resolve: config.resolve ?? {} }),
  defineConfig({
    test: {
      include: ["test/clusters/**/*.test.ts"],
      globalSetup: ["test/support/globalSetup.ts"],
      provide: { broker: "RabbitMQ" },
      // One cluster at a time is enough for two processors.
      maxWorkers: 1,
      testTimeout: 300_000,
      hookTimeout: 240_000,
      teardownTimeout: 30_000
    }
  })
)
