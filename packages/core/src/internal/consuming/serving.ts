/**
 * Runs the handler of a consumer: the inbox of its subscription, and the slots that take messages from it.
 *
 * Slots are started when messages arrive, up to the concurrency. A handler runs in the fiber of its slot, so a message costs no fiber. The
 * fibers of slots are detached, and only handlers and pauses are interruptible: slots stop when the scope of the consumer closes, or
 * when the consumer has ended.
 *
 * The subscription calls `fail` when it ends. No handler starts after that. Handlers that are running may finish within the drain timeout,
 * and then `ended` is completed.
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as AmqpError from "../../AmqpError.ts"
import type { Acknowledgements } from "../channel/acknowledgements.ts"
import { CurrentProgram } from "../channel/program.ts"
import { Signal } from "../common/signal.ts"
import { Decisions } from "./decisions.ts"
import type { DecisionHost, FailurePolicies } from "./decisions.ts"
import { Received } from "./delivery.ts"
import { checked } from "./handlerResult.ts"
import type { Unchecked } from "./handlerResult.ts"
import type { Inbox, SubscriptionError } from "./inbox.ts"
import { MessageBuffer } from "./messageBuffer.ts"
import * as Settlements from "./settlement.ts"
import { CurrentSlot, Slot } from "./slot.ts"
import type { Subscription } from "./subscription.ts"

/** Why a consumer with a handler ends. */
export type ServingError = SubscriptionError | AmqpError.AmqpConsumerStopped

export interface ServingOptions<R> extends FailurePolicies<R> {
  readonly concurrency: number
  /** In milliseconds. */
  readonly drainTimeout: number
  readonly handle: (delivery: Received) => Unchecked<R>
  /** Runs a handler within a span. `settle` runs the handler and carries out what it decides. */
  readonly inSpan:
    | ((
      delivery: Received,
      handled: Unchecked<R>,
      settle: (handled: Unchecked<R>) => Effect.Effect<void, never, R>
    ) => Effect.Effect<void, never, R>)
    | undefined
  /** Runs after each settlement, on channels in transaction mode. */
  readonly commit: Effect.Effect<void, AmqpError.AmqpChannelError> | undefined
}

/** With unlimited concurrency, at most this many fibers wait for the next message. */
const maxIdle = 64

export class Serving<R> implements Inbox<Received>, DecisionHost<R> {
  /** Succeeds when the consumer was stopped, and fails with its error otherwise, in both cases after the handlers have ended. */
  readonly ended = Deferred.makeUnsafe<void, ServingError>()
  /** Runs after each settlement, on channels in transaction mode. If a commit fails, the consumer ends. */
  readonly commit: Effect.Effect<void> | undefined
  /** Whether the subscription has ended, or `stop` is complete. */
  hasEnded = false

  private readonly options: ServingOptions<R>
  private readonly context: Context.Context<R>
  private readonly decisions: Decisions<R>
  /** Absent before `begin`. */
  private subscription: Subscription<Received> | undefined
  private readonly buffer = new MessageBuffer<Received>()
  private readonly slots = new Set<Slot<R>>()
  /** Resumes a slot that waits for a message, for each such slot. */
  private readonly idle: Array<() => void> = []
  /** What slots do next instead of taking a message. */
  private readonly jobs: Array<Effect.Effect<void, never, R>> = []
  /** Whether no handler starts any longer. */
  private isStopping = false
  private readonly stopping = Latch.makeUnsafe(false)
  /** Whether `stop` has cancelled the consumer. */
  private isCancelled = false
  private error: ServingError | undefined
  /** While the consumer stops: a slot no longer has a message. */
  private readonly slotFinished = new Signal()

  constructor(options: ServingOptions<R>, context: Context.Context<R>) {
    this.options = options
    this.context = context
    this.commit = options.commit && Effect.catch(options.commit, (error) => Effect.sync(() => this.fail(error)))
    this.decisions = new Decisions(this, options)
  }

  /** Starts with the messages that have arrived. */
  begin(subscription: Subscription<Received>): void {
    this.subscription = subscription
    this.flush()
  }

  get acknowledgements(): Acknowledgements | undefined {
    return this.subscription?.channel.acknowledgements
  }

  // ---------------------------------------------------------------------------
  // the inbox
  // ---------------------------------------------------------------------------

  get size(): number {
    return this.buffer.size
  }

  offer(item: Received): void {
    this.buffer.offer(item)
  }

  flush(): void {
    if (this.isStopping || this.subscription === undefined) return
    while (this.buffer.size > 0 || this.jobs.length > 0) {
      const resume = this.idle.pop()
      if (resume !== undefined) resume()
      else if (this.slots.size < this.options.concurrency) this.startSlot()
      else return
    }
  }

  clear(): ReadonlyArray<Received> {
    return this.buffer.clear()
  }

  /** The consumer has ended: because the program cancelled it (`Done`), or with an error. */
  fail(error: ServingError | Cause.Done): void {
    if (this.hasEnded) return
    this.hasEnded = true
    if (Cause.isDone(error)) return
    this.error = error
    this.beginStop()
    const { drainTimeout } = this.options
    this.fork(
      Effect.andThen(
        this.drain(undefined, this.awaitOthers(undefined), drainTimeout),
        Deferred.fail(this.ended, error)
      )
    )
  }

  /**
   * Settles a message that no handler has. In transaction mode that happens between the messages of a slot, with a commit of its own: it
   * must not become part of what a handler commits or rolls back.
   */
  settleBetween(settle: () => boolean): void {
    const { commit } = this
    if (commit === undefined) return void settle()
    this.jobs.push(Effect.suspend(() => settle() ? commit : Effect.void))
    this.flush()
  }

  // ---------------------------------------------------------------------------
  // slots
  // ---------------------------------------------------------------------------

  private fork(effect: Effect.Effect<unknown, never, R>): Fiber.Fiber<unknown> {
    return Effect.runForkWith(this.context)(effect)
  }

  private startSlot(): void {
    const slot = this.makeSlot()
    this.run(slot, this.loop(slot))
  }

  private makeSlot(): Slot<R> {
    const slot = new Slot<R>((slot) => this.workOf(slot))
    this.slots.add(slot)
    return slot
  }

  private workOf(slot: Slot<R>): Effect.Effect<void, never, R> {
    const { handle, inSpan } = this.options
    const handler = Effect.scoped(Effect.interruptible(Effect.suspend(() => {
      const { current } = slot
      if (current === undefined) return Effect.void
      slot.isHandling = true
      return checked(handle(current), "handler")
    }))) as Unchecked<R>
    const settle = (handler: Unchecked<R>): Effect.Effect<void, never, R> => this.decisions.handle(slot, handler)
    return inSpan === undefined
      ? settle(handler)
      : Effect.suspend(() => slot.current === undefined ? Effect.void : inSpan(slot.current, handler, settle))
  }

  private run(slot: Slot<R>, work: Effect.Effect<void, never, R>): void {
    const fiber = this.fork(
      Effect.uninterruptible(work).pipe(
        Effect.provideService(CurrentSlot, slot.token),
        // The program in which the consumer was started, if any, is not that of its handlers.
        Effect.provideService(CurrentProgram, undefined)
      )
    )
    slot.fiber = fiber
    fiber.addObserver((exit) => {
      if (!slot.isRetired) this.fiberEnded(slot, exit)
    })
  }

  /** Takes one message after another, while there is work for this fiber. */
  private loop(slot: Slot<R>): Effect.Effect<void, never, R> {
    const pausing = Effect.suspend(() => {
      slot.isPausing = true
      return Effect.map(this.sleep(slot.pause), () => {
        slot.pause = 0
        slot.isPausing = false
      })
    })
    const waiting = Effect.callback<void>((resume) => {
      this.idle.push(() => resume(Effect.void))
    })
    return Effect.whileLoop({
      while: () => {
        if (slot.isRetired) return false
        if (this.isStopping) return this.leave(slot)
        slot.job = this.jobs.shift()
        if (slot.job !== undefined) return true
        slot.current ??= this.take()
        return slot.current !== undefined || this.idle.length < maxIdle || this.leave(slot)
      },
      body: () => slot.job ?? (slot.current === undefined ? waiting : slot.pause > 0 ? pausing : slot.work),
      step: () => {}
    })
  }

  private take(): Received | undefined {
    const item = this.buffer.take()
    if (item !== undefined) this.subscription?.taken(Received.sizeOf(item))
    return item
  }

  /** Ends a slot. If it has a message, that is requeued. */
  private leave(slot: Slot<R>): false {
    const { current } = slot
    this.retire(slot)
    if (current !== undefined) this.requeueIfCancelled(current)
    this.finish(slot)
    return false
  }

  private retire(slot: Slot<R>): void {
    slot.isRetired = true
    this.slots.delete(slot)
  }

  finish(slot: Slot<R>): void {
    slot.clear()
    if (this.isStopping) this.slotFinished.notify()
  }

  continueAfter(
    slot: Slot<R>,
    cause: Cause.Cause<unknown>,
    next: (slot: Slot<R>) => Effect.Effect<void, never, R>
  ): Effect.Effect<void, never, R> {
    // Nothing interruptible can run on a fiber that was interrupted.
    return Cause.hasInterrupts(cause) ? Effect.sync(() => this.replace(slot, next)) : next(slot)
  }

  /** Gives the message of a slot to a new slot, which runs `next` first. */
  private replace(slot: Slot<R>, next: (slot: Slot<R>) => Effect.Effect<void, never, R>): void {
    const successor = this.makeSlot()
    successor.inherit(slot)
    this.retire(slot)
    slot.clear()
    this.run(successor, Effect.andThen(next(successor), this.loop(successor)))
  }

  /**
   * The fiber of a slot has ended unexpectedly: it was interrupted while it paused, or it was given a value that is not an Effect, which
   * ends a fiber at once. Without a new slot its message would stay unsettled, and no fiber might take others.
   */
  private fiberEnded(slot: Slot<R>, exit: Exit.Exit<unknown>): void {
    const { current } = slot
    const cause = Exit.isFailure(exit) ? exit.cause : Cause.empty
    if (current === undefined || slot.isAbandoned || this.isStopping) {
      this.retire(slot)
      this.finish(slot)
    } else if (slot.isHandling && this.commit !== undefined) {
      // The next commit would include messages that the handler has published. Closing the channel drops them.
      this.retire(slot)
      this.finish(slot)
      return this.fail(new AmqpError.AmqpConsumerStopped({ queue: current.queue, cause: Cause.squash(cause) }))
    } else if (slot.isHandling) {
      this.replace(slot, (successor) => this.decisions.failed(successor, cause))
    } else if (Cause.hasInterruptsOnly(cause)) {
      // The new slot pauses again.
      this.replace(slot, () => Effect.void)
    } else {
      // A failure policy died, or a logger that it uses.
      const pause = Settlements.defaultHoldMillis
      this.replace(slot, (successor) => this.decisions.carryOut(successor, { _tag: "RequeueAfter", pause }, cause))
    }
    this.flush()
  }

  // ---------------------------------------------------------------------------
  // messages that no handler has
  // ---------------------------------------------------------------------------

  requeueLater(delivery: Received, millis: number): void {
    if (this.isStopping) return this.requeueIfCancelled(delivery)
    this.fork(Effect.map(this.sleep(millis), () => {
      const { acknowledgements } = this
      // When the consumer stops, the message is requeued with all others.
      if (this.isStopping || acknowledgements === undefined) return
      this.settleBetween(() => Received.nack(delivery, acknowledgements, true))
    }))
  }

  /** After a cancel, messages are requeued one by one. Otherwise closing the channel requeues them all. */
  private requeueIfCancelled(delivery: Received): void {
    if (this.isCancelled) this.subscription?.requeue([delivery.deliveryTag])
  }

  /** Waits for a time in milliseconds, or until the consumer stops. */
  private sleep(millis: number): Effect.Effect<void> {
    return Effect.interruptible(Effect.raceFirst(Effect.sleep(millis), this.stopping.await))
  }

  // ---------------------------------------------------------------------------
  // stopping
  // ---------------------------------------------------------------------------

  /** No handler starts any longer, and pauses end. */
  private beginStop(): void {
    if (this.isStopping) return
    this.isStopping = true
    this.stopping.openUnsafe()
    for (const resume of this.idle.splice(0)) resume()
  }

  /** Stops in the order that the subscription requires, within the drain timeout. A handler that calls this is not waited for. */
  readonly stop: Effect.Effect<void> = Effect.withFiber((fiber) => {
    const own = fiber.getRef(CurrentSlot)
    const { subscription } = this
    this.beginStop()
    const others = this.awaitOthers(own)
    let inOrder = others
    if (subscription !== undefined && !this.hasEnded) {
      const cancel = Effect.andThen(subscription.cancel, Effect.sync(() => this.requeueUnhandled(subscription)))
      const { kind, savesAttempts } = subscription.stopOrder
      if (kind === "Cancel") inOrder = Effect.andThen(cancel, others)
      else if (kind === "DrainThenCancel") inOrder = Effect.andThen(others, cancel)
      if (savesAttempts) inOrder = Effect.andThen(inOrder, subscription.awaitRequeued)
    }
    return Effect.andThen(
      this.drain(own, inOrder, this.options.drainTimeout),
      Effect.sync(() => {
        this.hasEnded = true
        Deferred.doneUnsafe(this.ended, this.error === undefined ? Effect.void : Effect.fail(this.error))
      })
    )
  })

  /** Runs `inOrder` for at most the timeout, and interrupts the handlers that are still running then, except its own. */
  private drain(own: object | undefined, inOrder: Effect.Effect<void>, timeout: number): Effect.Effect<void> {
    return Effect.andThen(
      Effect.timeoutOption(Effect.interruptible(inOrder), timeout),
      Effect.sync(() => {
        for (const slot of Array.from(this.slots)) {
          if (slot.current === undefined) continue
          slot.isAbandoned = true
          if (slot.token !== own) slot.fiber?.interruptUnsafe()
        }
      })
    )
  }

  /** Waits until no other slot has a message. */
  private awaitOthers(own: object | undefined): Effect.Effect<void> {
    return this.slotFinished.until(() => {
      for (const { current, isAbandoned, token } of this.slots) {
        if (token !== own && current !== undefined && !isAbandoned) return false
      }
      return true
    })
  }

  /** Requeues every message that no handler is running with. */
  private requeueUnhandled(subscription: Subscription<Received>): void {
    const handled = new Set<number>()
    for (const { current, isPausing } of this.slots) {
      if (current !== undefined && !isPausing) handled.add(current.deliveryTag)
    }
    this.isCancelled = true
    this.clear()
    subscription.requeue(subscription.channel.acknowledgements.openTags().filter((tag) => !handled.has(tag)))
  }
}
