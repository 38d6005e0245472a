import { assert, beforeAll, describe, it } from "@effect/vitest"
import * as fs from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { compile } from "../support/compile.ts"
import type { Diagnostic } from "../support/compile.ts"

const packages = fileURLToPath(new URL("../../packages", import.meta.url))

/** What users can import, according to the `exports` of the packages. */
const specifiers = ["core", "node"].flatMap((name) => {
  const { exports } = JSON.parse(fs.readFileSync(path.join(packages, name, "package.json"), "utf8"))
  const files = fs.readdirSync(path.join(packages, name, "src")).map((file) => file.replace(/\.ts$/, ""))
  return Object.keys(exports).filter((key) => key !== "./package.json").flatMap((key) => {
    const [before, after] = key.slice(2).split("*")
    const modules = after === undefined ? [before] : files.filter((file) => file.startsWith(before))
    return modules.map((module) => `@effect-amqp/${name}${module === undefined || module === "" ? "" : `/${module}`}`)
  })
})

describe("a public module", () => {
  let diagnostics: ReadonlyArray<Diagnostic>

  const fileOf = (specifier: string): string => `${specifier.replaceAll(/\W+/g, "-")}.ts`

  beforeAll(async () => {
    const files = await Promise.all(specifiers.map(async (specifier) => {
      const module: object = await import(/* @vite-ignore */ specifier)
      const uses = Object.keys(module).map((name) => `void Module[${JSON.stringify(name)}]`)
      return [fileOf(specifier), `import * as Module from "${specifier}"\n${uses.join("\n")}\n`] as const
    }))
    diagnostics = await compile("exports", Object.fromEntries(files))
  }, 120_000)

  it("is found for each export of the packages", () => {
    assert.includeMembers(specifiers, [
      "@effect-amqp/core",
      "@effect-amqp/core/AmqpConsumer",
      "@effect-amqp/core/testing",
      "@effect-amqp/core/testing/AmqpBroker",
      "@effect-amqp/node",
      "@effect-amqp/node/NodeAmqpOneShot"
    ])
  })

  it.for(specifiers)("declares all that it exports: %s", (specifier) => {
    const undeclared = diagnostics.filter(({ file }) => file === fileOf(specifier)).map(({ message }) => message)
    assert.deepStrictEqual(undeclared, [])
  })
})
