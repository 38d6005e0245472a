/**
 * Moving messages from a queue to another place, so that none can be lost.
 *
 * A consumer on a channel of its own takes the messages, another channel publishes them as mandatory, and each is acknowledged when the
 * broker has confirmed its copy. A message that is not to be moved, or can't be, is held until the end and goes back then: so it stands
 * where it was, and is not delivered again meanwhile.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as AmqpError from "../../AmqpError.ts"
import type { MoveProgress } from "../../AmqpQueue.ts"
import type { Channel } from "../channel/channel.ts"
import { channelError } from "../channel/channelErrors.ts"
import { basicConsume, passiveExchangeDeclare } from "../channel/methods.ts"
import type { Session } from "../connection/session.ts"
import { isRefusedByStream } from "../consuming/streamProbe.ts"
import { offsetKey } from "../message/streamOffset.ts"
import { isStream, Mover, readyIn } from "./mover.ts"
import type { Move } from "./mover.ts"

export { isStream, maxPrefetch, sameQueue } from "./mover.ts"
export type { Move } from "./mover.ts"

/** How long a queue that has messages may deliver none. In milliseconds. */
const stallTimeout = 10_000

/** Fails when the target is not there. */
const checkTarget = (channel: Channel, target: Move["target"]): Effect.Effect<unknown, AmqpError.AmqpChannelError> => {
  if (target === undefined) return Effect.void
  if ("queue" in target) return readyIn(channel, target.queue)
  return channel.request(passiveExchangeDeclare(target.exchange))
}

/**
 * Fails for a stream. A consumer that no broker takes tells it, at the cost of its channel: it has no prefetch, which a stream requires,
 * and an offset, which other queues don't know.
 */
const refuseStream = (session: Session, queue: string): Effect.Effect<void, AmqpError.AmqpChannelError> =>
  Effect.scoped(Effect.gen(function*() {
    const channel = yield* session.channels.scoped
    const consuming = channel.request(
      basicConsume(queue, channel.consumerTag(), { exclusive: true, arguments: { [offsetKey]: "next" } })
    )
    yield* Effect.catch(
      consuming,
      (error) => isRefusedByStream(error) ? Effect.fail(channelError(isStream(queue))) : Effect.void
    )
  }))

/**
 * Moves messages. `report` is told of the progress while it changes, and at the end. Fails with an `AmqpChannelError` where nothing was done,
 * and after that with an `AmqpMoveError`.
 */
export const move = <R>(
  session: Session,
  request: Move,
  report: (progress: MoveProgress) => Effect.Effect<unknown, never, R>
): Effect.Effect<MoveProgress, AmqpError.AmqpChannelError | AmqpError.AmqpMoveError, R> =>
  Effect.scopedWith((scope) =>
    Effect.gen(function*() {
      const { from } = request
      const target = yield* Scope.provide(session.channels.scoped, scope)
      const total = yield* readyIn(target, from)
      yield* checkTarget(target, request.target)
      const onlyCounts = request.isDry && request.filter === undefined
      if (total > 0 && onlyCounts) yield* refuseStream(session, from)
      if (total === 0 || onlyCounts) {
        return { total, moved: Math.min(total, request.limit), skipped: 0, failed: 0 }
      }
      yield* target.confirmSelect
      const mover = new Mover(session, scope, target, request, total)
      return yield* Effect.uninterruptibleMask((restore) =>
        Effect.gen(function*() {
          const driving = Effect.catch(
            drive(session, mover, report),
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

/** What a move that has ended comes to. */
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

/** Consumes until everything is done. */
const drive = <R>(
  session: Session,
  mover: Mover,
  report: (progress: MoveProgress) => Effect.Effect<unknown, never, R>
): Effect.Effect<void, AmqpError.AmqpChannelError, R> =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    let reported: MoveProgress | undefined
    let received = 0
    let emptyAnswers = 0
    let lastDelivery = clock.currentTimeMillisUnsafe()
    yield* mover.consume
    while (!mover.isDone) {
      yield* mover.change
      if (mover.mayBeStream) {
        yield* refuseStream(session, mover.from)
        mover.mayBeStream = false
        mover.pump()
      }
      if (mover.isDone) break
      if (mover.isConsumerSpent) yield* mover.consume
      const { progress } = mover
      if (reported === undefined || isOther(progress, reported)) yield* report(reported = progress)
      if (mover.received !== received || !mover.isIdle) {
        received = mover.received
        emptyAnswers = 0
        lastDelivery = clock.currentTimeMillisUnsafe()
        continue
      }
      // Others may have taken messages, so that fewer come than were there. What is on its way comes before the second answer.
      if ((yield* mover.ready) === 0) {
        if (mover.received === received && ++emptyAnswers === 2) mover.isDrained = true
        continue
      }
      emptyAnswers = 0
      if (received === 0) yield* refuseStream(session, mover.from)
      if (clock.currentTimeMillisUnsafe() - lastDelivery >= stallTimeout) {
        return yield* Effect.fail(channelError(new AmqpError.RequestTimeout({ method: "basic.deliver" })))
      }
    }
    yield* report(mover.progress)
  })

const isOther = (a: MoveProgress, b: MoveProgress): boolean =>
  a.moved !== b.moved || a.skipped !== b.skipped || a.failed !== b.failed
