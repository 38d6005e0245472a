/**
 * Channel programs: conversations on one channel, run by one fiber.
 *
 * AMQP expects the frames of a channel in the order of one conversation, so that a channel must not be shared. Here the
 * types enforce this: an {@link AmqpChannel} describes a conversation and is not an `Effect`. It can't be forked, raced
 * or run in parallel, and there is no channel value that could escape. {@link gen} and the combinators sequence steps;
 * {@link run}, {@link confirmed} and {@link transaction} run the program on the calling fiber, on a channel that no
 * other fiber can reach, and close the channel however the program ends.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import type * as Inspectable from "effect/Inspectable"
import type * as Pipeable from "effect/Pipeable"
import * as Record from "effect/Record"
import type * as Types from "effect/Types"
import * as AmqpConnection from "./AmqpConnection.ts"
import { AmqpChannelError } from "./AmqpError.ts"
import type { AmqpPublishAllError } from "./AmqpError.ts"
import type { AmqpExchange } from "./AmqpExchange.ts"
import type * as AmqpMessage from "./AmqpMessage.ts"
import type { Channel, ChannelMode } from "./internal/channel/channel.ts"
import { failureOfStep } from "./internal/channel/channelErrors.ts"
import type { Channels } from "./internal/channel/channels.ts"
import * as Program from "./internal/channel/program.ts"
import { supervisorOf } from "./internal/connection/connectionRegistry.ts"
import type { Session } from "./internal/connection/session.ts"
import type { Supervisor } from "./internal/connection/supervisor.ts"
import { routeOf } from "./internal/message/route.ts"
import * as Validation from "./internal/options/validation.ts"
import { expireProgramConfirms } from "./internal/publishing/confirmTimeouts.ts"
import { ProgramConfirms } from "./internal/publishing/programConfirms.ts"

const TypeId = Program.TypeId

/**
 * A conversation on one channel that yields an `A`, may fail with `E` and needs the services `R`. It is not an
 * `Effect`: run it with {@link run}, {@link confirmed} or {@link transaction}.
 *
 * @category models
 * @since 0.1.0
 */
export interface AmqpChannel<out A, out E = never, out R = never> extends Pipeable.Pipeable, Inspectable.Inspectable {
  readonly [TypeId]: {
    readonly _A: Types.Covariant<A>
    readonly _E: Types.Covariant<E>
    readonly _R: Types.Covariant<R>
  }
  // The compiler prints this where an Effect is expected. It is a tuple, as a bare text would be printed as `string`.
  // Missing properties are listed before any is compared, so the other properties of an Effect, those of `Inspectable`,
  // are here too.
  readonly [Effect.TypeId]: [
    "A channel program is not an Effect: a channel belongs to one fiber. Combine programs with AmqpChannel.gen and run the whole with AmqpChannel.run."
  ]
  [Symbol.iterator](): ProgramIterator<AmqpChannel<A, E, R>, A>
}

interface ProgramIterator<out S, out A> {
  next(...args: ReadonlyArray<unknown>): IteratorResult<S, A>
}

/**
 * A step of a program: another program, or an Effect.
 *
 * @category models
 * @since 0.1.0
 */
export type Step<A = unknown, E = unknown, R = unknown> = AmqpChannel<A, E, R> | Effect.Effect<A, E, R>

/**
 * The type that a step yields.
 *
 * @category utility types
 * @since 0.1.0
 */
export type Success<S> = S extends AmqpChannel<infer A, unknown, unknown> ? A
  : S extends Effect.Effect<infer A, unknown, unknown> ? A
  : never

/**
 * The type that a step may fail with.
 *
 * @category utility types
 * @since 0.1.0
 */
export type Error<S> = S extends AmqpChannel<unknown, infer E, unknown> ? E
  : S extends Effect.Effect<unknown, infer E, unknown> ? E
  : never

/**
 * The services that a step needs.
 *
 * @category utility types
 * @since 0.1.0
 */
export type Services<S> = S extends AmqpChannel<unknown, unknown, infer R> ? R
  : S extends Effect.Effect<unknown, unknown, infer R> ? R
  : never

// -----------------------------------------------------------------------------
// constructors
// -----------------------------------------------------------------------------

/**
 * Sequences channel operations and Effects, as `Effect.gen` does for Effects.
 *
 * **Gotchas**
 *
 * As with `Effect.gen`, a step that fails ends the program at once: neither a `catch` nor a `finally` of the generator
 * runs. Use {@link catchTag} and {@link ensuring}.
 *
 * The function has to return a new generator each time. The program dies if it returns one that another run has begun,
 * if a step is yielded without a star, or if a step is taken by anything but the runner.
 *
 * **Example** (Declaring a queue and publishing to it)
 *
 * ```ts
 * import { AmqpChannel, AmqpMessage, AmqpQueue } from "@effect-amqp/core"
 *
 * const program = AmqpChannel.gen(function*() {
 *   const queue = yield* AmqpQueue.declare("orders")
 *   yield* AmqpChannel.publish(AmqpMessage.text("hello"), { exchange: "", routingKey: queue.name })
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const gen = <S extends Step, A>(
  body: () => Generator<S, A, unknown>
): AmqpChannel<A, Error<S>, Services<S>> =>
  // The type of a generator names the errors and services of its steps.
  Program.make((channel) => Program.gen(body)(channel) as Effect.Effect<A, Error<S>, Services<S>>)

/**
 * A program that runs an Effect.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromEffect = <A, E, R>(effect: Effect.Effect<A, E, R>): AmqpChannel<A, E, R> => Program.make(() => effect)

/**
 * A program that yields a value.
 *
 * @category constructors
 * @since 0.1.0
 */
export const succeed = <A>(value: A): AmqpChannel<A> => fromEffect(Effect.succeed(value))

/**
 * A program that fails with an error.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fail = <E>(error: E): AmqpChannel<never, E> => fromEffect(Effect.fail(error))

// -----------------------------------------------------------------------------
// combinators
// -----------------------------------------------------------------------------

/** Continues a program on the same channel. */
const transform = <A, E, R, B, E2, R2>(
  self: AmqpChannel<A, E, R>,
  f: (effect: Effect.Effect<A, E, R>, channel: Channel) => Effect.Effect<B, E2, R2>
): AmqpChannel<B, E2, R2> => Program.make((channel) => f(Program.runOn(self, channel), channel))

/**
 * Transforms the value of a program.
 *
 * @category combinators
 * @since 0.1.0
 */
export const map: {
  <A, B>(f: (value: A) => B): <E, R>(self: AmqpChannel<A, E, R>) => AmqpChannel<B, E, R>
  <A, E, R, B>(self: AmqpChannel<A, E, R>, f: (value: A) => B): AmqpChannel<B, E, R>
} = dual(2, <A, E, R, B>(self: AmqpChannel<A, E, R>, f: (value: A) => B) => transform(self, Effect.map(f)))

/**
 * Replaces the value of a program.
 *
 * @category combinators
 * @since 0.1.0
 */
export const as: {
  <B>(value: B): <A, E, R>(self: AmqpChannel<A, E, R>) => AmqpChannel<B, E, R>
  <A, E, R, B>(self: AmqpChannel<A, E, R>, value: B): AmqpChannel<B, E, R>
} = dual(2, <A, E, R, B>(self: AmqpChannel<A, E, R>, value: B) => transform(self, Effect.as(value)))

/**
 * Runs the step that `f` returns for the value of the program, and yields the step's value.
 *
 * @category combinators
 * @since 0.1.0
 */
export const flatMap: {
  <A, S extends Step>(
    f: (value: A) => S
  ): <E, R>(self: AmqpChannel<A, E, R>) => AmqpChannel<Success<S>, E | Error<S>, R | Services<S>>
  <A, E, R, S extends Step>(
    self: AmqpChannel<A, E, R>,
    f: (value: A) => S
  ): AmqpChannel<Success<S>, E | Error<S>, R | Services<S>>
} = dual(
  2,
  <A, E, R, S extends Step>(self: AmqpChannel<A, E, R>, f: (value: A) => S) =>
    transform(self, (effect, channel) => Effect.flatMap(effect, (value) => runStep(f(value), channel)))
)

/** Runs a step whose type need not be known entirely: it may be one of several. */
const runStep = <S extends Step>(step: S, channel: Channel) =>
  // The type of a step states what it yields, fails with and needs.
  Program.runOn(step, channel) as Effect.Effect<Success<S>, Error<S>, Services<S>>

/**
 * Runs another step after the program, and yields the step's value.
 *
 * @category combinators
 * @since 0.1.0
 */
export const andThen: {
  <S extends Step>(
    next: S
  ): <A, E, R>(self: AmqpChannel<A, E, R>) => AmqpChannel<Success<S>, E | Error<S>, R | Services<S>>
  <A, E, R, S extends Step>(
    self: AmqpChannel<A, E, R>,
    next: S
  ): AmqpChannel<Success<S>, E | Error<S>, R | Services<S>>
} = dual(2, <A, E, R, S extends Step>(self: AmqpChannel<A, E, R>, next: S) => flatMap(self, () => next))

/**
 * Runs the step that `f` returns for the value of the program, and yields the value of the program.
 *
 * @category combinators
 * @since 0.1.0
 */
export const tap: {
  <A, S extends Step>(
    f: (value: A) => S
  ): <E, R>(self: AmqpChannel<A, E, R>) => AmqpChannel<A, E | Error<S>, R | Services<S>>
  <A, E, R, S extends Step>(
    self: AmqpChannel<A, E, R>,
    f: (value: A) => S
  ): AmqpChannel<A, E | Error<S>, R | Services<S>>
} = dual(
  2,
  <A, E, R, S extends Step>(self: AmqpChannel<A, E, R>, f: (value: A) => S) =>
    transform(self, (effect, channel) => Effect.tap(effect, (value) => runStep(f(value), channel)))
)

/**
 * Runs a step for each element, one after the other, and yields their values.
 *
 * @category combinators
 * @since 0.1.0
 */
export const forEach = <A, S extends Step>(
  elements: Iterable<A>,
  f: (element: A, index: number) => S
): AmqpChannel<Array<Success<S>>, Error<S>, Services<S>> =>
  Program.make((channel) => Effect.forEach(elements, (element, index) => runStep(f(element, index), channel)))

/**
 * Runs steps one after the other, in their order, and yields their values: as an array for an array, and as a record
 * for a record.
 *
 * @category combinators
 * @since 0.1.0
 */
export const all = <const S extends ReadonlyArray<Step> | Readonly<Record<string, Step>>>(
  steps: S
): AmqpChannel<{ -readonly [K in keyof S]: Success<S[K]> }, Error<Each<S>>, Services<Each<S>>> =>
  Program.make((channel) => {
    const run = (step: Step): Effect.Effect<unknown, unknown, unknown> => Program.runOn(step, channel)
    const running = isArray(steps) ? Effect.all(steps.map(run)) : Effect.all(Record.map(steps, run))
    // The mapped type puts each result where its step was.
    return running as Effect.Effect<{ -readonly [K in keyof S]: Success<S[K]> }, Error<Each<S>>, Services<Each<S>>>
  })

type Each<S> = S extends ReadonlyArray<infer Each> ? Each : S[keyof S]

/** `Array.isArray` does not narrow to read-only arrays. */
const isArray = (steps: ReadonlyArray<Step> | Readonly<Record<string, Step>>): steps is ReadonlyArray<Step> =>
  Array.isArray(steps)

/**
 * Runs another step if the program fails with an error of this tag.
 *
 * **Gotchas**
 *
 * A channel that the broker has closed stays closed: after an `AmqpChannelError` from the broker, later operations of
 * the same program fail with it too. To continue on another channel, handle the error of {@link run}.
 *
 * @category combinators
 * @since 0.1.0
 */
export const catchTag: {
  <E, const K extends E extends { readonly _tag: string } ? E["_tag"] : never, B, E2, R2>(
    tag: K,
    f: (error: Extract<E, { readonly _tag: K }>) => Step<B, E2, R2>
  ): <A, R>(self: AmqpChannel<A, E, R>) => AmqpChannel<A | B, Exclude<E, { readonly _tag: K }> | E2, R | R2>
  <A, E, R, const K extends E extends { readonly _tag: string } ? E["_tag"] : never, B, E2, R2>(
    self: AmqpChannel<A, E, R>,
    tag: K,
    f: (error: Extract<E, { readonly _tag: K }>) => Step<B, E2, R2>
  ): AmqpChannel<A | B, Exclude<E, { readonly _tag: K }> | E2, R | R2>
} = dual(
  3,
  <A, E, R>(self: AmqpChannel<A, E, R>, tag: string, f: (error: unknown) => Step) => catchCases(self, { [tag]: f })
)

/**
 * Runs another step if the program fails with an error of one of these tags; see {@link catchTag}.
 *
 * A case may be optional or `undefined`: its errors remain in the type. Cases may be inherited, such as the methods of
 * a class.
 *
 * @category combinators
 * @since 0.1.0
 */
export const catchTags: {
  <E, Cases extends CatchCases<E>>(
    cases: Cases
  ): <A, R>(self: AmqpChannel<A, E, R>) => AmqpChannel<
    A | Success<CaseStep<Cases>>,
    Exclude<E, { readonly _tag: CaughtTags<Cases> }> | Error<CaseStep<Cases>>,
    R | Services<CaseStep<Cases>>
  >
  <A, E, R, Cases extends CatchCases<E>>(
    self: AmqpChannel<A, E, R>,
    cases: Cases
  ): AmqpChannel<
    A | Success<CaseStep<Cases>>,
    Exclude<E, { readonly _tag: CaughtTags<Cases> }> | Error<CaseStep<Cases>>,
    R | Services<CaseStep<Cases>>
  >
} = dual(
  2,
  (self: AmqpChannel<unknown, unknown, unknown>, cases: Readonly<Record<string, (error: unknown) => Step>>) =>
    catchCases(self, cases)
)

const catchCases = <A, E, R>(
  self: AmqpChannel<A, E, R>,
  cases: Readonly<Record<string, ((error: never) => Step) | undefined>>
): AmqpChannel<unknown, unknown, unknown> =>
  transform(
    self,
    (effect, channel) =>
      Effect.catch(effect, (error: unknown): Effect.Effect<unknown, unknown, unknown> => {
        const tag = typeof error === "object" && error !== null && "_tag" in error ? String(error._tag) : ""
        if (!isCase(cases, tag)) return Effect.fail(error)
        // The case of a tag takes errors with that tag.
        return Program.runOn(cases[tag]?.(error as never) ?? Effect.fail(error), channel)
      })
  )

/** Whether there is a case for a tag, own or inherited, but not inherited from `Object`. */
const isCase = (cases: Readonly<Record<string, unknown>>, tag: string): boolean =>
  tag in cases && (Object.hasOwn(cases, tag) || !(tag in Object.prototype))

type CatchCases<E> = {
  readonly [K in E extends { readonly _tag: string } ? E["_tag"] : never]?:
    | ((error: Extract<E, { readonly _tag: K }>) => Step)
    | undefined
}

/** The tags with a case. A case that may be missing does not count. */
type CaughtTags<Cases> = {
  [K in keyof Cases]-?: undefined extends Cases[K] ? never : Cases[K] extends (error: never) => Step ? K : never
}[keyof Cases]

type CaseStep<Cases> = {
  [K in keyof Cases]-?: NonNullable<Cases[K]> extends (error: never) => infer S ? S : never
}[keyof Cases]

/**
 * Runs a step when the program ends, however it ends. If the channel is closed by then, the step's channel operations
 * fail.
 *
 * @category combinators
 * @since 0.1.0
 */
export const ensuring: {
  <R2>(finalizer: Step<unknown, never, R2>): <A, E, R>(self: AmqpChannel<A, E, R>) => AmqpChannel<A, E, R | R2>
  <A, E, R, R2>(self: AmqpChannel<A, E, R>, finalizer: Step<unknown, never, R2>): AmqpChannel<A, E, R | R2>
} = dual(
  2,
  <A, E, R, R2>(self: AmqpChannel<A, E, R>, finalizer: Step<unknown, never, R2>) =>
    transform(self, (effect, channel) => Effect.ensuring(effect, Program.runOn(finalizer, channel)))
)

/**
 * Fails with a `TimeoutError` if the program takes longer than this. A pending request keeps its place on the channel,
 * and its late reply is dropped. Throws an `InvalidArgument` for anything but a duration from 0.
 *
 * @category combinators
 * @since 0.1.0
 */
export const timeout: {
  (duration: Duration.Input): <A, E, R>(self: AmqpChannel<A, E, R>) => AmqpChannel<A, E | Cause.TimeoutError, R>
  <A, E, R>(self: AmqpChannel<A, E, R>, duration: Duration.Input): AmqpChannel<A, E | Cause.TimeoutError, R>
} = dual(
  2,
  <A, E, R>(self: AmqpChannel<A, E, R>, duration: Duration.Input) =>
    transform(self, Effect.timeout(Validation.duration("duration", duration, 0)))
)

// -----------------------------------------------------------------------------
// runners
//
// Publishers, RPC clients and other runners that a program uses have channels of their own, and are not part of it.
// -----------------------------------------------------------------------------

/**
 * Runs the program on the calling fiber, on a channel that no other fiber can reach, and closes the channel however the
 * program ends.
 *
 * **Details**
 *
 * Besides the program's own errors, fails with an {@link AmqpChannelError}: `TooManyChannels` if no channel number
 * becomes free in time, `ConnectionLost` if the connection ends, and the broker's reason if it closes the channel.
 *
 * Publishes are not confirmed, but `run` succeeds only after the broker has closed the channel without an error: it
 * fails with `NotFound` for an exchange that does not exist, and with `Returned` for a mandatory message that no queue
 * took.
 *
 * If a program published nothing, fetched no message and left the channel unchanged, its channel is kept for the next
 * program.
 *
 * **Gotchas**
 *
 * A program notices that its channel was closed at its next operation on it, and not in the middle of another Effect.
 *
 * @category runners
 * @since 0.1.0
 */
export const run = <A, E, R>(
  self: AmqpChannel<A, E, R>
): Effect.Effect<A, E | AmqpChannelError, R | AmqpConnection.AmqpConnection> =>
  withChannel("run", (channel, program) =>
    Effect.flatMap(program(self), (value) =>
      // The time to close depends on how much was published: the wait has no limit, but can be interrupted.
      channel.lease.isUnconfirmed
        ? Effect.flatMap(channel.close, () => refusalOr(channel, value))
        : Effect.succeed(value)))

/**
 * Runs the program as {@link run} does, and succeeds only when the broker has confirmed each of its publishes
 * (RabbitMQ, "Publisher Confirms").
 *
 * **Details**
 *
 * Up to 1024 publishes are in flight at once. Fails with an `AmqpPublishAllError` if some were nacked, returned or have
 * an unknown outcome: it names each by its index among the program's publishes, from 0. A confirm that takes more than 60
 * seconds, apart from the time while the broker blocks the connection, is an unknown outcome (`ConfirmTimeout`), and the
 * connection is replaced if it has confirmed nothing else meanwhile, as for publishers. If the program fails, outstanding
 * confirms are not awaited: earlier publishes may still take effect.
 *
 * **Gotchas**
 *
 * Publishes of another runner within the program belong to that runner: with {@link run} they are not confirmed. A
 * warning is logged, once per connection.
 *
 * @category runners
 * @since 0.1.0
 */
export const confirmed = <A, E, R>(
  self: AmqpChannel<A, E, R>
): Effect.Effect<A, E | AmqpChannelError | AmqpPublishAllError, R | AmqpConnection.AmqpConnection> =>
  withChannel("confirmed", (channel, program, { session, supervisor }) => {
    const confirms = new ProgramConfirms()
    channel.programPublisher = confirms
    const confirming = Effect.tap(program(self), confirms.awaitAll)
    return channel.confirms === undefined
      ? confirming
      : beside(expireProgramConfirms(supervisor, session, channel.confirms, confirms.replacement), confirming)
  })

/** Runs an effect on this fiber, as long as another one runs beside it. */
const beside = <A, E, R>(other: Effect.Effect<never>, self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(
    Effect.forkChild(other, { startImmediately: true }),
    (fiber) => Effect.ensuring(self, Effect.sync(() => fiber.interruptUnsafe()))
  )

/**
 * Runs the program as {@link run} does, in a transaction (section 1.9 of the AMQP 0-9-1 reference): its publishes and
 * settlements take effect if it succeeds, and are rolled back if it fails or is interrupted.
 *
 * **Details**
 *
 * Messages that the program fetches and settles are part of the transaction: the handler of `AmqpQueue.get` may be a
 * program that publishes.
 *
 * Also fails with the broker's reply to the commit, and with `Returned` for a mandatory message that no queue took. An
 * interruption waits for a commit that has begun.
 *
 * **Gotchas**
 *
 * A transaction does not guarantee that messages reach a queue. RabbitMQ routes them at the commit: a message that no
 * queue takes is dropped, or returned if it is mandatory, and everything else is committed anyway, including
 * acknowledgements. A message that is taken from one queue and published to a queue that does not exist is lost. To
 * move messages use `AmqpQueue.move`, which acknowledges each message when its copy is confirmed.
 *
 * With quorum queues it does not guarantee that either. RabbitMQ replies to a commit when the queues have confirmed what they
 * took, but it forgets which messages a quorum queue has refused: because the queue is full (`overflow: "reject-publish"`),
 * or has no leader because a node has just gone. The commit succeeds, and these messages are lost. The reason is in its
 * source, the same in 3.10.8 and 4.3.5: the clause for `tx.commit` in `rabbit_channel.erl` notes the refusals as `tx = failed`,
 * and then sets `tx = committing`. A full classic queue makes the commit fail. Use {@link confirmed} with quorum queues.
 *
 * Only operations on the program's own channel are part of the transaction. A publisher, an RPC client, another runner,
 * or the `ack` of a consumer's delivery uses another channel, and takes effect even if the transaction is rolled back.
 * The first three log a warning, once per connection; the last dies with a `TypeError`.
 *
 * RabbitMQ commits atomically per queue: a broker that fails during a commit across several queues may have committed
 * only a part.
 *
 * **Example** (Handling a message and publishing the result, both or neither)
 *
 * ```ts
 * import { AmqpChannel, AmqpDelivery, AmqpMessage, AmqpQueue } from "@effect-amqp/core"
 *
 * const billOne = AmqpChannel.transaction(
 *   AmqpQueue.get("orders", ({ text }) =>
 *     AmqpChannel.publish(AmqpMessage.text(`bill for ${text}`), AmqpQueue.route("bills")).pipe(
 *       AmqpChannel.as(AmqpDelivery.ack)
 *     ))
 * )
 * ```
 *
 * @category runners
 * @since 0.1.0
 */
export const transaction = <A, E, R>(
  self: AmqpChannel<A, E, R>
): Effect.Effect<A, E | AmqpChannelError, R | AmqpConnection.AmqpConnection> =>
  withChannel(
    "transaction",
    (channel, program) =>
      Effect.flatMap(program(self), (value) => Effect.flatMap(channel.commit, () => refusalOr(channel, value)))
  )

const modes: Readonly<Record<Program.Runner, ChannelMode>> = {
  run: "plain",
  confirmed: "confirm",
  transaction: "transaction"
}

/** Runs a step on the channel, as the fiber's current program. */
type RunProgram = <A, E, R>(step: Step<A, E, R>) => Effect.Effect<A, E, R>

const withChannel = <A, E, R>(
  runner: Program.Runner,
  use: (channel: Channel, program: RunProgram, host: ProgramHost) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | AmqpChannelError, R | AmqpConnection.AmqpConnection> =>
  Effect.flatMap(AmqpConnection.AmqpConnection, (connection) => {
    Program.warnOfOutsider(`AmqpChannel.${runner}`)
    const supervisor = supervisorOf(connection)
    return Effect.flatMap(
      supervisor.awaitSession,
      (session) =>
        useChannel(session.channels, runner, (channel, program) => use(channel, program, { supervisor, session }))
    )
  })

/** Where a program runs. */
interface ProgramHost {
  readonly supervisor: Supervisor
  readonly session: Session
}

const useChannel = <A, E, R>(
  channels: Channels,
  runner: Program.Runner,
  use: (channel: Channel, program: RunProgram) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | AmqpChannelError, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(channels.lease(modes[runner], restore), (channel) => {
      const running = new Program.RunningProgram(runner, channel)
      Program.setRunning(running, true)
      const program: RunProgram = (step) =>
        Effect.provideService(Program.runOn(step, channel), Program.CurrentProgram, running)
      return Effect.flatMap(
        Effect.exit(restore(Effect.suspend(() => use(channel, program)))),
        (exit) => {
          Program.setRunning(running, false)
          return Effect.andThen(
            // Closing the channel of a transaction without a commit rolls it back.
            Exit.isSuccess(exit) ? channels.giveBack(channel) : channels.close(channel),
            exit
          )
        }
      )
    })
  )

/** Fails if the broker refused or returned a publish of the program, and otherwise yields the program's value. */
const refusalOr = <A>(channel: Channel, value: A): Effect.Effect<A, AmqpChannelError> => {
  const { failure, lease: { firstReturned: returned } } = channel
  if (failure !== undefined && failure.reason._tag !== "ChannelClosed") return Effect.fail(failure)
  return returned === undefined ? Effect.succeed(value) : Effect.fail(new AmqpChannelError({ reason: returned }))
}

// -----------------------------------------------------------------------------
// operations
// -----------------------------------------------------------------------------

/**
 * Where a message is published to.
 *
 * @category models
 * @since 0.1.0
 */
export interface PublishOptions {
  /**
   * The exchange, by name or description; `""` is the default exchange, which routes to the queue that the routing key
   * names.
   */
  readonly exchange: string | AmqpExchange
  /** At most 255 bytes of UTF-8. */
  readonly routingKey: string
  /**
   * Whether the publish fails with the reason `Returned` if no queue takes the message. Otherwise the message is
   * dropped. Default: `false`.
   */
  readonly mandatory?: boolean | undefined
}

/**
 * Publishes a message (`basic.publish`). Succeeds when the message was handed to the socket.
 *
 * **Details**
 *
 * Waits while the socket is full or the broker asks publishers to pause. A body above 256 KiB is sent in pieces, so
 * that other channels get their turn; later operations of the program wait until it is sent.
 *
 * The runner determines whether the broker has the message: {@link confirmed} waits for its confirm, {@link
 * transaction} commits, and {@link run} fails for a refused message when the channel is closed.
 *
 * @category operations
 * @since 0.1.0
 */
export const publish = (
  message: AmqpMessage.AmqpMessage,
  options: PublishOptions
): AmqpChannel<void, AmqpChannelError> =>
  Program.makeImmediate((channel) =>
    mayPublish(channel)
      ? publishNow(channel, message, options)
      : Effect.flatMap(awaitPublishing(channel), () => publishNow(channel, message, options))
  )

const publishNow = (
  channel: Channel,
  message: AmqpMessage.AmqpMessage,
  options: PublishOptions
): Effect.Effect<void, AmqpChannelError> => {
  if (channel.failure !== undefined) return Effect.fail(channel.failure)
  try {
    const route = routeOf(options)
    const { body, properties } = message
    const { programPublisher } = channel
    if (programPublisher === undefined) channel.publish(route, properties, body)
    else programPublisher.publish(channel, route, properties, body)
    return Effect.void
  } catch (error) {
    return Effect.fail(failureOfStep(error))
  }
}

const mayPublish = ({ hasRoom, programPublisher }: Channel): boolean => hasRoom && (programPublisher?.hasRoom ?? true)

const awaitPublishing = (channel: Channel): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (!channel.hasRoom) return Effect.andThen(channel.awaitRoom, awaitPublishing(channel))
    const { programPublisher } = channel
    return programPublisher?.hasRoom === false
      ? Effect.andThen(programPublisher.awaitRoom, awaitPublishing(channel))
      : Effect.void
  })

/**
 * Limits the number of unacknowledged messages that the broker sends to each consumer that is started later on this
 * channel (`basic.qos`): 0 to 65535, 0 is no limit. With `global: true` the limit applies to the channel as a whole
 * (RabbitMQ, "Consumer Prefetch").
 *
 * @category operations
 * @since 0.1.0
 */
export const qos = (options: {
  readonly prefetchCount: number
  readonly global?: boolean | undefined
}): AmqpChannel<void, AmqpChannelError> =>
  Program.make((channel) =>
    Effect.flatMap(
      Validation.attempt(() => {
        const { global, prefetchCount } = Validation.knownKeys(options, ["prefetchCount", "global"])
        return {
          global: Validation.flag("global", global),
          prefetchCount: Validation.wholeNumber("prefetchCount", prefetchCount, 0, 65535)
        }
      }),
      ({ global, prefetchCount }) => {
        channel.lease.altered()
        return Effect.asVoid(channel.request({ _tag: "basic.qos", prefetchSize: 0, prefetchCount, global }))
      }
    )
  )

/**
 * Makes the broker redeliver all messages that this channel received and did not settle (`basic.recover`). Sends
 * `requeue: true`, which RabbitMQ requires.
 *
 * @category operations
 * @since 0.1.0
 */
export const recover: AmqpChannel<void, AmqpChannelError> = Program.make((channel) =>
  Effect.suspend(() => {
    // Sends due settlements; nothing else can be settled afterwards.
    channel.acknowledgements.flush()
    channel.acknowledgements.close()
    return Effect.asVoid(channel.request({ _tag: "basic.recover", requeue: true }))
  })
)
