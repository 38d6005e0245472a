import { assert, beforeAll, describe, it } from "@effect/vitest"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll } from "vitest"
import { command } from "../support/command.ts"

// These tests use what is published: both packages built, packed and unpacked as in a user's project, with only their peer
// dependencies.

const root = fileURLToPath(new URL("../..", import.meta.url))
const project = fs.mkdtempSync(path.join(os.tmpdir(), "effect-amqp-packed-"))

const pack = async (name: string): Promise<ReadonlyArray<string>> => {
  const folder = path.join(root, "packages", name)
  const output = await command("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", project], {
    cwd: folder
  })
  const packed: Record<string, Packed> | ReadonlyArray<Packed> = JSON.parse(output)
  const [description] = Array.isArray(packed) ? packed : Object.values(packed)
  const destination = path.join(project, "node_modules", "@effect-amqp", name)
  fs.mkdirSync(destination, { recursive: true })
  await command("tar", ["-xzf", path.join(project, description.filename), "-C", destination, "--strip-components=1"])
  return description.files.map((file: { readonly path: string }) => file.path)
}

interface Packed {
  readonly filename: string
  readonly files: ReadonlyArray<{ readonly path: string }>
}

/** Runs a program in the user's project, and returns its output. */
const run = (program: string): Promise<string> => {
  const file = path.join(project, `program-${crypto.randomUUID()}.mjs`)
  fs.writeFileSync(file, program)
  return command(process.execPath, [file], { cwd: project })
}

describe("the published packages", () => {
  const files: Record<string, ReadonlyArray<string>> = {}

  beforeAll(async () => {
    await command(path.join(root, "node_modules", ".bin", "tsc"), ["-b", path.join(root, "tsconfig.build.json")])
    fs.writeFileSync(path.join(project, "package.json"), JSON.stringify({ private: true, type: "module" }))
    files["core"] = await pack("core")
    files["node"] = await pack("node")
    // The peers are links into this repository, which resolve their dependencies there without a registry.
    fs.mkdirSync(path.join(project, "node_modules", "@effect"))
    for (const peer of ["effect", "@effect/platform-node"]) {
      fs.symlinkSync(path.join(root, "node_modules", peer), path.join(project, "node_modules", peer), "dir")
    }
  })

  afterAll(() => fs.rmSync(project, { recursive: true, force: true }))

  it("can be imported by name", async () => {
    const output = await run(`await import("@effect-amqp/core")
      await import("@effect-amqp/node")
      console.log("imported")`)
    assert.strictEqual(output.trim(), "imported")
  })

  it("have an embedded broker that a program can publish to and inspect", async () => {
    const output = await run(`import { AmqpChannel, AmqpMessage, AmqpQueue } from "@effect-amqp/core"
      import { AmqpBroker } from "@effect-amqp/core/testing"
      import * as Effect from "effect/Effect"
      const program = Effect.gen(function*() {
        const broker = yield* AmqpBroker.AmqpBroker
        yield* AmqpChannel.confirmed(AmqpChannel.gen(function*() {
          yield* AmqpQueue.declare("greetings")
          yield* AmqpChannel.publish(AmqpMessage.text("hello"), AmqpQueue.route("greetings"))
        }))
        const [message] = yield* broker.messages("greetings")
        console.log(message.text)
      })
      await Effect.runPromise(Effect.provide(program, AmqpBroker.layer()))`)
    assert.strictEqual(output.trim(), "hello")
  })

  it.for([
    "@effect-amqp/core/internal/connection/session",
    "@effect-amqp/core/%69nternal/connection/session",
    "@effect-amqp/core//internal/connection/session",
    "@effect-amqp/core/Internal/connection/session",
    "@effect-amqp/core/dist/internal/connection/session.js",
    "@effect-amqp/core/src/internal/connection/session.ts",
    "@effect-amqp/core/testing/../internal/connection/session",
    "@effect-amqp/core/Amqp/../internal/connection/session",
    "@effect-amqp/core/protocol/frames",
    "@effect-amqp/core/%70rotocol/frames",
    "@effect-amqp/core/testing/internal/server/broker",
    "@effect-amqp/core/testing/%69nternal/server/broker",
    "@effect-amqp/node/internal/dial",
    "@effect-amqp/node/%69nternal/dial"
  ])(
    "do not export %s",
    async (specifier) => {
      const output = await run(`await import("${specifier}").catch((error) => console.log(error.code))`)
      assert.match(output.trim(), /^(ERR_PACKAGE_PATH_NOT_EXPORTED|ERR_INVALID_MODULE_SPECIFIER)$/)
    }
  )

  it("have complete type declarations that a strict project can check", async () => {
    const program = path.join(project, "program.ts")
    fs.writeFileSync(
      program,
      `import * as core from "@effect-amqp/core"
      import * as testing from "@effect-amqp/core/testing"
      import * as node from "@effect-amqp/node"
      export const modules: ReadonlyArray<object> = [core, testing, node]`
    )
    const types = path.join(root, "node_modules", "@types")
    await command(
      path.join(root, "node_modules", ".bin", "tsc"),
      ["--ignoreConfig", "--noEmit", "--strict", "--exactOptionalPropertyTypes", "--target", "ES2023", "--module"]
        .concat([
          "NodeNext",
          "--lib",
          "ES2023,DOM,DOM.AsyncIterable",
          "--typeRoots",
          types,
          "--types",
          "node",
          program
        ]),
      { cwd: project }
    )
  })

  it("contain their sources, their build and a description, and nothing else", () => {
    for (const name of ["core", "node"]) {
      for (const file of files[name]) assert.match(file, /^(package\.json|README\.md|LICENSE|dist\/.+|src\/.+\.ts)$/)
      assert.includeMembers([...files[name]], ["package.json", "dist/index.js", "dist/index.d.ts", "src/index.ts"])
    }
  })
})
