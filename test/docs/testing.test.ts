import { assert, it } from "@effect/vitest"
import * as fs from "node:fs"
import { fileURLToPath } from "node:url"

const textOf = (path: string): string =>
  fs.readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), "utf8")

it("the page about testing shows the test file that is run", () => {
  const file = textOf("examples/orders.test.ts")
  const shown = file.slice(file.indexOf("import {")).trimEnd()
  assert.include(textOf("docs/testing.md"), `\`\`\`ts\n${shown}\n\`\`\``)
})
