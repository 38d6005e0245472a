/** Compares the brokers on many seeds, and reduces differences to short plans. */
import * as Effect from "effect/Effect"
import { comparePlan, differsLike, kindOf } from "./compare.ts"
import type { Brokers, Difference } from "./compare.ts"
import type { Operation, Plan } from "./operations.ts"
import { makePlan } from "./plan.ts"
import { shrink } from "./shrink.ts"
import { simplerOperations } from "./simplify.ts"

/** No further runs are started after this many kinds of differences. */
export const maxKinds = 10

/** The limits for reducing a plan. */
const shrinkAttempts = 400

const shrinkMillis = 60_000

export interface Options {
  /** The first of the seeds. */
  readonly seed: number
  readonly runs: number
  readonly steps: number
  readonly concurrency: number
  readonly onProgress?: (done: number, different: number) => Effect.Effect<void>
  readonly onDifference: (found: Found) => Effect.Effect<void>
}

/** A difference in its smallest form. */
export interface Found {
  readonly difference: Difference
  /** The number of operations in the plan of its seed. */
  readonly planned: number
  /** Other seeds with a difference of the same kind. */
  readonly alsoSeeds: ReadonlyArray<number>
}

export interface Summary {
  readonly compared: number
  readonly differences: number
  /** How many differed at first, and were equal with more time. */
  readonly timing: number
}

/** Compares the seeds, and calls `onDifference` with each kind of difference in its smallest form. */
export const compareSeeds = (brokers: Brokers, options: Options): Effect.Effect<Summary> =>
  Effect.gen(function*() {
    let compared = 0
    let timing = 0
    let differences = 0
    const byKind = new Map<string, ReadonlyArray<Difference>>()
    const seeds = Array.from({ length: options.runs }, (_, index) => options.seed + index)
    yield* Effect.forEach(seeds, (seed) =>
      Effect.gen(function*() {
        if (byKind.size >= maxKinds) return
        const comparison = yield* comparePlan(makePlan(seed, options.steps), brokers)
        compared++
        if (comparison._tag === "Timing") timing++
        if (comparison._tag === "Different") {
          differences++
          const kind = kindOf(comparison)
          byKind.set(kind, [...(byKind.get(kind) ?? []), comparison])
        }
        if (options.onProgress !== undefined) yield* options.onProgress(compared, differences)
      }), { concurrency: options.concurrency, discard: true })
    // Afterwards, because these runs should not compete with others.
    yield* Effect.forEach(byKind.values(), (differences) =>
      Effect.gen(function*() {
        const [first, ...others] = differences.toSorted((a, b) => a.plan.seed - b.plan.seed)
        yield* options.onDifference({
          difference: yield* smallestDifference(first, brokers),
          planned: first.plan.operations.length,
          alsoSeeds: others.map(({ plan }) => plan.seed)
        })
      }), { concurrency: 4, discard: true })
    return { compared, differences, timing }
  })

/** The difference in the shortest plan that still has it. */
export const smallestDifference = (difference: Difference, brokers: Brokers): Effect.Effect<Difference> =>
  Effect.gen(function*() {
    const { plan } = difference
    const planOf = (operations: ReadonlyArray<Operation>): Plan => ({ ...plan, operations })
    // Otherwise reducing the plan could turn one difference into another.
    const kind = kindOf(difference)
    const deadline = performance.now() + shrinkMillis
    const operations = yield* shrink(plan.operations, {
      holds: (operations) =>
        performance.now() > deadline ? Effect.succeed(false) : differsLike(kind, planOf(operations), brokers),
      simpler: simplerOperations,
      attempts: shrinkAttempts,
      concurrency: 4
    })
    const comparison = yield* comparePlan(planOf(operations), brokers)
    // A difference that is not reproduced is shown as it was found.
    return comparison._tag === "Different" ? comparison : difference
  })
