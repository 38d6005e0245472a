/**
 * Moving messages from a queue to another queue or exchange, so that none can be lost.
 *
 * A consumer on its own channel receives the messages, another channel publishes them as mandatory, and each is acknowledged when the
 * broker has confirmed its copy. A message that is not selected or can't be moved is held until the end and requeued then: it keeps
 * its position, and is not delivered again in the meantime.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as AmqpError from "../../AmqpError.ts"
import type { MoveProgress } from "../../AmqpQueue.ts"
import type { Channel } from "../channel/channel.ts"
import { channelError } from "../channel/channelErrors.ts"
import type { ConfirmLedger } from "../channel/confirmLedger.ts"
import { passiveExchangeDeclare } from "../channel/methods.ts"
import { probe } from "../consuming/streamProbe.ts"
import type { Replacement } from "../publishing/confirmTimeouts.ts"
import { isStream, Mover, readyIn } from "./mover.ts"
import type { Move, MoveHost } from "./mover.ts"

export { isStream, maxPrefetch, sameQueue } from "./mover.ts"
export type { Move } from "./mover.ts"

/** How long a queue with ready messages may deliver none, in milliseconds. */
const stallTimeout = 10_000

/** Fails if the target does not exist. */
const checkTarget = (channel: Channel, target: Move["target"]): Effect.Effect<unknown, AmqpError.AmqpChannelError> => {
  if (target === undefined) return Effect.void
  if ("queue" in target) return readyIn(channel, target.queue)
  return channel.request(passiveExchangeDeclare(target.exchange))
}

/** Fails if the queue is a stream. */
const refuseStream = (host: MoveHost, queue: string): Effect.Effect<void, AmqpError.AmqpChannelError> =>
  Effect.flatMap(probe(host, queue), (isIt) => isIt === true ? Effect.fail(channelError(isStream(queue))) : Effect.void)

/**
 * Moves messages. `expireConfirms` watches the publishes of a channel until it is interrupted, and tells before their session is replaced.
 * `report` gets the progress when it has changed, and at the end. Fails with an `AmqpChannelError` if nothing was done, and otherwise with
 * an `AmqpMoveError`.
 */
export const move = <R>(
  host: MoveHost,
  request: Move,
  expireConfirms: (ledger: ConfirmLedger, replacement: Replacement) => Effect.Effect<never>,
  report: (progress: MoveProgress) => Effect.Effect<unknown, never, R>
): Effect.Effect<MoveProgress, AmqpError.AmqpChannelError | AmqpError.AmqpMoveError, R> =>
  Effect.scopedWith((scope) =>
    Effect.gen(function*() {
      const { from } = request
      const target = yield* Scope.provide(host.channels.scoped, scope)
      const total = yield* readyIn(target, from)
      yield* checkTarget(target, request.target)
      const onlyCounts = request.isDry && request.filter === undefined
      if (total > 0 && onlyCounts) yield* refuseStream(host, from)
      if (total === 0 || onlyCounts) {
        return { total, moved: Math.min(total, request.limit), skipped: 0, failed: 0 }
      }
      const ledger = yield* target.confirmSelect
      const mover = new Mover(host, scope, target, request, total)
      const expiring = expireConfirms(ledger, {
        begin: () => mover.fail(channelError(new AmqpError.ConfirmTimeout({}))),
        end: () => {}
      })
      yield* Scope.provide(Effect.forkScoped(expiring, { startImmediately: true }), scope)
      return yield* Effect.uninterruptibleMask((restore) =>
        Effect.gen(function*() {
          const driving = Effect.catch(
            drive(host, mover, report),
            (error) => Effect.sync(() => mover.fail(error))
          )
          const exit = yield* Effect.exit(restore(driving))
          yield* mover.finish
          if (Exit.isSuccess(exit)) yield* Effect.ignore(restore(mover.awaitReturned))
          return yield* Effect.andThen(exit, resultOf(mover, from))
        })
      )
    })
  )

/** The result of a move that has ended. */
const resultOf = (
  { counts, defect, failure, firstFailure, progress }: Mover,
  from: string
): Effect.Effect<MoveProgress, AmqpError.AmqpChannelError | AmqpError.AmqpMoveError> => {
  if (defect !== undefined) return Effect.die(defect.thrown)
  const cause = failure ?? firstFailure
  if (cause === undefined) return Effect.succeed(progress)
  const isUntouched = counts.moved + counts.skipped + counts.failed === 0
  if (isUntouched && cause._tag === "AmqpChannelError") return Effect.fail(cause)
  return Effect.fail(new AmqpError.AmqpMoveError({ from, ...progress, cause }))
}

/** Consumes until the move is done. */
const drive = <R>(
  host: MoveHost,
  mover: Mover,
  report: (progress: MoveProgress) => Effect.Effect<unknown, never, R>
): Effect.Effect<void, AmqpError.AmqpChannelError, R> =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    let reported: MoveProgress | undefined
    let received = 0
    let emptyReplies = 0
    let lastDelivery = clock.currentTimeMillisUnsafe()
    yield* mover.consume
    while (!mover.isDone) {
      yield* mover.change
      if (mover.mayBeStream) {
        yield* refuseStream(host, mover.from)
        mover.mayBeStream = false
        mover.pump()
      }
      if (mover.isDone) break
      if (mover.isConsumerSpent) yield* mover.consume
      const { progress } = mover
      if (reported === undefined || isOther(progress, reported)) yield* report(reported = progress)
      if (mover.received !== received || !mover.isIdle) {
        received = mover.received
        emptyReplies = 0
        lastDelivery = clock.currentTimeMillisUnsafe()
        continue
      }
      // Other consumers may have taken messages, so that fewer arrive than were ready. Those in flight arrive before the second reply.
      if ((yield* mover.ready) === 0) {
        if (mover.received === received && ++emptyReplies === 2) mover.isDrained = true
        continue
      }
      emptyReplies = 0
      if (received === 0) yield* refuseStream(host, mover.from)
      if (clock.currentTimeMillisUnsafe() - lastDelivery >= stallTimeout) {
        return yield* Effect.fail(channelError(new AmqpError.RequestTimeout({ method: "basic.deliver" })))
      }
    }
    yield* report(mover.progress)
  })

const isOther = (a: MoveProgress, b: MoveProgress): boolean =>
  a.moved !== b.moved || a.skipped !== b.skipped || a.failed !== b.failed
