import { assert, beforeAll, describe, it } from "@effect/vitest"
import * as fs from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { codeBlocksIn } from "../support/codeBlocks.ts"
import type { CodeBlock } from "../support/codeBlocks.ts"
import { compile } from "../support/compile.ts"
import type { Diagnostic } from "../support/compile.ts"

// All examples that a reader can copy are compiled as one program in strict mode.

const root = fileURLToPath(new URL("../..", import.meta.url))
const documents = ["README.md", "docs/**/*.md", "packages/*/README.md", "packages/*/src/**/*.ts"]

const fileOf = ({ document, line }: CodeBlock) => `${document}/${line}.ts`

/** The compiler's message with the position in the document: `README.md:12:3 - error TS2345: …`. */
const inDocument = ({ document }: CodeBlock, { column, line, message }: Diagnostic) =>
  `${document}:${line}:${column} - ${message}`

/** The compiler's message as printed for a file with the block only. */
const inExample = (block: CodeBlock, { column, line, message }: Diagnostic) =>
  `example.ts(${line - block.line},${column}): ${message}`

/** Fails for a block that does not compile, or not with the error that its document shows. */
const check = (block: CodeBlock, diagnostics: ReadonlyArray<Diagnostic>) => {
  const own = diagnostics.filter(({ file }) => file === fileOf(block))
  if (block.expectedError === undefined) {
    if (own.length > 0) throw new Error(own.map((diagnostic) => inDocument(block, diagnostic)).join("\n"))
  } else {
    const printed = own.map((diagnostic) => inExample(block, diagnostic)).join("\n")
    assert.strictEqual(printed, block.expectedError, `${block.document}:${block.line} shows another error`)
  }
}

const compileBlocks = (name: string, blocks: ReadonlyArray<CodeBlock>) =>
  compile(name, Object.fromEntries(blocks.map((block) => [fileOf(block), block.text])))

describe("the examples in the documentation", () => {
  const blocks = fs.globSync(documents, { cwd: root }).toSorted().flatMap((document) =>
    codeBlocksIn(document, fs.readFileSync(path.join(root, document), "utf8"))
  )
  let diagnostics: ReadonlyArray<Diagnostic> = []

  beforeAll(async () => {
    diagnostics = await compileBlocks("examples", blocks)
  })

  it("are found in the README and in the modules", () => {
    const found = blocks.map(({ document }) => document)
    assert.includeMembers(found, ["README.md", "packages/core/src/AmqpChannel.ts", "packages/node/src/NodeAmqp.ts"])
  })

  for (const block of blocks) {
    const does = block.expectedError === undefined ? "compiles" : "has the error that is shown below it"
    it(`${block.document}:${block.line} ${does}`, () => check(block, diagnostics))
  }
})

describe("a broken example", () => {
  const failures = async (document: string, lines: ReadonlyArray<string>): Promise<ReadonlyArray<string>> => {
    const blocks = codeBlocksIn(document, lines.join("\n"))
    const diagnostics = await compileBlocks("broken-examples", blocks)
    return blocks.flatMap((block) => {
      try {
        check(block, diagnostics)
        return []
      } catch (error) {
        return [String(error)]
      }
    })
  }

  it("fails with its file and line", async () => {
    const [failure, ...others] = await failures("guide.md", [
      "# Guide",
      "```ts",
      "const fine: number = 1",
      "```",
      "```sh",
      "not typescript",
      "```",
      "```ts",
      "const fine: number = 1",
      "  const wrong: number = \"\"",
      "```"
    ])
    assert.strictEqual(
      failure,
      "Error: guide.md:10:9 - error TS2322: Type 'string' is not assignable to type 'number'."
    )
    assert.deepStrictEqual(others, [])
  })

  it("fails with its file and line in a comment too", async () => {
    assert.deepStrictEqual(
      await failures("Module.ts", ["/**", " * ```ts", " * const wrong: number = \"\"", " * ```", " */"]),
      ["Error: Module.ts:3:10 - error TS2322: Type 'string' is not assignable to type 'number'."]
    )
  })

  it("fails when it imports an internal module", async () => {
    const failure = await failures("guide.md", [
      "```ts",
      "import \"@effect-amqp/core/internal/connection/session\"",
      "```"
    ])
    assert.match(failure.join(), /guide\.md:2:8 - error TS\d+: Cannot find module/)
  })

  it("fails when it lacks its expected error, or has another one", async () => {
    const fails = (code: string, error: string) =>
      failures("guide.md", ["```ts expect-error", code, "```", "", "It says:", "", "```text", error, "```"])
    const error = "example.ts(1,7): error TS2322: Type 'string' is not assignable to type 'number'."
    assert.deepStrictEqual(await fails("const wrong: number = \"\"", error), [])
    assert.match((await fails("const wrong: number = 1", error)).join(), /guide\.md:1 shows another error/)
    assert.match((await fails("const wrong: number = true", error)).join(), /guide\.md:1 shows another error/)
  })

  it("fails when its error is not shown, or its fence has an unknown flag", () => {
    assert.throws(
      () => codeBlocksIn("guide.md", "```ts expect-error\n```\n"),
      /guide\.md:1: a block with an error needs/
    )
    assert.throws(() => codeBlocksIn("guide.md", "\n```ts no-check\n```\n"), /guide\.md:2: unknown flag no-check/)
    assert.throws(() => codeBlocksIn("guide.md", "```ts\n"), /guide\.md:1: the block does not end/)
  })
})
