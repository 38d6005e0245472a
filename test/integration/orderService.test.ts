import { assert, beforeAll, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as path from "node:path"
import { onRabbitMQ } from "../support/brokerUnderTest.ts"
import { canStartCluster, startCluster } from "../support/cluster.ts"
import { command } from "../support/command.ts"
import { root, start } from "../support/process.ts"

const count = (lines: ReadonlyArray<string>, pattern: RegExp): number =>
  lines.filter((line) => pattern.test(line)).length

/** Waits until a condition holds. A test that waits in vain ends by its timeout. */
const until = (condition: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => condition() ? Effect.void : Effect.andThen(Effect.sleep("50 millis"), until(condition)))

// The example is a program of its own, and so is its broker.
describe.runIf(onRabbitMQ("The embedded broker can't be restarted.") && canStartCluster())("the order service", () => {
  beforeAll(() => command(path.join(root, "node_modules", ".bin", "tsc"), ["-b", "tsconfig.build.json"], { cwd: root }))

  it.live(
    "B1, B2: places and bills each order once while its broker is restarted three times, and says so on the screen",
    () =>
      Effect.gen(function*() {
        const { nodes: [node], stop } = yield* Effect.acquireRelease(
          Effect.promise(() => startCluster({ size: 1 })),
          ({ stop }) => Effect.promise(stop)
        )
        if (node === undefined) return assert.fail("no node")
        const { ended, kill, lines } = start(["examples/orderService.ts"], {
          AMQP_URL: node.url,
          NO_COLOR: "1",
          ORDERS: "100"
        })
        yield* Effect.addFinalizer(() => Effect.sync(kill))
        const connected = /^connection: connected to 127\.0\.0\.1:\d+$/
        for (let restart = 1; restart <= 3; restart++) {
          yield* until(() => count(lines(), connected) >= restart)
          yield* Effect.sleep("1 second")
          yield* Effect.promise(() => restart === 2 ? node.kill() : node.stop())
          yield* until(() => count(lines(), /^connection: NOT CONNECTED, next attempt at /) >= restart)
          yield* Effect.promise(() => node.start())
        }
        const { exitCode, stderr, stdout } = yield* Effect.promise(() => ended)
        assert.strictEqual(exitCode, 0, stdout + stderr)
        assert.include(stdout, "orders: all 100 placed and all 100 billed, each once")
        assert.isAtLeast(count(lines(), connected), 4)
        const lost = /WARN.* The AMQP connection to 127\.0\.0\.1:\d+ was lost, and is being established again\. /
        const back = /INFO.* The AMQP connection is open again, to 127\.0\.0\.1:\d+, after [\d.]+ s and \d+ attempts?$/
        assert.strictEqual(count(lines(), lost), 3, stdout)
        assert.strictEqual(count(lines(), back), 3, stdout)
        yield* Effect.promise(stop)
      }),
    120_000
  )
})
