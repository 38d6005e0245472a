/** Random values that follow from the seed of a plan. */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"

export const between = (minimum: number, maximum: number): Effect.Effect<number> =>
  Random.nextIntBetween(minimum, maximum)

export const chance = (percent: number): Effect.Effect<boolean> =>
  Effect.map(between(1, 100), (value) => value <= percent)

export const oneOf = <A>(...values: ReadonlyArray<A>): Effect.Effect<A> =>
  Effect.map(between(0, values.length - 1), (index) => values[index])

export const maybe = <A>(percent: number, value: Effect.Effect<A>): Effect.Effect<A | undefined> =>
  Effect.flatMap(chance(percent), (wanted) => wanted ? value : Effect.succeed(undefined))

export const listOf = <A>(length: number, value: Effect.Effect<A>): Effect.Effect<ReadonlyArray<A>> =>
  Effect.forEach(Array.from({ length }), () => value)
