/**
 * Finds the fiber that a layer is built for, for example that of `Layer.launch`. Merged layers are built on separate fibers, which have no
 * parent and end when the layers are built. Then the nearest fiber that can be found is the one that made the connection.
 */
import type * as Fiber from "effect/Fiber"

/** A fiber and its ancestors, each child before its parent. */
export const ancestry = (fiber: Fiber.Fiber<unknown, unknown>): ReadonlyArray<Fiber.Fiber<unknown, unknown>> => {
  const chain: Array<Fiber.Fiber<unknown, unknown>> = []
  for (let next: unknown = fiber; isFiber(next) && chain.length < maxDepth; next = Reflect.get(next, "_parent")) {
    chain.push(next)
  }
  return chain
}

const maxDepth = 1000

/** The parent is not part of the public interface of a fiber. If it is missing, the chain ends. */
const isFiber = (value: unknown): value is Fiber.Fiber<unknown, unknown> =>
  typeof value === "object" && value !== null && "pollUnsafe" in value && "interruptUnsafe" in value
