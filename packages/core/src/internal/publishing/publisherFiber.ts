/**
 * The fiber of a publisher and its channel: opened with the publisher, replaced when the broker has closed it, and closed with the
 * publisher after the confirms of what is in flight.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import { AmqpChannelError, ChannelClosed, ConfirmTimeout } from "../../AmqpError.ts"
import type { AmqpConnectionError } from "../../AmqpError.ts"
import type { Channel } from "../channel/channel.ts"
import { lostChannel } from "../channel/channelErrors.ts"
import type { Channels } from "../channel/channels.ts"
import type { ConfirmLedger } from "../channel/confirmLedger.ts"
import { sleepMillis, TurnClock } from "../common/time.ts"
import type { SessionOptions } from "../options/sessionOptions.ts"
import type { Outbound } from "../wire/outbound.ts"
import type { PublishLimits } from "./publishLimits.ts"
import { PublishQueue } from "./publishQueue.ts"

/** What a publisher needs of its session. */
export interface PublisherHost {
  readonly channels: Pick<Channels, "scoped">
  readonly outbound: Outbound
  readonly options: Pick<SessionOptions, "closeTimeout">
  /** Set when the session has ended. */
  readonly failure: AmqpConnectionError | undefined
}

/** What else is done on each channel before messages are sent on it. */
type Prepare = (channel: Channel) => Effect.Effect<unknown, AmqpChannelError>

const closed = new AmqpChannelError({ reason: new ChannelClosed() })

/** Opens a channel for publishing, and keeps one open for as long as the scope lives. */
export const startPublisher = (
  host: PublisherHost,
  limits: PublishLimits,
  prepare: Prepare = () => Effect.void
): Effect.Effect<PublishQueue, AmqpChannelError, Scope> =>
  Effect.gen(function*() {
    const queue = new PublishQueue(limits, host.outbound, yield* Clock.Clock)
    const opened = yield* Deferred.make<void, AmqpChannelError>()
    const publisher: Publisher = { host, queue, limits, prepare }
    yield* Effect.forkScoped(keepOpen(publisher, opened), { startImmediately: true })
    if (limits.sendTimeout !== Infinity) yield* Effect.forkScoped(queue.expireWaiting, { startImmediately: true })
    // Runs before the fiber above is interrupted, which then waits for what is in flight.
    yield* Effect.addFinalizer(() => Effect.sync(() => queue.close(closed)))
    yield* Deferred.await(opened)
    return queue
  })

interface Publisher {
  readonly host: PublisherHost
  readonly queue: PublishQueue
  readonly limits: PublishLimits
  readonly prepare: Prepare
}

/** The publisher's fiber. A channel that the broker has closed is replaced when there is something to publish. */
const keepOpen = (publisher: Publisher, opened: Deferred.Deferred<void, AmqpChannelError>) =>
  Effect.gen(function*() {
    const { host, queue } = publisher
    yield* useChannel(publisher, Deferred.succeed(opened, undefined)).pipe(
      Effect.catch((error) => Deferred.fail(opened, error))
    )
    while (host.failure === undefined) {
      yield* queue.awaitWaiting
      yield* useChannel(publisher, Effect.void).pipe(
        Effect.catch((error) => Effect.sync(() => queue.refuseWaiting(error)))
      )
    }
    queue.close(lostChannel(host.failure))
  })

/** Opens a channel, and uses it until it is closed. `onOpen` runs when messages can be sent on it. */
const useChannel = (
  { host, limits, prepare, queue }: Publisher,
  onOpen: Effect.Effect<unknown>
) =>
  Effect.scoped(Effect.gen(function*() {
    const channel = yield* host.channels.scoped
    const ledger = yield* channel.confirmSelect
    yield* prepare(channel)
    yield* Effect.addFinalizer(() => {
      queue.detach()
      return Effect.timeoutOption(Effect.interruptible(ledger.awaitEmpty), host.options.closeTimeout)
    })
    if (limits.confirmTimeout !== Infinity) {
      yield* Effect.forkScoped(expireConfirms(ledger, limits, host.outbound), { startImmediately: true })
    }
    queue.attach(channel, ledger)
    yield* onOpen
    yield* Deferred.await(channel.ended)
  }))

/** The shortest sleep of the fiber below while the broker blocks the connection, in milliseconds. */
const blockedPause = 1_000

/** Fails publishes whose confirm does not arrive in time. */
const expireConfirms = (ledger: ConfirmLedger, { confirmTimeout, countsBlocked }: PublishLimits, outbound: Outbound) =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const turns = new TurnClock(clock)
    // This clock stops while the broker reads nothing, unless that time counts.
    const now = countsBlocked ? () => turns.millis : () => turns.millis - outbound.blockedMillis(turns.millis)
    ledger.noteTimes(now, !countsBlocked)
    while (true) {
      const time = now()
      if ((ledger.oldestTime ?? Infinity) <= time - confirmTimeout) {
        const reason = new ConfirmTimeout(outbound.blocked === undefined ? {} : { blocked: outbound.blocked })
        ledger.expire(time - confirmTimeout, new AmqpChannelError({ reason }))
      }
      // A message that is sent during the sleep is due after it.
      const left = Math.min((ledger.oldestTime ?? time) + confirmTimeout - time, confirmTimeout)
      yield* Effect.sleep(sleepMillis(outbound.blocked === undefined ? left : Math.max(left, blockedPause)))
    }
  })
