/**
 * The fiber that a layer is built for, such as that of `Layer.launch`. Layers that are merged are built on fibers of their own, which end
 * with the building and know no parent; then the fiber that made the connection is the nearest that can be found.
 */
import type * as Fiber from "effect/Fiber"

/** The fiber that runs now and those that wait for it, each child before its parent. */
export const ancestry = (fiber: Fiber.Fiber<unknown, unknown>): ReadonlyArray<Fiber.Fiber<unknown, unknown>> => {
  const chain: Array<Fiber.Fiber<unknown, unknown>> = []
  for (let next: unknown = fiber; isFiber(next) && chain.length < maxDepth; next = Reflect.get(next, "_parent")) {
    chain.push(next)
  }
  return chain
}

const maxDepth = 1000

/** The parent is not part of a fiber's interface: without it the chain ends. */
const isFiber = (value: unknown): value is Fiber.Fiber<unknown, unknown> =>
  typeof value === "object" && value !== null && "pollUnsafe" in value && "interruptUnsafe" in value
