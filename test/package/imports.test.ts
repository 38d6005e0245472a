import { assert, describe, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../..", import.meta.url))

/** The paths of the modules that a new process loads for an import of the built package, relative to `node_modules`. */
const loadedBy = (specifier: string): ReadonlyArray<string> => {
  const program = `
    import { registerHooks } from "node:module"
    const urls = []
    registerHooks({ load(url, context, next) { urls.push(url); return next(url, context) } })
    await import(${JSON.stringify(specifier)})
    console.log(JSON.stringify(urls))`
  const output = execFileSync(process.execPath, ["--input-type=module", "--eval", program], { cwd: root })
  const urls: unknown = JSON.parse(output.toString())
  assert(Array.isArray(urls))
  return urls.map(String)
}

describe("importing @effect-amqp/node", () => {
  it("loads neither the embedded broker nor a server or WebSockets, which production does not need", () => {
    const loaded = loadedBy("@effect-amqp/node")
    assert.isAbove(loaded.filter((url) => url.includes("/core/dist/")).length, 0)
    const unexpected = loaded.filter((url) => /\/core\/dist\/testing\/|\/ws\/|SocketServer|platform-node/.test(url))
    assert.deepStrictEqual(unexpected, [])
  })
})
