import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import { assert, beforeAll, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as path from "node:path"
import { connected, failsWith, infoOf } from "../support/broker.ts"
import { command } from "../support/command.ts"
import { root, start } from "../support/process.ts"
import { withVirtualHost } from "../support/vhost.ts"

// What the examples print, each in its own process. For `examples/threads.ts` see the tests of the demo.

const url = withVirtualHost()

/** Runs an example, which must succeed, and returns the lines that it printed. */
const linesOf = Effect.fnUntraced(function*(example: string) {
  const { ended, kill } = start([`examples/${example}`], { AMQP_URL: url(), NO_COLOR: "1" })
  yield* Effect.addFinalizer(() => Effect.sync(kill))
  const { exitCode, lingered, stderr, stdout } = yield* Effect.promise(() => ended)
  assert.strictEqual(stderr, "")
  assert.strictEqual(exitCode, 0, stdout)
  assert.isBelow(lingered, 1000, "milliseconds until the process has ended")
  return stdout.trimEnd().split("\n")
})

/** Asserts that these queues and exchanges no longer exist. */
const assertGone = ({ exchanges = [], queues }: {
  readonly exchanges?: ReadonlyArray<string>
  readonly queues: ReadonlyArray<string>
}) =>
  connected(
    Effect.gen(function*() {
      for (const name of queues) yield* failsWith(infoOf(name), "NotFound")
      for (const name of exchanges) {
        yield* failsWith(AmqpChannel.run(AmqpExchange.declarePassive(name)), "NotFound")
      }
    }),
    { url: url() }
  )

/** The groups of the pattern for each line that matches. */
const found = (lines: ReadonlyArray<string>, pattern: RegExp): ReadonlyArray<ReadonlyArray<string>> =>
  lines.flatMap((line) => {
    const match = pattern.exec(line)
    return match === null ? [] : [match.slice(1)]
  })

const numbers = (matches: ReadonlyArray<ReadonlyArray<string>>): ReadonlyArray<number> =>
  matches.map(([number]) => Number(number)).toSorted((a, b) => a - b)

describe("the example", () => {
  beforeAll(() => command(path.join(root, "node_modules", ".bin", "tsc"), ["-b", "tsconfig.build.json"], { cwd: root }))

  it.live("workQueue shares the jobs, dead-letters those that fail twice, and lets a worker finish its job", () =>
    Effect.gen(function*() {
      const lines = yield* linesOf("workQueue.ts")
      assert.deepStrictEqual(numbers(found(lines, /finished job (\d+)$/)), [1, 2, 3, 5, 6, 7, 9, 10])
      assert.deepStrictEqual(numbers(found(lines, /failed at job (\d+), which is tried again$/)), [4, 8])
      assert.deepStrictEqual(numbers(found(lines, /gives up job (\d+)$/)), [4, 8])
      // With a prefetch of 1 no worker gets all of them.
      assert.isAbove(new Set(found(lines, /^(Ada|Bob|Cyd): /).flat()).size, 1)
      const stop = lines.indexOf("main: stops the workers, while one handles job 10")
      assert.isAbove(stop, 0)
      assert.match(lines[stop + 1], /^(Ada|Bob|Cyd): finished job 10$/)
      assert.strictEqual(lines[stop + 2], "main: the workers have stopped")
      assert.deepStrictEqual(lines.slice(stop + 3).toSorted(), [
        "main: {\"id\":4,\"millis\":20} was \"rejected\" in \"example.work.jobs\"",
        "main: {\"id\":8,\"millis\":40} was \"rejected\" in \"example.work.jobs\""
      ])
      yield* assertGone({ exchanges: ["example.work.failed"], queues: ["example.work.failed", "example.work.jobs"] })
    }))

  it.live("pubSub delivers to each subscriber what its pattern matches", () =>
    Effect.gen(function*() {
      const lines = yield* linesOf("pubSub.ts")
      const reads = found(lines, /^(.*): reads (.*) from queue (amq\.gen-.*)$/)
      assert.deepStrictEqual(reads.map(([name, pattern]) => `${name}: ${pattern}`), [
        "sports fan: sport.#",
        "physicist: science.physics",
        "archive: #"
      ])
      const heard = (name: string) =>
        lines.flatMap((line) => line.startsWith(`${name}: `) ? [line.slice(name.length + 2)] : []).slice(1)
      const football = "sport.football, \"Two all\" of 2026-01-31T12:00:00.000Z"
      const physics = "science.physics, \"Neutrinos weighed\" of 2026-01-31T12:00:00.000Z"
      const chess = "sport.chess, \"Draw in Zürich\" of 2026-01-31T12:00:00.000Z"
      const biology = "science.biology, \"A new beetle\" of 2026-01-31T12:00:00.000Z"
      const signOff = "received the end after 4 reports"
      assert.deepStrictEqual(heard("sports fan"), [football, chess, signOff])
      assert.deepStrictEqual(heard("physicist"), [physics, signOff])
      assert.deepStrictEqual(heard("archive"), [football, physics, chess, biology, signOff])
      assert.strictEqual(lines.at(-1), "main: all have signed off")
      yield* assertGone({ exchanges: ["example.pubsub.news"], queues: reads.map(([, , queue]) => queue) })
    }))

  it.live("requestReply replies to each request, and fails at once without a server", () =>
    Effect.gen(function*() {
      const lines = yield* linesOf("requestReply.ts")
      assert.includeMembers(lines, [
        "server: replies to {\"left\":6,\"right\":7} with a Product",
        "client: 6 times 7 is 42",
        "client: 1.5 times 4 is 6",
        "client: 1e+200 times 1e+200 is the product is too large"
      ])
      assert.deepStrictEqual(lines.slice(-2), [
        "client: a request that is not a question gets a Refusal",
        "client: no server for example.rpc.missing"
      ])
      yield* assertGone({ queues: ["example.rpc.multiply"] })
    }))

  it.live("transaction moves all messages or none", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* linesOf("transaction.ts"), [
        "3 in the inbox, 0 in the archive",
        "A transaction that succeeds:",
        "  moving letter 1",
        "  moving letter 2",
        "  moving letter 3",
        "  committed 3",
        "0 in the inbox, 3 in the archive",
        "3 in the inbox, 3 in the archive",
        "A transaction that fails:",
        "  moving letter 4",
        "  moving letter 5",
        "  moving l?tt?r 6",
        "  rolled back, because it is unreadable: l?tt?r 6",
        "3 in the inbox, 3 in the archive"
      ])
      yield* assertGone({ queues: ["example.transaction.inbox", "example.transaction.archive"] })
    }))

  it.live("batchJob publishes and reads all messages", () =>
    Effect.gen(function*() {
      const [published, read, ...rest] = yield* linesOf("batchJob.ts")
      assert.match(published, /^published 20000 readings, all confirmed, in \d+\.\d\d s$/)
      assert.match(read, /^read 20000 readings in \d+\.\d\d s$/)
      assert.deepStrictEqual(rest, [
        "cellar: 15000 readings, at most 11 °C",
        "attic: 5000 readings, at most 29 °C",
        "left in the queue: 0"
      ])
      yield* assertGone({ queues: ["example.batch.readings"] })
    }))
})
