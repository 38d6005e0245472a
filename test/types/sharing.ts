/**
 * A channel can't be shared: nothing that forks, races, runs in parallel, caches or repeats accepts a channel program.
 *
 * Each rejection follows the same call with a program that is run, which compiles: so the program is rejected, and not
 * something else in the line.
 */
import { AmqpChannel, AmqpQueue } from "@effect-amqp/core"
import type { AmqpConnection } from "@effect-amqp/core"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cache from "effect/Cache"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberMap from "effect/FiberMap"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import type * as ManagedRuntime from "effect/ManagedRuntime"
import * as Pool from "effect/Pool"
import * as RcRef from "effect/RcRef"
import * as Schedule from "effect/Schedule"
import * as ScopedCache from "effect/ScopedCache"
import * as Stream from "effect/Stream"

class Depth extends Context.Service<Depth, number>()("Depth") {}

declare const connected: Layer.Layer<AmqpConnection.AmqpConnection>
declare const scope: Effect.Success<typeof Effect.scope>
declare const fibers: FiberSet.FiberSet<number, AmqpChannel.Error<typeof program>>
declare const fiberMap: FiberMap.FiberMap<string, number, AmqpChannel.Error<typeof program>>
declare const deferred: Deferred.Deferred<number, AmqpChannel.Error<typeof program>>
declare const runtime: ManagedRuntime.ManagedRuntime<AmqpConnection.AmqpConnection, never>

const program = AmqpQueue.declare("orders").pipe(AmqpChannel.map(({ messageCount }) => messageCount))
const effect = AmqpChannel.run(program)

// -----------------------------------------------------------------------------
// forking
// -----------------------------------------------------------------------------

Effect.forkChild(effect)
// @ts-expect-error a channel can't be shared with a child fiber
Effect.forkChild(program)

effect.pipe(Effect.forkChild)
// @ts-expect-error a channel can't be shared with a child fiber in a pipe
program.pipe(Effect.forkChild)

Effect.forkDetach(effect)
// @ts-expect-error a channel can't be shared with a detached fiber
Effect.forkDetach(program)

Effect.forkScoped(effect)
// @ts-expect-error a channel can't be shared with a scoped fiber
Effect.forkScoped(program)

Effect.forkIn(effect, scope)
// @ts-expect-error a channel can't be shared with a fiber of another scope
Effect.forkIn(program, scope)

FiberSet.run(fibers, effect)
// @ts-expect-error a channel can't be shared with a fiber of a FiberSet
FiberSet.run(fibers, program)

FiberMap.run(fiberMap, "key", effect)
// @ts-expect-error a channel can't be shared with a fiber of a FiberMap
FiberMap.run(fiberMap, "key", program)

declare const fiber: Effect.Success<ReturnType<typeof Effect.forkChild<typeof effect>>>
Fiber.join(fiber)
// @ts-expect-error a program is not a fiber
Fiber.join(program)

// -----------------------------------------------------------------------------
// several at once
// -----------------------------------------------------------------------------

Effect.all([effect, effect], { concurrency: 2 })
// @ts-expect-error two fibers can't use a channel at the same time
Effect.all([program, program], { concurrency: 2 })

Effect.all({ first: effect, second: effect })
// @ts-expect-error a sequence of programs needs AmqpChannel.all
Effect.all({ first: program, second: program })

Effect.forEach([1, 2], () => effect, { concurrency: 2 })
// @ts-expect-error fibers for the elements of an array can't share a channel
Effect.forEach([1, 2], () => program, { concurrency: 2 })

Effect.zip(effect, effect, { concurrent: true })
// @ts-expect-error fibers of a zip can't share a channel
Effect.zip(program, program, { concurrent: true })

Effect.validate([1, 2], () => effect, { concurrency: 2 })
// @ts-expect-error fibers of a validation can't share a channel
Effect.validate([1, 2], () => program, { concurrency: 2 })

Effect.partition([1, 2], () => effect, { concurrency: 2 })
// @ts-expect-error fibers of a partition can't share a channel
Effect.partition([1, 2], () => program, { concurrency: 2 })

Effect.race(effect, effect)
// @ts-expect-error a race runs both programs at the same time
Effect.race(program, program)

Effect.raceFirst(effect, effect)
// @ts-expect-error raceFirst runs both programs at the same time
Effect.raceFirst(program, program)

Effect.raceAll([effect, effect])
// @ts-expect-error raceAll runs all programs at the same time
Effect.raceAll([program, program])

Effect.timeout(effect, "1 second")
// @ts-expect-error a timeout is a race; use AmqpChannel.timeout
Effect.timeout(program, "1 second")

Effect.timeoutOption(effect, "1 second")
// @ts-expect-error a timeout that yields an Option is a race
Effect.timeoutOption(program, "1 second")

Stream.mapEffect(Stream.make(1), () => effect, { concurrency: 4 })
// @ts-expect-error a Stream may run the effects of its elements concurrently
Stream.mapEffect(Stream.make(1), () => program, { concurrency: 4 })

Stream.runForEach(Stream.make(1), () => effect)
// @ts-expect-error a Stream may run an effect in any fiber
Stream.runForEach(Stream.make(1), () => program)

Stream.fromEffect(effect)
// @ts-expect-error a Stream may run in any fiber
Stream.fromEffect(program)

// -----------------------------------------------------------------------------
// caching and repeating
// -----------------------------------------------------------------------------

Effect.cached(effect)
// @ts-expect-error a channel closes with its program, so it can't be cached
Effect.cached(program)

Effect.cachedWithTTL(effect, "1 minute")
// @ts-expect-error a channel can't be cached for a time
Effect.cachedWithTTL(program, "1 minute")

Cache.make({ lookup: (_: string) => effect, capacity: 1 })
// @ts-expect-error a channel can't be cached by a key
Cache.make({ lookup: (_: string) => program, capacity: 1 })

ScopedCache.make({ lookup: (_: string) => effect, capacity: 1 })
// @ts-expect-error a channel can't be cached for a scope
ScopedCache.make({ lookup: (_: string) => program, capacity: 1 })

Pool.make({ acquire: effect, size: 1 })
// @ts-expect-error a channel can't be pooled
Pool.make({ acquire: program, size: 1 })

RcRef.make({ acquire: effect })
// @ts-expect-error a channel can't be reference-counted
RcRef.make({ acquire: program })

Deferred.complete(deferred, effect)
// @ts-expect-error a channel can't be passed to a waiting fiber
Deferred.complete(deferred, program)

Effect.retry(effect, Schedule.recurs(1))
// @ts-expect-error a retry needs another channel, because a closed channel stays closed
Effect.retry(program, Schedule.recurs(1))

Effect.repeat(effect, Schedule.recurs(1))
// @ts-expect-error a repetition needs another channel
Effect.repeat(program, Schedule.recurs(1))

// -----------------------------------------------------------------------------
// layers and resources
// -----------------------------------------------------------------------------

Layer.effectDiscard(effect)
// @ts-expect-error a layer may be built by any fiber
Layer.effectDiscard(program)

Layer.effect(Depth, effect)
// @ts-expect-error a layer of a service may be built by any fiber
Layer.effect(Depth, program)

Effect.acquireRelease(effect, () => Effect.void)
// @ts-expect-error a resource can't outlive the channel of a program
Effect.acquireRelease(program, () => Effect.void)

Effect.acquireRelease(Effect.void, () => Effect.ignore(effect))
// @ts-expect-error a finalizer may run in any fiber
Effect.acquireRelease(Effect.void, () => program)

Effect.addFinalizer(() => Effect.ignore(effect))
// @ts-expect-error a finalizer may run in any fiber
Effect.addFinalizer(() => program)

Effect.ensuring(Effect.void, Effect.ignore(effect))
// @ts-expect-error a program as a finalizer needs AmqpChannel.ensuring
Effect.ensuring(Effect.void, program)

Effect.onExit(Effect.void, () => Effect.ignore(effect))
// @ts-expect-error an Effect has no channel for a program in onExit
Effect.onExit(Effect.void, () => program)

Effect.scoped(effect)
// @ts-expect-error a program's channel does not belong to a scope of the caller
Effect.scoped(program)

Effect.provide(effect, connected)
// @ts-expect-error run the program, then provide the connection
Effect.provide(program, connected)

Effect.provideService(effect, Depth, 1)
// @ts-expect-error run the program, then provide the service
Effect.provideService(program, Depth, 1)

// -----------------------------------------------------------------------------
// composing
// -----------------------------------------------------------------------------

Effect.gen(function*() {
  yield* effect
})
// @ts-expect-error an Effect has no channel to run a program on
Effect.gen(function*() {
  yield* program
})

Effect.fn("orders")(function*() {
  yield* effect
})
// @ts-expect-error a traced function has no channel to run a program on
Effect.fn("orders")(function*() {
  yield* program
})

Effect.fnUntraced(function*() {
  yield* effect
})
// @ts-expect-error an untraced function has no channel to run a program on
Effect.fnUntraced(function*() {
  yield* program
})

// A program can't start another fiber on its own channel.
AmqpChannel.gen(function*() {
  yield* Effect.forkChild(effect)
  // @ts-expect-error a child fiber would share the channel
  yield* Effect.forkChild(program)
})

Effect.map(effect, (count) => count)
// @ts-expect-error use AmqpChannel.map
Effect.map(program, (count) => count)

Effect.flatMap(Effect.void, () => effect)
// @ts-expect-error use AmqpChannel.fromEffect or AmqpChannel.gen
Effect.flatMap(Effect.void, () => program)

Effect.flatMap(effect, Effect.succeed)
// @ts-expect-error use AmqpChannel.flatMap
Effect.flatMap(program, Effect.succeed)

Effect.andThen(Effect.void, effect)
// @ts-expect-error use AmqpChannel.andThen
Effect.andThen(Effect.void, program)

Effect.tap(Effect.void, () => effect)
// @ts-expect-error use AmqpChannel.tap
Effect.tap(Effect.void, () => program)

Effect.catch(effect, () => Effect.void)
// @ts-expect-error use AmqpChannel.catchTag
Effect.catch(program, () => Effect.void)

Effect.catch(effect, () => effect)
// @ts-expect-error an Effect can't continue with a program
Effect.catch(effect, () => program)

Effect.exit(effect)
// @ts-expect-error a program has an exit only after a run
Effect.exit(program)

Effect.suspend(() => effect)
// @ts-expect-error a program is already a description
Effect.suspend(() => program)

Effect.withSpan(effect, "orders")
// @ts-expect-error a span belongs around the run of a program
Effect.withSpan(program, "orders")

AmqpChannel.fromEffect(effect)
// @ts-expect-error a program needs no fromEffect
AmqpChannel.fromEffect(program)

AmqpChannel.run(program)
// @ts-expect-error an Effect can't be run on a channel
AmqpChannel.run(effect)

// -----------------------------------------------------------------------------
// running
// -----------------------------------------------------------------------------

const runnable = Effect.provide(effect, connected)

void Effect.runPromise(runnable)
// @ts-expect-error only AmqpChannel.run opens a channel
void Effect.runPromise(program)

void Effect.runPromiseExit(runnable)
// @ts-expect-error only AmqpChannel.run opens a channel
void Effect.runPromiseExit(program)

Effect.runFork(runnable)
// @ts-expect-error only AmqpChannel.run opens a channel
Effect.runFork(program)

Effect.runSync(runnable)
// @ts-expect-error only AmqpChannel.run opens a channel
Effect.runSync(program)

Effect.runCallback(runnable)
// @ts-expect-error only AmqpChannel.run opens a channel
Effect.runCallback(program)

void runtime.runPromise(effect)
// @ts-expect-error only AmqpChannel.run opens a channel
void runtime.runPromise(program)

runtime.runFork(effect)
// @ts-expect-error only AmqpChannel.run opens a channel
runtime.runFork(program)

NodeRuntime.runMain(runnable)
// @ts-expect-error only AmqpChannel.run opens a channel
NodeRuntime.runMain(program)

// @ts-expect-error a run requires a connection
void Effect.runPromise(effect)

// -----------------------------------------------------------------------------
// passing a program as an Effect
// -----------------------------------------------------------------------------

declare const takesEffect: (effect: Effect.Effect<unknown, unknown, unknown>) => void
takesEffect(effect)
// @ts-expect-error a program is not an Effect
takesEffect(program)

declare const takesExit: (exit: Exit.Exit<unknown, unknown>) => void
takesExit(Exit.void)
// @ts-expect-error a program is not an Exit
takesExit(program)
