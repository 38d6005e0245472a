import { assert, describe, it } from "@effect/vitest"
import * as fs from "node:fs"
import * as path from "node:path"
import { root } from "../support/process.ts"

const document = fs.readFileSync(path.join(root, "ARCHITECTURE.md"), "utf8")

/** The section with this heading. */
const section = (heading: string): string =>
  document.split(/\n(?=##)/).find((text) => text.startsWith(heading)) ?? assert.fail(`no section ${heading}`)

/** The first cells of the table in a section: the folders, from top to bottom. */
const foldersIn = (heading: string): ReadonlyArray<string> =>
  [...section(heading).matchAll(/^\| `([a-z]+)`/gm)].map(([, folder]) => folder)

const folders = ["packages/core/src/internal", "packages/core/src/testing/internal"]

describe("ARCHITECTURE.md", () => {
  it.each(folders)("lists every folder of %s", (folder) => {
    const existing = fs.readdirSync(path.join(root, folder), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name)
    assert.sameMembers([...foldersIn(`### The folders of \`${folder}\``)], existing)
  })

  it.each(folders)("lists the folders of %s in the order in which they may import each other", (folder) => {
    const order = foldersIn(`### The folders of \`${folder}\``)
    for (const [index, name] of order.entries()) {
      for (const file of fs.globSync(`${folder}/${name}/**/*.ts`, { cwd: root })) {
        const text = fs.readFileSync(path.join(root, file), "utf8")
        const imported = [...text.matchAll(/from "\.\.\/([a-z]+)\//g)].map(([, other]) => other)
        assert.deepStrictEqual(imported.filter((other) => order.slice(0, index).includes(other)), [], file)
      }
    }
  })

  it("names only files that exist", () => {
    const named = [...document.matchAll(/`((?:packages|scripts|test|docs)\/[\w/.]+)`/g)].map(([, file]) => file)
    assert.isAbove(named.length, 15)
    assert.deepStrictEqual(named.filter((file) => !fs.existsSync(path.join(root, file))), [])
    const modules = [...document.matchAll(/(?:^|[\s`])([a-z]+\/[a-z]\w+)(?=[\s`:;,(]|$)/gm)].map(([, module]) => module)
      .filter((module) => foldersIn(`### The folders of \`${folders[0]}\``).includes(module.split("/")[0]))
    assert.isAbove(modules.length, 15)
    const isThere = (module: string) => fs.existsSync(path.join(root, folders[0], `${module}.ts`))
    assert.deepStrictEqual(modules.filter((module) => !isThere(module)), [])
  })
})
