import { assert, beforeAll, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as path from "node:path"
import { eventually } from "../support/broker.ts"
import { administration, brokerUrl, isAdministrable, onRabbitMQ } from "../support/brokerUnderTest.ts"
import { command } from "../support/command.ts"
import { root, start } from "../support/process.ts"
import { withVirtualHost } from "../support/vhost.ts"

// What a person sees who runs `npm start`: the build, then the example in a process of its own.

/** Runs the example against a broker, to its end. */
const demo = (url: string | undefined, nodeOptions: ReadonlyArray<string> = []) =>
  Effect.gen(function*() {
    const { ended, kill } = start([...nodeOptions, "examples/threads.ts"], { AMQP_URL: url, NO_COLOR: "1" })
    yield* Effect.addFinalizer(() => Effect.sync(kill))
    return yield* Effect.promise(() => ended)
  })

/** Asserts that the example failed with few lines that a person can read, without a password and without a stack. */
const failed = ({ exitCode, stderr, stdout }: { exitCode: number | null; stderr: string; stdout: string }) => {
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

  it.live("shows who opens which channel, how far they are and how long it took, and ends by itself", () =>
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
      assert.match(lines.at(-1) ?? "", /^main: 100 messages went through in \d+ ms$/)
      assert.strictEqual(exitCode, 0)
      assert.isBelow(lingered, 1000, "milliseconds until the process has ended")
    }))

  it.live.runIf(isAdministrable)("leaves no connection behind", () =>
    Effect.gen(function*() {
      const { exitCode } = yield* demo(url())
      assert.strictEqual(exitCode, 0)
      yield* eventually(administration().connectionsNamed("threads example"), (count) => count === 0)
    }))

  it.live("runs on an embedded broker, and says so, when nothing names one and there is none on this machine", () =>
    Effect.gen(function*() {
      const { exitCode, stderr, stdout } = yield* demo(undefined, ["--import", "./test/support/noLocalBroker.mjs"])
      assert.strictEqual(stderr, "")
      const lines = stdout.trimEnd().split("\n")
      assert.strictEqual(lines[0], "main: uses an embedded broker, as there is none at 127.0.0.1:5672")
      assert.match(lines.at(-1) ?? "", /^main: 100 messages went through in \d+ ms$/)
      assert.strictEqual(exitCode, 0)
    }))

  const isAtStandardPort = new URL(brokerUrl).host === "127.0.0.1:5672"

  it.live.runIf(onRabbitMQ("the standard port of this machine") && isAtStandardPort)(
    "runs on the broker of this machine when nothing names one",
    () =>
      Effect.gen(function*() {
        const { exitCode, stdout } = yield* demo(undefined)
        assert.strictEqual(stdout.split("\n")[0], "main: uses the broker at 127.0.0.1:5672")
        assert.strictEqual(exitCode, 0)
      })
  )

  it.live("says in a line that there is no broker, and which URL it takes", () =>
    Effect.gen(function*() {
      const [problem, hint] = failed(yield* demo("amqp://user:secret@127.0.0.1:1"))
      assert.include(problem, "Cannot reach the broker: 127.0.0.1:1: connect ECONNREFUSED 127.0.0.1:1")
      assert.include(hint, "AMQP_URL")
    }))

  it.live("says in a line that the broker does not take the password", () =>
    Effect.gen(function*() {
      const url = new URL(brokerUrl)
      url.password = "secret"
      const [problem] = failed(yield* demo(url.href))
      assert.include(problem, "The broker refused the credentials of user")
      assert.include(problem, "ACCESS_REFUSED")
    }))

  it.live("says in a line that there is no such virtual host", () =>
    Effect.gen(function*() {
      const url = new URL(brokerUrl)
      url.pathname = "/nowhere"
      const [problem] = failed(yield* demo(url.href))
      assert.include(problem, "The broker refused virtual host \"nowhere\"")
    }))

  it.live.each([
    ["without a colon", "amqp//user:secret@127.0.0.1", "it must begin with amqp:// or amqps://"],
    ["with a port that is none", "amqp://user:secret@127.0.0.1:56d2", "the port must be a number from 1 to 65535"],
    ["with a # in the password", "amqp://user:secret#secret@127.0.0.1", "%23"],
    ["with a parameter that is misspelt", "amqp://user:secret@127.0.0.1/?heartbeet=5", "heartbeet"]
  ])("says what is wrong with a URL %s", ([, url, what]) =>
    Effect.gen(function*() {
      const [problem] = failed(yield* demo(url))
      assert.include(problem, "The AMQP URI is not valid")
      assert.include(problem, what)
    }))
})
