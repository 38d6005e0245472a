/**
 * Runs the handler of a consumer: the inbox of its subscription, and the slots that take messages from it.
 *
 * Slots are started when messages arrive, up to the concurrency. A handler runs in the fiber of its slot, so a message costs no fiber. The
 * fibers of slots are detached, and only handlers and pauses are interruptible: slots stop when the scope of the consumer closes, or
 * when the consumer has ended.
 *
 * A consumer has one subscription after the other, and the slots stay. Between two subscriptions no handler starts. Handlers that are
 * running go on, but what they decide is dropped if their channel has closed; pauses before another attempt end, and their messages are
 * dropped too.
 *
 * `fail` ends the consumer. No handler starts after that. Handlers that are running may finish within the drain timeout, and then `ended` is
 * completed.
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as AmqpError from "../../AmqpError.ts"
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
  /** Called when a subscription has begun to consume, before its first message is handled. */
  readonly onBegin: (subscription: Subscription) => void
}

/** With unlimited concurrency, at most this many fibers wait for the next message. */
const maxIdle = 64

/** The time in which a subscription consumes. Pauses end with it. */
class Turn {
  readonly over = Latch.makeUnsafe(false)
  /** Whether the messages of the subscription are no longer valid. */
  isInterrupted = false
}

export class Serving<R> implements Inbox, DecisionHost<R> {
  /** Succeeds when the consumer was stopped, and fails with its error otherwise, in both cases after the handlers have ended. */
  readonly ended = Deferred.makeUnsafe<void, ServingError>()
  /** Runs after each settlement, on channels in transaction mode. If a commit fails, its channel can't be used any longer. */
  readonly commit: Effect.Effect<void> | undefined
  /** Whether the consumer has ended, or `stop` is complete. */
  hasEnded = false

  private readonly options: ServingOptions<R>
  private readonly context: Context.Context<R>
  private readonly decisions: Decisions<R>
  /** The current or the last one. Absent before the first `begin`. */
  private subscription: Subscription | undefined
  /** Whether handlers start: a subscription consumes, and the consumer is not stopping. */
  private isServing = false
  private turn = new Turn()
  private readonly buffer = new MessageBuffer<Received>()
  private readonly slots = new Set<Slot<R>>()
  /** Resumes a slot that waits for a message, for each such slot. */
  private readonly idle: Array<() => void> = []
  /** What slots do next instead of taking a message. */
  private readonly jobs: Array<Effect.Effect<void, never, R>> = []
  /** Whether the consumer stops or has ended, so that slots end. */
  private isStopping = false
  private error: ServingError | undefined
  /** While no handler starts: a slot no longer has a message. */
  private readonly slotFinished = new Signal()

  constructor(options: ServingOptions<R>, context: Context.Context<R>) {
    this.options = options
    this.context = context
    this.commit = options.commit && this.orAbandon(options.commit)
    this.decisions = new Decisions(this, options)
  }

  private orAbandon(commit: Effect.Effect<void, AmqpError.AmqpChannelError>): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { subscription } = this
      return Effect.catch(commit, (error) => Effect.sync(() => subscription?.abandon(error)))
    })
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
    if (!this.isServing) return
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

  /** Starts with the messages that have arrived. */
  begin(subscription: Subscription): void {
    if (this.isStopping) return
    this.subscription = subscription
    this.turn = new Turn()
    this.isServing = true
    this.options.onBegin(subscription)
    this.flush()
  }

  interrupted(): void {
    this.isServing = false
    this.turn.isInterrupted = true
    this.turn.over.openUnsafe()
  }

  awaitHandled(subscription: Subscription): Effect.Effect<void> {
    return this.awaitSlots((slot) => {
      const message = handledBy(slot, subscription)
      return message === undefined || Received.hasEnded(message)
    })
  }

  /** Every message that no handler is running with. */
  unhandledTags(subscription: Subscription): ReadonlyArray<number> {
    const handled = new Set<number>()
    for (const slot of this.slots) {
      const message = handledBy(slot, subscription)
      if (message !== undefined) handled.add(message.deliveryTag)
    }
    return subscription.channel.acknowledgements.openTags().filter((tag) => !handled.has(tag))
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
    const handler = Effect.suspend(() => {
      const { current } = slot
      if (current === undefined) return Effect.void
      slot.isHandling = true
      const result = checked(handle(current), "handler")
      // What has ended needs no scope: a quarter of the CPU time of a handler that only returns a settlement.
      return Exit.isExit(result) ? result : Effect.scoped(Effect.interruptible(result))
    }) as Unchecked<R>
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
      const { turn } = this
      slot.isPausing = true
      return Effect.map(this.sleep(slot.pause), () => {
        slot.pause = 0
        slot.isPausing = false
        if (turn.isInterrupted && !this.isStopping) this.drop(slot)
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
    if (!this.isServing) return undefined
    const item = this.buffer.take()
    if (item !== undefined) this.subscription?.taken(Received.sizeOf(item))
    return item
  }

  /** The handler is not called again with the message: its channel has closed, or its session is being left. */
  private drop(slot: Slot<R>): void {
    if (slot.current !== undefined) this.subscription?.requeueSingle(slot.current)
    this.finish(slot)
  }

  /** Ends a slot. If it has a message, that is requeued. */
  private leave(slot: Slot<R>): false {
    const { current } = slot
    this.retire(slot)
    if (current !== undefined) this.subscription?.requeueSingle(current)
    this.finish(slot)
    return false
  }

  private retire(slot: Slot<R>): void {
    slot.isRetired = true
    this.slots.delete(slot)
  }

  finish(slot: Slot<R>): void {
    slot.clear()
    if (!this.isServing) this.slotFinished.notify()
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
    if (!Received.isOpen(delivery)) return
    if (!this.isServing) return this.subscription?.requeueSingle(delivery)
    const { turn } = this
    this.fork(Effect.map(this.sleep(millis), () => {
      // When the consumer stops or leaves its session, the message is requeued with all others.
      if (!this.isStopping && !turn.isInterrupted) this.settleBetween(() => Received.nack(delivery, true))
    }))
  }

  /** Waits for a time in milliseconds, or until the subscription ends or the consumer stops. */
  private sleep(millis: number): Effect.Effect<void> {
    return Effect.interruptible(Effect.raceFirst(Effect.sleep(millis), this.turn.over.await))
  }

  // ---------------------------------------------------------------------------
  // stopping
  // ---------------------------------------------------------------------------

  /** No handler starts any longer, and pauses end. */
  private beginStop(): void {
    if (this.isStopping) return
    this.isStopping = true
    this.isServing = false
    this.turn.over.openUnsafe()
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
      const cancel = Effect.andThen(
        subscription.cancelInTime,
        Effect.sync(() => {
          this.clear()
          subscription.requeueAll(this.unhandledTags(subscription))
        })
      )
      inOrder = subscription.inOrder(cancel, others)
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
    return this.awaitSlots(({ current, token }) => token === own || current === undefined)
  }

  /** Waits until this holds for each slot whose handler is waited for. */
  private awaitSlots(isDone: (slot: Slot<R>) => boolean): Effect.Effect<void> {
    return this.slotFinished.until(() => {
      for (const slot of this.slots) if (!slot.isAbandoned && !isDone(slot)) return false
      return true
    })
  }
}

/** The message of a subscription that a slot is handling. */
const handledBy = (
  { current, isPausing }: Pick<Slot<unknown>, "current" | "isPausing">,
  { channel }: Subscription
): Received | undefined =>
  current !== undefined && !isPausing && Received.sourceOf(current).acknowledgements === channel.acknowledgements
    ? current
    : undefined
