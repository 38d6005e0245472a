/**
 * What a script loads: `node start/modules.mjs @effect-amqp/node` imports the package and lists, per package, the modules and their
 * bytes, the largest of them, and for each of the names that follow one chain of imports that leads to it.
 */
import { readFileSync } from "node:fs"
import { registerHooks } from "node:module"
import { fileURLToPath } from "node:url"

const [, , entry, ...wanted] = process.argv
const importedBy = new Map()
const bytes = new Map()

registerHooks({
  resolve: (specifier, context, next) => {
    const resolved = next(specifier, context)
    if (!importedBy.has(resolved.url)) importedBy.set(resolved.url, context.parentURL)
    return resolved
  },
  load: (url, context, next) => {
    if (url.startsWith("file:")) bytes.set(url, readFileSync(fileURLToPath(url)).length)
    return next(url, context)
  }
})

await import(entry)

/** `effect/Schema`, `@effect-amqp/core/internal/...` */
const nameOf = (url) =>
  url.replace(/^.*\/node_modules\//u, "").replace(/^.*\/packages\/([^/]+)\//u, "@effect-amqp/$1/").replace(
    "/dist/",
    "/"
  )

const packageOf = (url) => nameOf(url).split("/").slice(0, nameOf(url).startsWith("@") ? 2 : 1).join("/")

const packages = Map.groupBy(bytes.keys(), packageOf)
const total = (urls) => urls.reduce((sum, url) => sum + bytes.get(url), 0)
for (const [name, urls] of [...packages].toSorted(([, a], [, b]) => total(b) - total(a))) {
  console.log(`${name}: ${urls.length} modules, ${Math.round(total(urls) / 1024)} KiB`)
}
console.log("\nthe largest:")
for (const [url, size] of [...bytes].toSorted(([, a], [, b]) => b - a).slice(0, 40)) {
  console.log(`${String(Math.round(size / 1024)).padStart(6)} KiB ${nameOf(url)}`)
}
for (const name of wanted) {
  const chain = []
  let url = [...bytes.keys()].find((url) => nameOf(url).includes(name))
  for (; url !== undefined && url.startsWith("file:"); url = importedBy.get(url)) chain.push(nameOf(url))
  console.log(`\n${chain.join("\n  < ")}`)
}
