import { assert, beforeAll, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as path from "node:path"
import { eventually } from "../support/broker.ts"
import { administration, brokerUrl, isAdministrable, onRabbitMQ } from "../support/brokerUnderTest.ts"
import { command } from "../support/command.ts"
import { root, start } from "../support/process.ts"
import { withVirtualHost } from "../support/vhost.ts"

// What `npm start` shows: the build, then the example in its own process.

/** Runs the example against a broker until it exits. */
const demo = (url: string | undefined, nodeOptions: ReadonlyArray<string> = []) =>
  Effect.gen(function*() {
    const { ended, kill } = start([...nodeOptions, "examples/threads.ts"], { AMQP_URL: url, NO_COLOR: "1" })
    yield* Effect.addFinalizer(() => Effect.sync(kill))
    return yield* Effect.promise(() => ended)
  })

/** Asserts that the example failed with a few readable lines, without a password and without a stack. */
const assertFailed = ({ exitCode, stderr, stdout }: { exitCode: number | null; stderr: string; stdout: string }) => {
  assert.strictEqual(exitCode, 1)
  assert.strictEqual(stdout, "")
  assert.notInclude(stderr, "secret")
  const lines = stderr.trimEnd().split("\n")
  assert.isAtMost(lines.length, 2)
  for (const line of lines) assert.match(line, /^main: /)
  return lines
}

describe("the demo", () => {
  const url = withVirtualHost()

  beforeAll(() => command(path.join(root, "node_modules", ".bin", "tsc"), ["-b", "tsconfig.build.json"], { cwd: root }))

  it.live("prints each channel, its progress and the total time, and exits by itself", () =>
    Effect.gen(function*() {
      const { exitCode, lingered, stderr, stdout } = yield* demo(url())
      assert.strictEqual(stderr, "")
      const lines = stdout.trimEnd().split("\n").filter((line) => !line.startsWith("main: purged"))
      assert.includeMembers(lines, [
        "main: uses the broker of AMQP_URL",
        "main: opens a channel and declares threading_example and threading_queue",
        "consumer: opens a channel and consumes threading_queue",
        "publisher: opens a channel and publishes to threading_example",
        "consumer: the first message says \"Message #0\"",
        ...[25, 50, 75, 100].flatMap((count) => [
          `publisher: confirmed ${count} of 100`,
          `consumer: acknowledged ${count} of 100`
        ])
      ])
      assert.match(lines.at(-1) ?? "", /^main: 100 messages in \d+ ms$/)
      assert.strictEqual(exitCode, 0)
      assert.isBelow(lingered, 1000, "milliseconds until the process has ended")
    }))

  it.live.runIf(isAdministrable)("leaves no connection behind", () =>
    Effect.gen(function*() {
      const { exitCode } = yield* demo(url())
      assert.strictEqual(exitCode, 0)
      yield* eventually(administration().connectionsNamed("threads example"), (count) => count === 0)
    }))

  it.live("uses an embedded broker, and reports it, without AMQP_URL and without a local broker", () =>
    Effect.gen(function*() {
      const { exitCode, stderr, stdout } = yield* demo(undefined, ["--import", "./test/support/noLocalBroker.mjs"])
      assert.strictEqual(stderr, "")
      const lines = stdout.trimEnd().split("\n")
      assert.strictEqual(lines[0], "main: uses an embedded broker, because none runs at 127.0.0.1:5672")
      assert.match(lines.at(-1) ?? "", /^main: 100 messages in \d+ ms$/)
      assert.strictEqual(exitCode, 0)
    }))

  const isAtStandardPort = new URL(brokerUrl).host === "127.0.0.1:5672"

  it.live.runIf(onRabbitMQ("the standard port of this machine") && isAtStandardPort)(
    "uses the local broker without AMQP_URL",
    () =>
      Effect.gen(function*() {
        const { exitCode, stdout } = yield* demo(undefined)
        assert.strictEqual(stdout.split("\n")[0], "main: uses the broker at 127.0.0.1:5672")
        assert.strictEqual(exitCode, 0)
      })
  )

  it.live("prints in one line that the broker is unreachable, with a hint at AMQP_URL", () =>
    Effect.gen(function*() {
      const [problem, hint] = assertFailed(yield* demo("amqp://user:secret@127.0.0.1:1"))
      assert.include(problem, "Cannot reach the broker: 127.0.0.1:1: connect ECONNREFUSED 127.0.0.1:1")
      assert.include(hint, "AMQP_URL")
    }))

  it.live("prints in one line that the broker refuses the password", () =>
    Effect.gen(function*() {
      const url = new URL(brokerUrl)
      url.password = "secret"
      const [problem] = assertFailed(yield* demo(url.href))
      assert.include(problem, "The broker refused the credentials of user")
      assert.include(problem, "ACCESS_REFUSED")
    }))

  it.live("prints in one line that the virtual host does not exist", () =>
    Effect.gen(function*() {
      const url = new URL(brokerUrl)
      url.pathname = "/nowhere"
      const [problem] = assertFailed(yield* demo(url.href))
      assert.include(problem, "The broker refused virtual host \"nowhere\"")
    }))

  it.live.each([
    ["without a colon", "amqp//user:secret@127.0.0.1", "it must begin with amqp:// or amqps://"],
    ["with an invalid port", "amqp://user:secret@127.0.0.1:56d2", "the port must be a number from 1 to 65535"],
    ["with a # in the password", "amqp://user:secret#secret@127.0.0.1", "%23"],
    ["with a misspelt parameter", "amqp://user:secret@127.0.0.1/?heartbeet=5", "heartbeet"]
  ])("prints what is wrong with a URL %s", ([, url, what]) =>
    Effect.gen(function*() {
      const [problem] = assertFailed(yield* demo(url))
      assert.include(problem, "The AMQP URI is not valid")
      assert.include(problem, what)
    }))
})
