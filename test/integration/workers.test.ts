import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, beforeAll, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as path from "node:path"
import { awaitConsumers, connected, declaredQueue } from "../support/broker.ts"
import { brokerUrl } from "../support/brokerUnderTest.ts"
import { command } from "../support/command.ts"
import { root, start } from "../support/process.ts"

describe("a process of workers", () => {
  beforeAll(() => command(path.join(root, "node_modules", ".bin", "tsc"), ["-b", "tsconfig.build.json"], { cwd: root }))

  for (const how of ["alone", "merged", "provided"]) {
    it.live(`ends with an error when the consumer of its layer ends (${how})`, () =>
      connected(Effect.gen(function*() {
        const queue = yield* declaredQueue()
        const { ended, kill, printed } = start(["test/fixtures/worker.ts", how, queue], { AMQP_URL: brokerUrl })
        yield* Effect.addFinalizer(() => Effect.sync(kill))
        yield* Effect.promise(() => printed("started"))
        yield* awaitConsumers(queue, how === "merged" ? 2 : 1)
        yield* AmqpChannel.run(AmqpQueue.delete(queue))
        const { exitCode, stderr, stdout } = yield* Effect.promise(() => ended)
        assert.strictEqual(exitCode, 1, stdout + stderr)
        assert.include(stdout + stderr, "A consumer has ended, and its program with it")
        assert.include(stdout + stderr, queue)
      })), 30_000)
  }
})
