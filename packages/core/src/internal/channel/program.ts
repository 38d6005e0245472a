/**
 * Channel programs: how they are made and run.
 *
 * A program is a function from a channel to an Effect. Only the runners have channels, and use each for one program at
 * a time, so that no program can reach the channel of another fiber.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Inspectable from "effect/Inspectable"
import * as Pipeable from "effect/Pipeable"
import type { AmqpChannel, Step } from "../../AmqpChannel.ts"
import { hideClass } from "../common/hideClass.ts"
import type { Channel } from "./channel.ts"

/** The brand of programs. */
export const TypeId = "~@effect-amqp/core/AmqpChannel"

/** The functions that run a program. */
export type Runner = "run" | "confirmed" | "transaction"

// Set by the class, the only reader of its private field. A method could be called through a fiber's context.
let readChannel: (program: RunningProgram) => Channel

/**
 * A running program. Its fibers have it in their context, where any code can read it, so that its channel is private.
 */
export class RunningProgram {
  readonly runner: Runner
  /** `false` before it starts and after it has ended: forked fibers may keep it for longer. */
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
 * The program of the current fiber, for operations that are not part of it but might seem so: settling deliveries of
 * other channels, publishers, other runners.
 */
export const CurrentProgram = Context.Reference<RunningProgram | undefined>("@effect-amqp/core/CurrentProgram", {
  defaultValue: () => undefined
})

/**
 * The number of running programs for which other operations might seem to be a part. It is all that a publish reads.
 */
let outerPrograms = 0

/** To be called when a program starts and ends. */
export const setRunning = (program: RunningProgram, isRunning: boolean): void => {
  if (program.isRunning === isRunning) return
  program.isRunning = isRunning
  if (program.runner !== "run") outerPrograms += isRunning ? 1 : -1
}

/** The warnings that were logged, by connection: one is enough to find the line of code. */
const warned = new WeakMap<object, Set<string>>()

/**
 * Logs a warning if a publisher or another runner is used within a program and might seem to be part of it: in a
 * transaction always, in `confirmed` for another runner that publishes without confirms.
 */
export const warnOfOutsider = (inner: string): void => {
  if (outerPrograms === 0) return
  const fiber = Fiber.getCurrent()
  const program = fiber?.getRef(CurrentProgram)
  if (fiber === undefined || program === undefined || !program.isRunning) return
  const text = outsiderText(program.runner, inner)
  const { host } = channelOf(program)
  let texts = warned.get(host)
  if (texts === undefined) warned.set(host, texts = new Set())
  if (text === undefined || texts.has(text)) return
  texts.add(text)
  Effect.runForkWith(fiber.context)(Effect.logWarning(text))
}

const outsiderText = (runner: Runner, inner: string): string | undefined => {
  if (runner === "transaction") {
    return `${inner} was called inside AmqpChannel.transaction and is not part of the transaction: it uses another channel, ` +
      "and takes effect even if the transaction is rolled back. Use the operations of the program instead, such as " +
      "AmqpChannel.publish and AmqpQueue.get. This is logged once."
  }
  if (runner === "confirmed" && inner === "AmqpChannel.run") {
    return "AmqpChannel.run was called inside AmqpChannel.confirmed: it uses another channel, and what it publishes is not " +
      "confirmed. Make its program a step of the outer program. This is logged once."
  }
  return undefined
}

type Run<A, E, R> = (channel: Channel) => Effect.Effect<A, E, R>

class Program<A, E, R> extends Pipeable.Class {
  // A property could be replaced by one that leaks the channel.
  readonly #run: Run<A, E, R>
  /** Whether `#run` performs the step, instead of making an Effect that does. */
  readonly #isImmediate: boolean
  constructor(run: Run<A, E, R>, isImmediate: boolean) {
    super()
    this.#run = run
    this.#isImmediate = isImmediate
  }
  static has(step: object): step is Program<unknown, unknown, unknown> {
    return #run in step
  }
  static run<A, E, R>(program: Program<A, E, R>, channel: Channel): Effect.Effect<A, E, R> {
    return program.#isImmediate ? Effect.suspend(() => program.#run(channel)) : program.#run(channel)
  }
  /** Like `run`, when the Effect is evaluated next and once. */
  static runNow<A, E, R>(program: Program<A, E, R>, channel: Channel): Effect.Effect<A, E, R> {
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
  [Symbol.iterator](): Steps<A, E, R> {
    return new Steps(this)
  }
}

// The constructor would allow a program that is passed the channel.
hideClass(Program)

const noResult = Symbol("no result")

/**
 * The iterator of a program's `yield*`: it yields itself once, to the runner, and returns the value that the runner
 * sets.
 */
class Steps<A, E, R> implements Iterator<object, A> {
  // Only the runner of the generator sets the result.
  #result: A | typeof noResult = noResult
  readonly #program: Program<A, E, R>
  // Each result of `next` is this object: two objects for each step took a tenth of the CPU time of a publish.
  done: boolean | undefined = undefined
  value: this | A = this

  constructor(program: Program<A, E, R>) {
    this.#program = program
  }

  static run<A, E, R>(steps: Steps<A, E, R>, channel: Channel): Effect.Effect<A, E, R> {
    return Program.runNow(steps.#program, channel)
  }

  static resume<A, E, R>(steps: Steps<A, E, R>, result: A): void {
    steps.#result = result
  }

  next(): IteratorResult<this, A> {
    if (this.done === undefined) {
      this.done = false
    } else {
      if (this.#result === noResult) throw new Error(takenElsewhere)
      this.done = true
      this.value = this.#result
    }
    // `done` says which of the two it is.
    return this as unknown as IteratorResult<this, A>
  }
}

hideClass(Steps)

const advice = "Write AmqpChannel.gen(function*() { ... }), so that each run has a generator of its own."

const takenElsewhere = "A step of a channel program was taken by something other than the runner of the program, " +
  `which would skip the operation on the channel. ${advice}`

const usedTwice = "AmqpChannel.gen: the function returned a generator that another run has begun. A generator runs " +
  `once, and two runs would share its steps. ${advice}`

const withoutStar =
  "AmqpChannel.gen: a channel program was yielded without a star, so that its result has no type. Write `yield*`."

/** Makes a program. */
export const make = <A, E = never, R = never>(run: Run<A, E, R>): AmqpChannel<A, E, R> =>
  // The interface has properties that exist only as types.
  new Program(run, false) as unknown as AmqpChannel<A, E, R>

/**
 * Makes a program of a function that does the work at once and returns its Exit, or an Effect that does what is left. In `gen`
 * the function is called directly, so that a step that does not wait takes no Effect: a third of the CPU time of a publish.
 */
export const makeImmediate = <A, E = never, R = never>(step: Run<A, E, R>): AmqpChannel<A, E, R> =>
  // The interface has properties that exist only as types.
  new Program(step, true) as unknown as AmqpChannel<A, E, R>

/** Whether a value is a program. */
export const isProgram = (value: unknown): value is Program<unknown, unknown, unknown> =>
  typeof value === "object" && value !== null && Program.has(value)

/** Runs a program on a channel, or an Effect unchanged. */
export const runOn = <A, E, R>(step: Step<A, E, R>, channel: Channel): Effect.Effect<A, E, R> => {
  // A `Program` is what `make` returned; any other `Step` is an Effect.
  const effect = (isProgram(step) ? Program.run(step, channel) : step) as Effect.Effect<A, E, R>
  return Effect.isEffect(effect) ? effect : notAStep
}

/** For any other value, Effect would end the fiber without running its finalizers, and never close the channel. */
const notAStep: Effect.Effect<never> = Effect.suspend(() =>
  Effect.die(new TypeError("A step of a channel program is neither a channel program nor an Effect"))
)

/** After this many immediate steps, other fibers have a turn. Effect gives them one after 2048 operations, but does not count these. */
const maxImmediateSteps = 1024

/** The generators that a run has started. */
const begun = new WeakSet<object>()

/** Drives a generator whose steps are programs and Effects. Dies for misuses that would take steps of another run. */
export const gen =
  <A>(body: () => Iterator<Step, A, never>) => (channel: Channel): Effect.Effect<A, unknown, unknown> =>
    Effect.gen(() => {
      const steps: Iterator<unknown, A, unknown> = body()
      if (begun.has(steps)) throw new Error(usedTwice)
      begun.add(steps)
      let current: Steps<unknown, unknown, unknown> | undefined
      // Effect.gen reads a result before it asks for the next one.
      const yielded: IteratorYieldResult<Effect.Effect<unknown, unknown, unknown>> = { done: false, value: Effect.void }
      const next = (value: unknown): IteratorResult<Effect.Effect<unknown, unknown, unknown>, A> => {
        let input = value
        while (true) {
          if (current !== undefined) {
            Steps.resume(current, input)
            current = undefined
          }
          const result = steps.next(input)
          if (result.done === true) return result
          if (result.value instanceof Steps) {
            current = result.value
            yielded.value = Steps.run(result.value, channel)
            if (yielded.value !== Effect.void) return yielded
            if (++channel.immediateSteps >= maxImmediateSteps) {
              channel.immediateSteps = 0
              yielded.value = Effect.yieldNow
              return yielded
            }
            input = undefined
            continue
          }
          if (isProgram(result.value)) throw new Error(withoutStar)
          yielded.value = Effect.isEffect(result.value) ? result.value : notAStep
          return yielded
        }
      }
      // Effect.gen only calls `next`.
      return { next } as unknown as Generator<Effect.Effect<unknown, unknown, unknown>, A, never>
    })
