/** Runs the same plan on both brokers, and compares what they send. */
import * as Effect from "effect/Effect"
import type { Plan } from "./operations.ts"
import { runPlan } from "./run.ts"
import type { Step, Trace } from "./run.ts"
import type { Endpoint } from "./wireClient.ts"

/** RabbitMQ, and the embedded broker that is compared with it. */
export interface Brokers {
  readonly reference: Endpoint
  readonly embedded: Endpoint
}

export interface Difference {
  readonly plan: Plan
  readonly reference: Trace
  readonly embedded: Trace
}

/** `Timing`: they differed once, and were equal with more time. */
export type Comparison = { readonly _tag: "Same" | "Timing" } | ({ readonly _tag: "Different" } & Difference)

/** How long nothing must arrive before the next operation, in the first run and in repetitions. */
const quietMillis = 8

const patientMillis = 30

/** How often a run with a difference is repeated before the difference is reported. */
const repetitions = 4

let runs = 0

/** Makes the names of a run unique among all runs and processes. */
const nextPrefix = (): string => `compare-${crypto.randomUUID().slice(0, 8)}-${++runs}-`

export const stepText = ({ lines }: Step): string => lines.join("\n")

const textOf = (trace: Trace): string => trace.map(stepText).join("\n\n")

/** The index of the first step that differs. */
export const firstDifference = (a: Trace, b: Trace): number | undefined => {
  for (let index = 0; index < Math.max(a.length, b.length); index++) {
    if (a[index] === undefined || b[index] === undefined || stepText(a[index]) !== stepText(b[index])) return index
  }
  return undefined
}

/** Runs the plan once on each broker. */
export const runBoth = (
  plan: Plan,
  { embedded, reference }: Brokers,
  quietMillis: number = patientMillis
): Effect.Effect<Difference> =>
  Effect.gen(function*() {
    const options = { prefix: nextPrefix(), quietMillis }
    const [onReference, onEmbedded] = yield* Effect.all(
      [runPlan(plan, reference, options), runPlan(plan, embedded, options)],
      { concurrency: 2 }
    )
    return { plan, reference: onReference, embedded: onEmbedded }
  })

const isSame = ({ embedded, reference }: Difference): boolean => firstDifference(reference, embedded) === undefined

/** The kind of a difference: the methods, codes and texts that only one broker sent, without names and contents. */
export const kindOf = ({ embedded, reference }: Difference): string => {
  const index = firstDifference(reference, embedded)
  if (index === undefined) return "none"
  const linesOf = (trace: Trace): ReadonlyArray<string> => trace[index]?.lines ?? []
  const only = (lines: ReadonlyArray<string>, others: ReadonlyArray<string>): string => {
    const line = lines.find((line) => !others.includes(line))
    if (line === undefined) return "nothing"
    const sent = line.slice(line.indexOf(": ") + 2)
    // A close is identified by its text, which begins with the name of the code.
    return sent.includes(".close ") ? sent.replaceAll(/'[^']*'|\d+/g, "…") : sent.split(" ")[0]
  }
  return `${only(linesOf(reference), linesOf(embedded))} / ${only(linesOf(embedded), linesOf(reference))}`
}

/** Whether the brokers differ in this way. Runs the plan only once, so that timing may be the reason. */
export const differsLike = (kind: string, plan: Plan, brokers: Brokers): Effect.Effect<boolean> =>
  Effect.map(runBoth(plan, brokers, quietMillis), (difference) => kindOf(difference) === kind)

/**
 * Compares the brokers on a plan. Each of them may behave in several ways if the order is random: they differ only if no run on one was
 * equal to any run on the other.
 */
export const comparePlan = (plan: Plan, brokers: Brokers): Effect.Effect<Comparison> =>
  Effect.gen(function*() {
    if (isSame(yield* runBoth(plan, brokers, quietMillis))) return { _tag: "Same" }
    return yield* compareAgain(plan, brokers)
  })

const compareAgain = (plan: Plan, brokers: Brokers): Effect.Effect<Comparison> =>
  Effect.gen(function*() {
    const reference = new Set<string>()
    const embedded = new Set<string>()
    for (let repetition = 1;; repetition++) {
      const difference = yield* runBoth(plan, brokers, patientMillis * repetition)
      reference.add(textOf(difference.reference))
      embedded.add(textOf(difference.embedded))
      if ([...reference].some((text) => embedded.has(text))) return { _tag: "Timing" }
      if (repetition === repetitions) return { _tag: "Different", ...difference }
    }
  })
