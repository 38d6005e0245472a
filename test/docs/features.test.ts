import { assert, describe, it } from "@effect/vitest"
import * as fs from "node:fs"
import { fileURLToPath } from "node:url"

const folder = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url))

/** The rows of all tables in a document, each as its cells. */
const rowsOf = (document: string): ReadonlyArray<ReadonlyArray<string>> =>
  fs.readFileSync(folder(`docs/${document}`), "utf8").split("\n")
    .filter((line) => line.startsWith("| "))
    .map((line) => line.slice(1, line.lastIndexOf("|")).split("|").map((cell) => cell.trim()))
    .filter(([first]) => !/^-+$/.test(first) && first !== "Feature" && first !== "Id")

const reference = /`([a-zA-Z/]+\.(?:test\.)?ts)`: (?:``(.+?)``|`([^`]+)`)/g

interface Reference {
  readonly file: string
  readonly name: string
}

const referencesIn = (cell: string): ReadonlyArray<Reference> =>
  [...cell.matchAll(reference)].map(([, file, quoted, name = quoted]) => ({ file, name }))

const texts = new Map<string, string | undefined>()

const textOf = (file: string): string | undefined => {
  if (!texts.has(file)) {
    const path = folder(`test/${file}`)
    texts.set(file, fs.existsSync(path) ? fs.readFileSync(path, "utf8") : undefined)
  }
  return texts.get(file)
}

/** A name begins as a text, as a template or, in the tests of types, as the reason of an expected error. */
const isThere = ({ file, name }: Reference): boolean => {
  const text = textOf(file)
  return text !== undefined &&
    [`"${name}`, `\`${name}`, `@ts-expect-error ${name}`].some((start) => text.includes(start))
}

const gone = (cells: ReadonlyArray<string>): ReadonlyArray<Reference> =>
  cells.flatMap(referencesIn).filter((reference) => !isThere(reference))

/** Every name in the tests that has the id of a fault: with a colon, or with other ids, before or after it. */
const namesWithIds = fs.globSync("{unit,simulation,integration}/**/*.test.ts", { cwd: folder("test") })
  .map((file) => [...(textOf(file) ?? "").matchAll(/["`]((?:[A-Z]\d{1,2}, )*[A-Z]\d{1,2}): /g)].map(([, ids]) => ids))
  .flatMap((ids) => ids.flatMap((ids) => ids.split(", ")))

describe("the table of features", () => {
  const rows = rowsOf("features.md")

  it("has tests that exist", () => {
    assert.isAbove(rows.length, 150)
    assert.deepStrictEqual(gone(rows.map(([, , tests]) => tests)), [])
  })

  it("has no empty cell: a feature without a test says that it is to come", () => {
    for (const [feature, api, tests] of rows) {
      assert.isNotEmpty(feature)
      assert.isNotEmpty(api)
      if (referencesIn(tests).length === 0) {
        assert.isTrue(tests === "to come" && api.startsWith("to come"), feature)
      }
    }
  })

  it("has each of the failures of rabbitpy", () => {
    const proofs = rows.flatMap(([, , tests]) => referencesIn(tests)).map(({ name }) => name)
    for (let failure = 1; failure <= 15; failure++) {
      assert.isTrue(proofs.some((name) => name.startsWith(`rabbitpy failure ${failure}:`)), `failure ${failure}`)
    }
  })
})

describe("the table of faults", () => {
  const rows = rowsOf("faults.md")

  it("has tests that exist, and have the id in their names", () => {
    assert.isAbove(rows.length, 100)
    assert.deepStrictEqual(gone(rows.map(([, , tests]) => tests)), [])
    for (const [id, , tests] of rows) {
      for (const { name } of referencesIn(tests)) assert.match(name, new RegExp(String.raw`\b${id}\b`))
    }
  })

  it("has each id once, and calls no fault to come that has a test already", () => {
    const ids = rows.map(([id]) => id)
    assert.strictEqual(new Set(ids).size, ids.length)
    const toCome = rows.filter(([, , tests]) => tests === "to come").map(([id]) => id)
    const untold = rows.filter(([, , tests]) => tests !== "to come" && referencesIn(tests).length === 0)
    assert.deepStrictEqual(untold, [])
    assert.deepStrictEqual(toCome.filter((id) => namesWithIds.includes(id)), [])
  })
})
