/** Preloaded by `node --import`: this process uses the copy of the built core package in the folder that `CORE_COPY` names. */
import { registerHooks } from "node:module"
import * as path from "node:path"
import { pathToFileURL } from "node:url"

const name = "@effect-amqp/core"

const copy = process.env["CORE_COPY"]
if (copy === undefined) throw new Error("CORE_COPY must name a folder")

registerHooks({
  resolve(specifier, context, next) {
    if (!specifier.startsWith(`${name}/`)) return next(specifier, context)
    const module = specifier.slice(name.length + 1)
    return next(
      pathToFileURL(path.join(copy, module === "testing" ? "testing/index.js" : `${module}.js`)).href,
      context
    )
  }
})
