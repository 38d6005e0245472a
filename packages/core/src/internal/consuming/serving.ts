/**
 * Has the messages of a consumer handled: the inbox of its subscription, and the slots that work on it.
 *
 * A slot is a fiber that takes one message after the other. There are as many as the concurrency asks for, made when they are
 * needed. A handler runs in its slot's fiber, so a message costs no fiber. The fibers of slots are detached and not interruptible but for the
 * handlers: they are stopped in order, when the scope of the consumer closes or when the consumer has ended.
 *
 * While handlers run, nothing waits for the subscription: it calls `fail` when it ends. Then nothing more is begun, the handlers that run may
 * finish within the drain timeout, and after that the end is told.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import type { Settlement } from "../../AmqpDelivery.ts"
import * as AmqpError from "../../AmqpError.ts"
import type { Decision } from "../../AmqpFailurePolicy.ts"
import { CurrentProgram } from "../channel/program.ts"
import { annotationsOf, Received } from "./delivery.ts"
import { checked, describe } from "./handlerResult.ts"
import type { Unchecked } from "./handlerResult.ts"
import * as Settlements from "./settlement.ts"
import type { Inbox, Subscription, SubscriptionError } from "./subscription.ts"

/** Why a consumer with handlers ends. */
export type ServingError = SubscriptionError | AmqpError.AmqpConsumerStopped

type OnFailure<R> = (cause: Cause.Cause<unknown>, delivery: Received, attempt: number) => Unchecked<R>

export interface ServingOptions<R> {
  readonly concurrency: number
  /** In milliseconds. */
  readonly drainTimeout: number
  readonly handle: (delivery: Received) => Unchecked<R>
  readonly onFailure: OnFailure<R>
  /** What decides when `onFailure` fails itself. */
  readonly fallback: OnFailure<R>
  /** Puts the handling of a message into a span; `settle` is what follows the handler. */
  readonly inSpan:
    | ((
      delivery: Received,
      handled: Unchecked<R>,
      settle: (handled: Unchecked<R>) => Effect.Effect<void, never, R>
    ) => Effect.Effect<void, never, R>)
    | undefined
  /** Runs after each settlement, for channels in transaction mode. */
  readonly commit: Effect.Effect<void, AmqpError.AmqpChannelError> | undefined
}

/** So many fibers at most wait for the next message when the concurrency has no limit. */
const maxIdle = 64

/** The slot that the current fiber belongs to, so that a handler that closes the scope it runs in does not wait for itself. */
const CurrentSlot = Context.Reference<object | undefined>("@effect-amqp/core/CurrentSlot", {
  defaultValue: () => undefined
})

/** What is known of a fiber that handles messages. */
class Slot<R> {
  /** What stands for it where programs can see it. */
  readonly token: object = Object.freeze({})
  /** What it works on. */
  current: Received | undefined
  /** How often the handler was called with it. */
  attempt = 1
  /** How long it waits before it calls the handler again, in milliseconds. */
  pause = 0
  fiber: Fiber.Fiber<unknown> | undefined
  /** Whether its handler runs. */
  isHandling = false
  /** Whether it waits for nothing but time. */
  isPausing = false
  /** Whether its handler took too long to stop. */
  isAbandoned = false
  /** Whether another fiber goes on in its place, or nothing does. */
  hasLeft = false
  /** What it does next instead of taking a message. */
  job: Effect.Effect<void, never, R> | undefined
  work: Effect.Effect<void, never, R> = Effect.void
}

export class Serving<R> implements Inbox<Received> {
  /** Succeeds when it was stopped, and fails with what ended the consumer, after the handlers are done. */
  readonly ended = Deferred.makeUnsafe<void, ServingError>()
  /** Set when it begins. */
  private subscription: Subscription<Received> | undefined
  private readonly options: ServingOptions<R>
  private readonly context: Context.Context<R>
  private items: Array<Received | undefined> = []
  private head = 0
  private readonly slots = new Set<Slot<R>>()
  /** Slots that wait for a message, and how to wake them. */
  private readonly idle: Array<() => void> = []
  /** What is to be done between two messages. */
  private readonly jobs: Array<Effect.Effect<void, never, R>> = []
  private readonly stopping = Latch.makeUnsafe(false)
  private isStopping = false
  private isCancelled = false
  private error: ServingError | undefined
  private readonly idleListeners = new Set<() => void>()
  isOver = false

  /** Runs after each settlement, if it takes a commit. A commit that failed ends the consumer. */
  private readonly commit: Effect.Effect<void> | undefined

  constructor(options: ServingOptions<R>, context: Context.Context<R>) {
    this.options = options
    this.context = context
    this.commit = options.commit && Effect.catch(options.commit, (error) => Effect.sync(() => this.fail(error)))
  }

  /** Begins with what has arrived. */
  begin(subscription: Subscription<Received>): void {
    this.subscription = subscription
    this.flush()
  }

  // ---------------------------------------------------------------------------
  // the inbox
  // ---------------------------------------------------------------------------

  get size(): number {
    return this.items.length - this.head
  }

  offer(item: Received): void {
    this.items.push(item)
  }

  flush(): void {
    if (this.isStopping || this.subscription === undefined) return
    while (this.size > 0 || this.jobs.length > 0) {
      const wake = this.idle.pop()
      if (wake !== undefined) wake()
      else if (this.slots.size < this.options.concurrency) this.open()
      else return
    }
  }

  clear(): ReadonlyArray<Received> {
    const left = this.items.slice(this.head)
    this.items = []
    this.head = 0
    // All from `head` on are there.
    return left as ReadonlyArray<Received>
  }

  /** The consumer has ended: by a cancel of ours, or for a reason that is told. */
  fail(error: ServingError | Cause.Done): void {
    if (this.isOver) return
    this.isOver = true
    if (Cause.isDone(error)) return
    this.error = error
    this.beginStop()
    const { drainTimeout } = this.options
    this.fork(
      Effect.andThen(this.drain(undefined, this.awaitRest(undefined), drainTimeout), Deferred.fail(this.ended, error))
    )
  }

  private take(): Received | undefined {
    if (this.head === this.items.length) return undefined
    const item = this.items[this.head]
    this.items[this.head++] = undefined
    if (this.head === this.items.length) {
      this.items = []
      this.head = 0
    }
    if (item !== undefined) this.subscription?.taken(Received.sizeOf(item))
    return item
  }

  // ---------------------------------------------------------------------------
  // slots
  // ---------------------------------------------------------------------------

  private fork(effect: Effect.Effect<unknown, never, R>): Fiber.Fiber<unknown> {
    return Effect.runForkWith(this.context)(effect)
  }

  private open(): void {
    const slot = this.makeSlot()
    this.run(slot, this.loop(slot))
  }

  private makeSlot(): Slot<R> {
    const slot = new Slot<R>()
    const handled = Effect.scoped(Effect.interruptible(Effect.suspend(() => {
      const { current } = slot
      if (current === undefined) return Effect.void
      slot.isHandling = true
      return checked(this.options.handle(current), "handler")
    }))) as Unchecked<R>
    const settle = (handled: Unchecked<R>): Effect.Effect<void, never, R> =>
      Effect.matchCauseEffect(handled, {
        onSuccess: (value) => this.succeeded(slot, value),
        onFailure: (cause) => this.failed(slot, cause)
      })
    const { inSpan } = this.options
    slot.work = inSpan === undefined
      ? settle(handled)
      : Effect.suspend(() => slot.current === undefined ? Effect.void : inSpan(slot.current, handled, settle))
    this.slots.add(slot)
    return slot
  }

  private run(slot: Slot<R>, work: Effect.Effect<void, never, R>): void {
    const fiber = this.fork(
      Effect.uninterruptible(work).pipe(
        Effect.provideService(CurrentSlot, slot.token),
        // The context in which the consumer was started does not concern the handlers.
        Effect.provideService(CurrentProgram, undefined)
      )
    )
    slot.fiber = fiber
    fiber.addObserver((exit) => {
      if (!slot.hasLeft) this.replace(slot, exit)
    })
  }

  /**
   * The slot's fiber has ended although there is more to do. It was interrupted while it paused. Or it was given something that is no Effect,
   * which ends a fiber on the spot. Without another slot the consumer would be deaf, and its message would stay unsettled.
   */
  private replace(slot: Slot<R>, exit: Exit.Exit<unknown>): void {
    const { attempt, current, pause } = slot
    slot.hasLeft = true
    this.slots.delete(slot)
    this.finish(slot)
    if (current !== undefined && !slot.isAbandoned && !this.isStopping) {
      const cause = Exit.isFailure(exit) ? exit.cause : Cause.empty
      // What its handler has published can't be told from what the next one publishes. With the channel it is gone.
      if (slot.isHandling && this.commit !== undefined) {
        return this.fail(new AmqpError.AmqpConsumerStopped({ queue: current.queue, cause: Cause.squash(cause) }))
      }
      const heir = this.makeSlot()
      heir.current = current
      heir.attempt = attempt
      heir.pause = pause
      const next = slot.isHandling
        ? this.failed(heir, cause)
        // A pause goes on. What died is a policy, or what it logs with.
        : Cause.hasInterruptsOnly(cause)
        ? Effect.void
        : this.apply(heir, { _tag: "RequeueAfter", pause: Settlements.defaultHoldMillis }, cause)
      this.run(heir, Effect.andThen(next, this.loop(heir)))
    }
    this.flush()
  }

  /** Takes one message after the other, until there is no more work for this fiber. */
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
        if (slot.hasLeft) return false
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

  /** The slot ends. What it still works on goes back. */
  private leave(slot: Slot<R>): false {
    const { current } = slot
    slot.hasLeft = true
    this.slots.delete(slot)
    if (current !== undefined) this.handBack(current)
    this.finish(slot)
    return false
  }

  /** The slot is done with its message. */
  private finish(slot: Slot<R>): void {
    slot.current = undefined
    slot.attempt = 1
    slot.pause = 0
    if (this.isStopping) { for (const listener of Array.from(this.idleListeners)) listener() }
  }

  /** Waits for a time, or until the consumer stops. */
  private sleep(millis: number): Effect.Effect<void> {
    return Effect.interruptible(Effect.raceFirst(Effect.sleep(millis), this.stopping.await))
  }

  // ---------------------------------------------------------------------------
  // what handlers decide
  // ---------------------------------------------------------------------------

  private succeeded(slot: Slot<R>, value: unknown): Effect.Effect<void, never, R> {
    slot.isHandling = false
    if (Settlements.isSettlement(value)) return this.settle(slot, value)
    return this.failed(slot, Cause.die(noSettlement(value)))
  }

  private settle(slot: Slot<R>, { _tag }: Settlement<unknown>): Effect.Effect<void, never, R> {
    const { current } = slot
    const { subscription } = this
    if (current === undefined || subscription === undefined) return Effect.void
    const { acknowledgements } = subscription.channel
    if (_tag === "Ack") return this.settled(slot, current, Received.ack(current, acknowledgements))
    const refuse = () => this.settled(slot, current, Received.reject(current, acknowledgements, _tag === "Requeue"))
    const mayRefuse = Received.mayRefuse(current)
    if (mayRefuse === true) return refuse()
    return Effect.flatMap(
      mayRefuse === false ? Effect.succeed(false) : Received.askMayRefuse(current),
      (mayRefuse) => mayRefuse ? refuse() : this.failed(slot, Cause.die(new Settlements.StreamSettlement(_tag)))
    )
  }

  private settled(slot: Slot<R>, delivery: Received, wasSent: boolean): Effect.Effect<void, never, R> {
    const { commit } = this
    if (wasSent && commit === undefined) {
      this.finish(slot)
      return Effect.void
    }
    return Effect.andThen(
      !wasSent ? logUnsettled(delivery) : commit ?? Effect.void,
      Effect.sync(() => this.finish(slot))
    )
  }

  private failed(slot: Slot<R>, cause: Cause.Cause<unknown>): Effect.Effect<void, never, R> {
    slot.isHandling = false
    // The slot stops: the message goes back with the channel.
    if (slot.isAbandoned) return Effect.sync(() => this.finish(slot))
    return this.onFreshFiber(slot, cause, (slot) => this.decide(slot, cause))
  }

  /** A fiber that was interrupted can run nothing more that is interruptible, so another goes on with its message. */
  private onFreshFiber(
    slot: Slot<R>,
    cause: Cause.Cause<unknown>,
    use: (slot: Slot<R>) => Effect.Effect<void, never, R>
  ): Effect.Effect<void, never, R> {
    if (!Cause.hasInterrupts(cause)) return use(slot)
    return Effect.sync(() => {
      const heir = this.makeSlot()
      heir.current = slot.current
      heir.attempt = slot.attempt
      slot.current = undefined
      slot.hasLeft = true
      this.slots.delete(slot)
      this.run(heir, Effect.andThen(use(heir), this.loop(heir)))
    })
  }

  private decide(slot: Slot<R>, cause: Cause.Cause<unknown>): Effect.Effect<void, never, R> {
    const { attempt, current } = slot
    if (current === undefined) return Effect.void
    const { fallback, onFailure } = this.options
    const decided = Effect.suspend(() => checked(onFailure(cause, current, attempt), "policy onFailure"))
    return Effect.flatMap(Effect.exit(Effect.interruptible(decided)), (exit) => {
      if (slot.isAbandoned) return Effect.sync(() => this.finish(slot))
      if (Exit.isSuccess(exit)) {
        const decision = exit.value
        if (Settlements.isSettlement(decision) || Settlements.isDecision(decision)) {
          return this.apply(slot, decision, cause)
        }
      }
      const mistake = Exit.isFailure(exit) ? exit.cause : Cause.die(noSettlement(exit.value))
      return this.onFreshFiber(slot, mistake, (slot) =>
        Effect.flatMap(
          Effect.andThen(
            logAbout(current, "The policy onFailure failed itself, and the default policy decides", mistake),
            Effect.orDie(fallback(cause, current, attempt))
          ),
          // Ours is a policy that decides.
          (decision) => this.apply(slot, decision as Decision, cause)
        ))
    })
  }

  private apply(
    slot: Slot<R>,
    decision: Settlement<unknown> | Decision,
    cause: Cause.Cause<unknown>
  ): Effect.Effect<void, never, R> {
    const { current } = slot
    if (current === undefined) return Effect.void
    switch (decision._tag) {
      case "Ack":
        return this.settle(slot, decision)
      case "Reject":
      case "Requeue":
        return this.refuseOrSkip(
          current,
          (mayRefuse) => this.settle(slot, mayRefuse ? decision : Settlements.make("Ack", undefined))
        )
      case "RetryAfter":
        return Effect.sync(() => {
          slot.attempt++
          // Zero would be no pause at all.
          slot.pause = Math.max(decision.pause, Number.MIN_VALUE)
        })
      case "RequeueAfter":
        return this.refuseOrSkip(current, (mayRefuse) => {
          if (!mayRefuse) return this.settle(slot, Settlements.make("Ack", undefined))
          return Effect.sync(() => {
            this.hold(current, decision.pause)
            this.finish(slot)
          })
        })
      case "StopConsumer": {
        const error = new AmqpError.AmqpConsumerStopped({ queue: current.queue, cause: Cause.squash(cause) })
        return Effect.sync(() => {
          this.finish(slot)
          this.fail(error)
        })
      }
    }
  }

  /** What a stream delivered can't go back. A policy that wants that goes on after it. */
  private refuseOrSkip(
    delivery: Received,
    use: (mayRefuse: boolean) => Effect.Effect<void, never, R>
  ): Effect.Effect<void, never, R> {
    const mayRefuse = Received.mayRefuse(delivery)
    if (mayRefuse === true) return use(true)
    return Effect.flatMap(
      mayRefuse === false ? Effect.succeed(false) : Received.askMayRefuse(delivery),
      (mayRefuse) =>
        mayRefuse
          ? use(true)
          : Effect.andThen(
            logAbout(delivery, "A stream's message can't be rejected or requeued, and is skipped", undefined),
            use(false)
          )
    )
  }

  /** Keeps a message unsettled, and hands it back later. When the consumer stops it goes back with the others. */
  private hold(delivery: Received, millis: number): void {
    if (this.isStopping) return this.handBack(delivery)
    this.fork(Effect.map(this.sleep(millis), () => {
      const { subscription } = this
      if (this.isStopping || subscription === undefined) return
      const { acknowledgements } = subscription.channel
      this.settleBetween(() => Received.nack(delivery, acknowledgements, true))
    }))
  }

  /**
   * Settles a message that no handler works on. In transaction mode that is done between two messages, with a commit of its own: it must not
   * become part of what another handler commits or takes back.
   */
  settleBetween(settle: () => boolean): void {
    const { commit } = this
    if (commit === undefined) return void settle()
    this.jobs.push(Effect.suspend(() => settle() ? commit : Effect.void))
    this.flush()
  }

  private handBack(delivery: Received): void {
    if (this.isCancelled) this.subscription?.handBack([delivery.deliveryTag])
  }

  // ---------------------------------------------------------------------------
  // the stop
  // ---------------------------------------------------------------------------

  /** Nothing more is begun, and pauses end. */
  private beginStop(): void {
    if (this.isStopping) return
    this.isStopping = true
    this.stopping.openUnsafe()
    for (const wake of this.idle.splice(0)) wake()
  }

  /** Stops in order, within the drain timeout, and tells it. Does not wait for the handler that calls it. */
  readonly stop: Effect.Effect<void> = Effect.withFiber((fiber) => {
    const own = fiber.getRef(CurrentSlot)
    const { subscription } = this
    this.beginStop()
    const rest = this.awaitRest(own)
    let inOrder = rest
    if (subscription !== undefined && !this.isOver) {
      const cancel = Effect.andThen(subscription.cancel, Effect.sync(() => this.handBackRest(subscription)))
      const { kind, savesAttempts } = subscription.stopOrder
      if (kind === "Cancel") inOrder = Effect.andThen(cancel, rest)
      else if (kind === "DrainThenCancel") inOrder = Effect.andThen(rest, cancel)
      if (savesAttempts) inOrder = Effect.andThen(inOrder, subscription.awaitHandedBack)
    }
    return Effect.andThen(
      this.drain(own, inOrder, this.options.drainTimeout),
      Effect.sync(() => {
        this.isOver = true
        // With what ended it, if something has.
        Deferred.doneUnsafe(this.ended, this.error === undefined ? Effect.void : Effect.fail(this.error))
      })
    )
  })

  /** Waits for it until the time is over, and interrupts the handlers that still run then. */
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

  /** Waits until no slot but this one works on anything. */
  private awaitRest(own: object | undefined): Effect.Effect<void> {
    const isAtRest = () => {
      for (const { current, isAbandoned, token } of this.slots) {
        if (token !== own && current !== undefined && !isAbandoned) return false
      }
      return true
    }
    return Effect.callback((resume) => {
      if (isAtRest()) return resume(Effect.void)
      const listener = () => {
        if (!isAtRest()) return
        this.idleListeners.delete(listener)
        resume(Effect.void)
      }
      this.idleListeners.add(listener)
      return Effect.sync(() => this.idleListeners.delete(listener))
    })
  }

  /** Gives back everything that no handler works on. */
  private handBackRest(subscription: Subscription<Received>): void {
    const working = new Set<number>()
    for (const { current, isPausing } of this.slots) {
      if (current !== undefined && !isPausing) working.add(current.deliveryTag)
    }
    this.isCancelled = true
    this.clear()
    subscription.handBack(subscription.channel.acknowledgements.openTags().filter((tag) => !working.has(tag)))
  }
}

// -----------------------------------------------------------------------------
// mistakes of handlers, and logs
// -----------------------------------------------------------------------------

const noSettlement = (value: unknown): TypeError =>
  new TypeError(
    `The result is ${
      describe(value)
    } instead of a settlement. Only AmqpDelivery.ack, reject and requeue are settlements, ` +
      "and what AmqpDelivery.as makes of them: a value that looks like one, such as one that was parsed from a message, is not."
  )

const logUnsettled = (delivery: Received) =>
  logAbout(
    delivery,
    "A message was handled, but its channel is gone, so its settlement was not sent. The broker delivers it again",
    undefined
  )

/** A logger that dies, such as of an error that can't be printed, must not decide anything. */
const logAbout = (delivery: Received, text: string, cause: Cause.Cause<unknown> | undefined): Effect.Effect<void> =>
  Effect.ignoreCause(Effect.annotateLogs(
    cause === undefined ? Effect.logWarning(text) : Effect.logError(text, cause),
    annotationsOf(delivery)
  ))
