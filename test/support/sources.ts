/**
 * For a process of its own, `node --import …/sources.ts program.ts`: the packages are their sources, as they are for the tests.
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
