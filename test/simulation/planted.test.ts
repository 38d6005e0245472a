import { assert, it } from "@effect/vitest"
import * as fs from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { breaks } from "./seeded/planted/breaks.ts"

const sources = path.join(path.dirname(fileURLToPath(import.meta.url)), "../../packages/core/src")

// `npm run simulate -- --planted` takes long. This notices at once when the code of a planted fault has changed.
it.each(breaks)("the line of the planted fault exists: $name", ({ file, line }) => {
  const source = fs.readFileSync(path.join(sources, file.replace(/js$/, "ts")), "utf8")
  assert.strictEqual(source.split(line).length - 1, 1, `${file}: ${line}`)
})

it("planted faults have names of their own", () => {
  assert.strictEqual(new Set(breaks.map(({ name }) => name)).size, breaks.length)
})
