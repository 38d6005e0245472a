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
import { hideClass } from "./hideClass.ts"

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

// Set by the class, which alone reads its private field. As a method it could be reached from a context.
let readChannel: (program: RunningProgram) => Channel

/**
 * A program that runs, as the fibers that run it know it. They have it in their context, where everyone can read it, so it keeps its
 * channel to itself.
 */
export class RunningProgram {
  /** The runner that runs it. */
  readonly runner: "run" | "confirmed" | "transaction"
  /** `false` before it begins and once it has ended: fibers that it forked may know it for longer. */
  isRunning = false
  readonly #channel: Channel
  constructor(runner: RunningProgram["runner"], channel: Channel) {
    this.runner = runner
    this.#channel = channel
  }
  static {
    readChannel = (program) => program.#channel
  }
}

hideClass(RunningProgram)

/** The channel that a program runs on. */
export const channelOf = (program: RunningProgram): Channel => readChannel(program)

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

// A program of one's own would be handed the channel.
hideClass(Program)

/** Makes a program. */
export const make = <A, E = never, R = never>(run: Run<A, E, R>): AmqpChannel<A, E, R> =>
  // The interface's type-level properties have no runtime counterpart of that type.
  new Program(run) as unknown as AmqpChannel<A, E, R>

/** Runs a program, or an Effect as it is, on a channel. */
export const runOn = <A, E, R>(step: Step<A, E, R>, channel: Channel): Effect.Effect<A, E, R> => {
  // A `Program` is what `make` disguised; everything else of type `Step` is an Effect.
  const effect = (isProgram(step) ? Program.run(step, channel) : step) as Effect.Effect<A, E, R>
  return Effect.isEffect(effect) ? effect : notAStep
}

const isProgram = (step: unknown): step is Program<unknown, unknown, unknown> =>
  typeof step === "object" && step !== null && Program.has(step)

/** Effect ends a fiber that is given something else without running its finalizers, and so would never close the channel. */
const notAStep: Effect.Effect<never> = Effect.suspend(() =>
  Effect.die(new TypeError("A step of a channel program is neither a channel program nor an Effect"))
)

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
