/**
 * Channel programs: what they are to the compiler, and how they run.
 *
 * A program is a function from a channel to an Effect. Only the runners have channels, and they use each with one program at
 * a time, so no program can reach a channel of another fiber.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Inspectable from "effect/Inspectable"
import * as Pipeable from "effect/Pipeable"
import type * as Types from "effect/Types"
import type { Channel } from "./channel.ts"

export const TypeId = "~@effect-amqp/core/AmqpChannel"

/**
 * A conversation on one channel that yields an `A`, may fail with `E` and needs the services `R`.
 *
 * It is not an `Effect`, and a property that exists only for the compiler says so where one is expected. The sentence stands
 * in a tuple, as the compiler would print a bare one as `string`. And the compiler lists missing properties before it compares
 * any, so the other properties of an `Effect`, those of `Inspectable`, are here too.
 */
export interface AmqpChannel<out A, out E = never, out R = never> extends Pipeable.Pipeable, Inspectable.Inspectable {
  readonly [TypeId]: {
    readonly _A: Types.Covariant<A>
    readonly _E: Types.Covariant<E>
    readonly _R: Types.Covariant<R>
  }
  readonly [Effect.TypeId]: [
    "A channel program is not an Effect: a channel belongs to one fiber. Combine programs with AmqpChannel.gen and run the whole with AmqpChannel.run."
  ]
  [Symbol.iterator](): ProgramIterator<AmqpChannel<A, E, R>, A>
}

export interface ProgramIterator<out S, out A> {
  next(...args: ReadonlyArray<unknown>): IteratorResult<S, A>
}

/** A program that runs, as the fibers that run it know it. */
export interface RunningProgram {
  /** The runner that runs it. */
  readonly runner: "run" | "confirmed" | "transaction"
  readonly channel: Channel
  /** `false` once it has ended: fibers that it forked may know it for longer. */
  isRunning: boolean
}

/**
 * The program that runs on the current fiber, for what must not look as if it were part of it: settling deliveries of other channels,
 * publishers, other runners.
 */
export const CurrentProgram = Context.Reference<RunningProgram | undefined>("@effect-amqp/core/CurrentProgram", {
  defaultValue: () => undefined
})

/** What may be a step of a program. */
export type Step<A = unknown, E = unknown, R = unknown> = AmqpChannel<A, E, R> | Effect.Effect<A, E, R>

type Run<A, E, R> = (channel: Channel) => Effect.Effect<A, E, R>

class Program<A, E, R> extends Pipeable.Class {
  // A property could be replaced by one that keeps the channel.
  readonly #run: Run<A, E, R>
  constructor(run: Run<A, E, R>) {
    super()
    this.#run = run
    Object.freeze(this)
  }
  static has(step: object): step is Program<unknown, unknown, unknown> {
    return #run in step
  }
  static run<A, E, R>(program: Program<A, E, R>, channel: Channel): Effect.Effect<A, E, R> {
    return program.#run(channel)
  }
  get [TypeId](): true {
    return true
  }
  toJSON(): unknown {
    return { _id: "AmqpChannel" }
  }
  override toString(): string {
    return "AmqpChannel(run it with AmqpChannel.run)"
  }
  [Inspectable.NodeInspectSymbol](): unknown {
    return this.toJSON()
  }
  /** Yields the program itself once, and returns what the runner answers. */
  *[Symbol.iterator](): Generator<Program<A, E, R>, A, A> {
    return yield this
  }
}

/** Makes a program. */
export const make = <A, E = never, R = never>(run: Run<A, E, R>): AmqpChannel<A, E, R> =>
  // The interface's type-level properties have no runtime counterpart of that type.
  new Program(run) as unknown as AmqpChannel<A, E, R>

/** Whether a value is a program. */
export const isProgram = (value: unknown): boolean => typeof value === "object" && value !== null && Program.has(value)

/** Runs a program, or an Effect as it is, on a channel. */
export const runOn = <A, E, R>(step: Step<A, E, R>, channel: Channel): Effect.Effect<A, E, R> =>
  // A `Program` is what `make` disguised; everything else of type `Step` is an Effect.
  (Program.has(step) ? Program.run(step, channel) : step) as Effect.Effect<A, E, R>

/** Drives a generator whose steps are programs and Effects. */
export const gen =
  <A>(body: () => Iterator<Step, A, never>) => (channel: Channel): Effect.Effect<A, unknown, unknown> =>
    Effect.gen(() => {
      const steps = body()
      const next = (value: never): IteratorResult<Effect.Effect<unknown, unknown, unknown>, A> => {
        const result = steps.next(value)
        return result.done === true ? result : { done: false, value: runOn(result.value, channel) }
      }
      // `next` is all that Effect.gen calls.
      return { next } as Generator<Effect.Effect<unknown, unknown, unknown>, A, never>
    })
