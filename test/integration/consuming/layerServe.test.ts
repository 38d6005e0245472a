import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, beforeAll, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as fs from "node:fs"
import * as path from "node:path"
import { awaitConsumers, connected, declaredQueue, infoOf } from "../../support/broker.ts"
import { administration, brokerUrl, isAdministrable } from "../../support/brokerUnderTest.ts"
import { codeBlocksIn } from "../../support/codeBlocks.ts"
import { command } from "../../support/command.ts"
import { uniqueName } from "../../support/names.ts"
import { root, start } from "../../support/process.ts"

describe("a process that runs layerServe", () => {
  beforeAll(() => command(path.join(root, "node_modules", ".bin", "tsc"), ["-b", "tsconfig.build.json"], { cwd: root }))

  for (const how of ["alone", "merged", "provided"]) {
    it.live(`ends with an error when its consumer ends (${how})`, () =>
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

/** The source of the README's workers, with this broker, these queues and this connection name. */
const readmeWorkers = (
  url: string,
  connectionName: string,
  queues: { readonly orders: string; readonly returns: string }
): string => {
  const readme = fs.readFileSync(path.join(root, "README.md"), "utf8")
  const block = codeBlocksIn("README.md", readme).find(({ text }) => text.includes("WorkersLive"))
  assert.isDefined(block)
  const options = `{ url: ${JSON.stringify(url)}, connectionName: ${JSON.stringify(connectionName)} }`
  return block.text
    .replace("{ url: \"amqp://localhost\" }", options)
    .replace("\"orders\"", JSON.stringify(queues.orders))
    .replace("\"returns\"", JSON.stringify(queues.returns))
}

/** Starts the README's workers in a process, and waits until both consume. */
const startReadmeWorkers = Effect.fnUntraced(function*(url = brokerUrl) {
  const connectionName = uniqueName("readme")
  const queues = { orders: yield* declaredQueue(), returns: yield* declaredQueue() }
  // Within the repository, so that its packages resolve.
  fs.mkdirSync(path.join(root, ".build"), { recursive: true })
  const folder = fs.mkdtempSync(path.join(root, ".build", "readme-"))
  yield* Effect.addFinalizer(() => Effect.sync(() => fs.rmSync(folder, { recursive: true })))
  const file = path.join(folder, "worker.ts")
  fs.writeFileSync(file, readmeWorkers(url, connectionName, queues))
  const { ended, kill, printed, signal } = start([file], { NO_COLOR: "1" })
  yield* Effect.addFinalizer(() => Effect.sync(kill))
  yield* awaitConsumers(queues.orders, 1)
  yield* awaitConsumers(queues.returns, 1)
  const logged = (text: string) => Effect.promise(() => printed(new RegExp(`INFO .*: ${text}$`)))
  return { connectionName, queues, ended: Effect.promise(() => ended), logged, signal }
})

const publishTo = (queue: string, text: string) =>
  AmqpChannel.confirmed(AmqpChannel.publish(AmqpMessage.text(text), AmqpQueue.route(queue)))

describe("the README's workers, run as a process,", () => {
  it.live(
    "handle messages, and stop gracefully on SIGTERM",
    () =>
      connected(Effect.gen(function*() {
        const { ended, logged, queues, signal } = yield* startReadmeWorkers()
        yield* publishTo(queues.orders, "a coffee")
        yield* publishTo(queues.returns, "a cup")
        yield* logged("order a coffee")
        yield* logged("return a cup")
        signal("SIGTERM")
        const { exitCode, lingered, stderr, stdout } = yield* ended
        assert.strictEqual(stderr, "")
        assert.strictEqual(exitCode, 130, stdout)
        assert.isBelow(lingered, 3000)
        const { consumerCount, messageCount } = yield* infoOf(queues.orders)
        assert.deepStrictEqual([consumerCount, messageCount], [0, 0])
      })),
    30_000
  )

  it.live(
    "end with a readable error when one of their queues is deleted",
    () =>
      connected(Effect.gen(function*() {
        const { ended, queues } = yield* startReadmeWorkers()
        yield* AmqpChannel.run(AmqpQueue.delete(queues.returns))
        const { exitCode, stderr, stdout } = yield* ended
        assert.strictEqual(exitCode, 1)
        const log = stdout + stderr
        assert.include(log, "A consumer has ended, and its program with it")
        assert.include(log, queues.returns)
        assert.notInclude(log, "[Object]")
      })),
    30_000
  )

  it.live.skipIf(!isAdministrable)("B1: log that their connection is closed, and go on with the next one", () => {
    const { url } = administration()
    return connected(
      Effect.gen(function*() {
        const { connectionName, ended, logged, queues, signal } = yield* startReadmeWorkers(url)
        yield* administration().closeConnection(connectionName, "maintenance")
        yield* publishTo(queues.orders, "a coffee")
        yield* publishTo(queues.returns, "a cup")
        yield* logged("order a coffee")
        yield* logged("return a cup")
        signal("SIGTERM")
        const { exitCode, stderr, stdout } = yield* ended
        assert.strictEqual(exitCode, 130)
        const log = stdout + stderr
        assert.include(log, "320 CONNECTION_FORCED - maintenance")
        assert.include(log, "The AMQP connection is open again")
        assert.notInclude(log, "[Object]")
      }),
      { url }
    )
  }, 60_000)
})
