/**
 * For a separate process, `node --import …/sources.ts program.ts`: resolves the packages to their sources, as in the tests.
 */
import { registerHooks } from "node:module"

const packageName = /^@effect-amqp\/(core|node)(?:\/(.+))?$/

registerHooks({
  resolve: (specifier, context, next) => {
    const [, name, module = "index"] = packageName.exec(specifier) ?? []
    return next(
      name === undefined ? specifier : new URL(`../../packages/${name}/src/${module}.ts`, import.meta.url).href,
      context
    )
  }
})
