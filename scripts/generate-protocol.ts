/**
 * `npm run generate`: writes the generated modules of the protocol layer. With `--check` it writes nothing, and fails if
 * a committed module differs from the generated one.
 */
import * as fs from "node:fs"
import { fileURLToPath } from "node:url"
import { emitMethods } from "./protocol/emitMethods.ts"
import { emitProperties } from "./protocol/emitProperties.ts"
import { parseFields, parseMethods } from "./protocol/model.ts"
import { hotMethods, methods, properties } from "./protocol/table.ts"

const outputs = {
  "methods.generated.ts": emitMethods(parseMethods(methods), hotMethods),
  "BasicProperties.ts": emitProperties(parseFields(properties))
}

const check = process.argv.includes("--check")

for (const [name, text] of Object.entries(outputs)) {
  const file = fileURLToPath(new URL(`../packages/core/src/protocol/${name}`, import.meta.url))
  const current = fs.existsSync(file) ? fs.readFileSync(file, "utf8") : ""
  if (current === text) continue
  if (check) {
    console.error(`packages/core/src/protocol/${name} differs from scripts/protocol/table.ts: run npm run generate`)
    process.exitCode = 1
  } else {
    fs.writeFileSync(file, text)
    console.log(`wrote packages/core/src/protocol/${name}`)
  }
}
