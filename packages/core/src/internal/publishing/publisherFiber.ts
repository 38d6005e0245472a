/**
 * The fiber of a publisher: it keeps a channel open on one session after the other.
 *
 * On each session the channel is opened at once. It is opened again when the broker has closed it and there is something to publish, and it
 * is replaced when it goes on nacking. The publisher leaves a session that is about to be replaced after the confirms of what is in flight. It
 * ends with its scope, in the same way, or when the connection has closed for good.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { Scope } from "effect/Scope"
import { AmqpChannelError, ConnectionReplaced, ServerReply } from "../../AmqpError.ts"
import type { AmqpConnectionError } from "../../AmqpError.ts"
import type { Channel } from "../channel/channel.ts"
import { closedHere, lostChannel } from "../channel/channelErrors.ts"
import type { ConfirmLedger } from "../channel/confirmLedger.ts"
import { backoff, Pauses } from "../common/pauses.ts"
import { untilAny } from "../common/signal.ts"
import { monotonicMillis } from "../common/time.ts"
import { connectionError } from "../connection/connectionErrors.ts"
import type { Session } from "../connection/session.ts"
import type { Supervisor } from "../connection/supervisor.ts"
import { awaitReplacement, replacementPauses } from "./channelReplacement.ts"
import { expireConfirms } from "./confirmTimeouts.ts"
import type { PublishLimits } from "./publishLimits.ts"
import { PublishQueue } from "./publishQueue.ts"

/** What a publisher needs of its connection. */
export type PublisherHost = Pick<
  Supervisor,
  | "awaitSession"
  | "confirmsOverdue"
  | "failure"
  | "nextSession"
  | "notConnected"
  | "options"
  | "replacesOverdue"
  | "session"
>

/** What else a publisher does with its channels. */
export interface PublisherParts {
  /** Done on each channel before messages are sent on it. */
  readonly prepare: (channel: Channel) => Effect.Effect<unknown, AmqpChannelError>
  /** Waits until nothing but confirms is expected on the channel, before an ordered replacement of the session. */
  readonly awaitReplies: Effect.Effect<void>
}

interface Publisher extends PublisherParts {
  readonly host: PublisherHost
  readonly queue: PublishQueue
  readonly limits: PublishLimits
  /** Completed when the first channel is open, or can't be opened. */
  readonly opened: Deferred.Deferred<void, AmqpChannelError>
}

const nothingElse: PublisherParts = { prepare: () => Effect.void, awaitReplies: Effect.void }

/** Opens a channel for publishing, and keeps one open for as long as the scope lives. */
export const startPublisher = (
  host: PublisherHost,
  limits: PublishLimits,
  parts = nothingElse
): Effect.Effect<PublishQueue, AmqpChannelError, Scope> =>
  Effect.gen(function*() {
    const session = yield* host.awaitSession
    const queue = new PublishQueue(limits, host, yield* Clock.Clock)
    const opened = yield* Deferred.make<void, AmqpChannelError>()
    yield* Effect.forkScoped(run({ ...parts, host, queue, limits, opened }, session), { startImmediately: true })
    if (limits.sendTimeout !== Infinity) yield* Effect.forkScoped(queue.expireWaiting, { startImmediately: true })
    // Runs before the fiber above is interrupted, which then waits for what is in flight.
    yield* Effect.addFinalizer(() => Effect.sync(() => queue.close(closedHere)))
    yield* Deferred.await(opened)
    return queue
  })

/** The publisher's fiber. */
const run = (publisher: Publisher, first: Session): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { host, opened } = publisher
    for (let session = first;;) {
      yield* useSession(publisher, session)
      session = yield* Deferred.isDoneUnsafe(opened) ? host.nextSession : host.awaitSession
    }
  }).pipe(
    Effect.catch((error: AmqpChannelError | AmqpConnectionError) => {
      const failure = error instanceof AmqpChannelError ? error : lostChannel(error)
      publisher.queue.close(failure)
      return Deferred.fail(publisher.opened, failure)
    }),
    Effect.asVoid
  )

/** The longest pause before a channel is opened again. */
const longestPause = Duration.seconds(10)

/** Uses a session until it has ended or is about to be replaced. Fails if the broker refuses the first channel of the publisher. */
const useSession = (publisher: Publisher, session: Session): Effect.Effect<void, AmqpChannelError> =>
  Effect.gen(function*() {
    const { opened, queue } = publisher
    const isLeft = (): boolean => session.failure !== undefined || isToLeave(session)
    const left = untilAny([session.closed, session.leaving.changed], () => session.hasClosed || isToLeave(session))
    const pauses = new Pauses(backoff(Duration.millis(250), longestPause))
    const replacements = replacementPauses()
    queue.useSession(session.outbound)
    while (!isLeft()) {
      const used = yield* Effect.result(useChannel(publisher, session, replacements))
      yield* queue.resends.decide
      if (isLeft()) break
      if (Result.isFailure(used) && !Deferred.isDoneUnsafe(opened)) return yield* Effect.fail(used.failure)
      // The channel is replaced.
      if (Result.isSuccess(used) && used.success === undefined) continue
      if (mayPass(used)) {
        const pause = yield* pauses.next(undefined)
        if (pause !== undefined) yield* Effect.raceFirst(Effect.sleep(pause), left)
      } else {
        pauses.reset()
        if (Result.isFailure(used)) queue.refuseAll(used.failure)
      }
      yield* Effect.raceFirst(queue.awaitWork, left)
    }
    queue.leaveSession()
  })

const isToLeave = ({ leaving }: Session): boolean => leaving.has("PublishersLeave")

/** How the use of a channel ended: it could not be opened, was closed, or was left in order. */
type Used = Result.Result<AmqpChannelError | undefined, AmqpChannelError>

/** Whether to pause before the channel is opened again: a publish that made the broker close it is not repeated, others may be. */
const mayPass = (used: Used): boolean =>
  Result.isFailure(used)
    ? used.failure.isRetryable
    : used.success?.reason instanceof ServerReply && used.success.isRetryable

/** Opens a channel, and uses it until it is closed, or it or the session is about to be replaced. Returns why it is closed. */
const useChannel = (
  publisher: Publisher,
  session: Session,
  replacements: ReturnType<typeof replacementPauses>
): Effect.Effect<AmqpChannelError | undefined, AmqpChannelError> =>
  Effect.scoped(Effect.gen(function*() {
    const { awaitReplies, host, limits, opened, prepare, queue } = publisher
    const channel = yield* session.channels.scoped
    const ledger = yield* channel.confirmSelect
    yield* prepare(channel)
    if (isToLeave(session)) return undefined
    yield* Effect.addFinalizer(() => {
      queue.detach()
      return Effect.timeoutOption(Effect.interruptible(ledger.awaitEmpty), host.options.closeTimeout)
    })
    if (limits.confirmTimeout !== Infinity) {
      const replacement = { begin: () => queue.detach(), end: () => {} }
      const expiring = expireConfirms({ host, session, ledger, limits, replacement })
      yield* Effect.forkScoped(expiring, { startImmediately: true })
    }
    // What was lost after the last decision would hold up everything behind it.
    yield* queue.resends.decide
    queue.attach(channel, ledger)
    yield* Deferred.succeed(opened, undefined)
    const isOver = (): boolean => channel.hasClosed || isToLeave(session)
    const start = monotonicMillis(yield* Clock.Clock)
    yield* untilAny([channel.closed, session.leaving.changed, ledger.nacked], () => isOver() || ledger.hasNacked)
    // Few channels are ever nacked: for those, more fibers wait.
    if (!isOver()) {
      yield* Effect.raceFirst(
        untilAny([channel.closed, session.leaving.changed], isOver),
        awaitReplacement({ queue, channel, ledger, awaitReplies }, replacements, start)
      )
    }
    if (channel.failure === undefined && isToLeave(session)) yield* leave(publisher, channel, ledger)
    return channel.failure
  }))

/** Waits for what is in flight before the session is replaced. What does not end in time is lost with the session. */
const leave = ({ awaitReplies, host, queue }: Publisher, channel: Channel, ledger: ConfirmLedger) =>
  Effect.gen(function*() {
    queue.detach()
    const done = Effect.andThen(ledger.awaitEmpty, awaitReplies)
    const left = yield* Effect.timeoutOption(done, host.options.closeTimeout)
    if (Option.isNone(left)) channel.end(lostChannel(connectionError(new ConnectionReplaced())))
  })
