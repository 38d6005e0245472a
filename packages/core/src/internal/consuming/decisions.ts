/**
 * Carries out what handlers and failure policies decide about the messages of a consumer.
 *
 * A handler that returns a settlement has decided. If it fails, dies, is interrupted or returns something else, the policy `onFailure`
 * decides, and the default policy if that fails too.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Settlement } from "../../AmqpDelivery.ts"
import { AmqpConsumerStopped } from "../../AmqpError.ts"
import type { Decision } from "../../AmqpFailurePolicy.ts"
import { annotationsOf, Received } from "./delivery.ts"
import { checked, notASettlement } from "./handlerResult.ts"
import type { Unchecked } from "./handlerResult.ts"
import * as Settlements from "./settlement.ts"
import type { Slot } from "./slot.ts"

type OnFailure<R> = (cause: Cause.Cause<unknown>, delivery: Received, attempt: number) => Unchecked<R>

export interface FailurePolicies<R> {
  readonly onFailure: OnFailure<R>
  /** Decides if `onFailure` fails. */
  readonly fallback: OnFailure<R>
}

/** What carrying out a decision needs from the consumer that runs the slots. */
export interface DecisionHost<R> {
  /** Runs after each settlement, on channels in transaction mode. */
  readonly commit: Effect.Effect<void> | undefined
  /** The slot is done with its message. */
  finish(slot: Slot<R>): void
  /** Runs `next` on the fiber of the slot, or on that of a new slot if the cause has interrupted the fiber. */
  continueAfter(
    slot: Slot<R>,
    cause: Cause.Cause<unknown>,
    next: (slot: Slot<R>) => Effect.Effect<void, never, R>
  ): Effect.Effect<void, never, R>
  /** Keeps a message unsettled for a time in milliseconds, and then requeues it. */
  requeueLater(delivery: Received, millis: number): void
  /** Ends the consumer. */
  fail(error: AmqpConsumerStopped): void
}

export class Decisions<R> {
  private readonly host: DecisionHost<R>
  private readonly policies: FailurePolicies<R>

  constructor(host: DecisionHost<R>, policies: FailurePolicies<R>) {
    this.host = host
    this.policies = policies
  }

  /** Runs a handler with the message of a slot, and carries out its decision. */
  handle(slot: Slot<R>, handler: Unchecked<R>): Effect.Effect<void, never, R> {
    return Effect.matchCauseEffect(handler, {
      onSuccess: (value) => this.succeeded(slot, value),
      onFailure: (cause) => this.failed(slot, cause)
    })
  }

  private succeeded(slot: Slot<R>, value: unknown): Effect.Effect<void, never, R> {
    slot.isHandling = false
    if (Settlements.isSettlement(value)) return this.settle(slot, value)
    return this.failed(slot, Cause.die(notASettlement(value, "handler")))
  }

  /** Lets the policies decide about the message of a slot whose handler has failed. */
  failed(slot: Slot<R>, cause: Cause.Cause<unknown>): Effect.Effect<void, never, R> {
    slot.isHandling = false
    // The message is requeued when the channel closes.
    if (slot.isAbandoned) return this.finish(slot)
    return this.host.continueAfter(slot, cause, (slot) =>
      slot.current === undefined || Received.isOpen(slot.current)
        ? this.askPolicies(slot, cause)
        : this.drop(slot, slot.current, cause))
  }

  /** The message can no longer be settled. A policy that retried or republished it would only add to what the broker does. */
  private drop(slot: Slot<R>, delivery: Received, cause: Cause.Cause<unknown>): Effect.Effect<void> {
    return Effect.andThen(
      logAbout(
        delivery,
        "A handler failed, and the channel of its message has closed. The broker delivers it again",
        cause
      ),
      this.finish(slot)
    )
  }

  private askPolicies(slot: Slot<R>, cause: Cause.Cause<unknown>): Effect.Effect<void, never, R> {
    const { attempt, current } = slot
    if (current === undefined) return Effect.void
    const { fallback, onFailure } = this.policies
    const policy = Effect.suspend(() => checked(onFailure(cause, current, attempt), "policy onFailure"))
    return Effect.flatMap(Effect.exit(Effect.interruptible(policy)), (exit) => {
      if (slot.isAbandoned) return this.finish(slot)
      if (Exit.isSuccess(exit)) {
        const decision = exit.value
        if (Settlements.isSettlement(decision) || Settlements.isDecision(decision)) {
          return this.carryOut(slot, decision, cause)
        }
      }
      const mistake = Exit.isFailure(exit) ? exit.cause : Cause.die(notASettlement(exit.value, "policy onFailure"))
      return this.host.continueAfter(slot, mistake, (slot) =>
        Effect.flatMap(
          Effect.andThen(
            logAbout(current, "The policy onFailure failed, so the default policy decides", mistake),
            Effect.orDie(fallback(cause, current, attempt))
          ),
          // The default policy returns decisions only.
          (decision) => this.carryOut(slot, decision as Decision, cause)
        ))
    })
  }

  /** Carries out a decision about a message whose handler failed with `cause`. */
  carryOut(
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
        return this.refuseOrSkip(slot, current, () => this.settle(slot, decision))
      case "RetryAfter":
        if (!Received.isOpen(current)) return this.drop(slot, current, cause)
        return Effect.sync(() => {
          slot.attempt++
          // With 0 the loop would call the handler again at once, and other fibers could not run in between.
          slot.pause = Math.max(decision.pause, Number.MIN_VALUE)
        })
      case "RequeueAfter":
        return this.refuseOrSkip(slot, current, () =>
          Effect.sync(() => {
            this.host.requeueLater(current, decision.pause)
            this.host.finish(slot)
          }))
      case "StopConsumer": {
        const error = new AmqpConsumerStopped({ queue: current.queue, cause: Cause.squash(cause) })
        return Effect.sync(() => {
          this.host.finish(slot)
          this.host.fail(error)
        })
      }
    }
  }

  /** Refuses a message. A policy that refuses a message of a stream, which is impossible, continues with the next message. */
  private refuseOrSkip(
    slot: Slot<R>,
    delivery: Received,
    refuse: () => Effect.Effect<void, never, R>
  ): Effect.Effect<void, never, R> {
    return whetherRefusable(delivery, (isRefusable) =>
      isRefusable
        ? refuse()
        : Effect.andThen(
          logAbout(delivery, "A stream's message can't be rejected or requeued, and is skipped", undefined),
          Effect.suspend(() => this.settle(slot, Settlements.make("Ack", undefined)))
        ))
  }

  private settle(slot: Slot<R>, { _tag }: Settlement<unknown>): Effect.Effect<void, never, R> {
    const { current } = slot
    if (current === undefined) return Effect.void
    if (_tag === "Ack") return this.settled(slot, current, Received.ack(current))
    return whetherRefusable(current, (isRefusable) =>
      isRefusable
        ? this.settled(slot, current, Received.reject(current, _tag === "Requeue"))
        : this.failed(slot, Cause.die(new Settlements.StreamSettlement(_tag))))
  }

  private settled(slot: Slot<R>, delivery: Received, wasSent: boolean): Effect.Effect<void, never, R> {
    const { commit } = this.host
    if (wasSent && commit === undefined) {
      this.host.finish(slot)
      return Effect.void
    }
    return Effect.andThen(wasSent ? commit ?? Effect.void : logUnsettled(delivery), this.finish(slot))
  }

  private finish(slot: Slot<R>): Effect.Effect<void> {
    return Effect.sync(() => this.host.finish(slot))
  }
}

/** Calls `use` with whether a message may be rejected or requeued, after asking the broker if that is not known. */
const whetherRefusable = <R>(
  delivery: Received,
  use: (isRefusable: boolean) => Effect.Effect<void, never, R>
): Effect.Effect<void, never, R> => {
  const isRefusable = Received.mayRefuse(delivery)
  return isRefusable === undefined ? Effect.flatMap(Received.askMayRefuse(delivery), use) : use(isRefusable)
}

const logUnsettled = (delivery: Received) =>
  logAbout(
    delivery,
    "A message was handled, but its channel has closed, so its settlement was not sent. The broker delivers it again",
    undefined
  )

/** Logs without an effect on anything else: a logger may die, for example when it prints an error. */
const logAbout = (delivery: Received, text: string, cause: Cause.Cause<unknown> | undefined): Effect.Effect<void> =>
  Effect.ignoreCause(Effect.annotateLogs(
    cause === undefined ? Effect.logWarning(text) : Effect.logError(text, cause),
    annotationsOf(delivery)
  ))
