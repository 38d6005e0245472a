/**
 * The channel of a publisher: opened with it, replaced when the broker closed it, closed with it after what is in flight is
 * confirmed.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import { AmqpChannelError, ChannelClosed, ConfirmTimeout } from "../../AmqpError.ts"
import type { Channel } from "../channel/channel.ts"
import { lostChannel } from "../channel/channelErrors.ts"
import type { ConfirmLedger } from "../channel/confirmLedger.ts"
import { sleepMillis, TurnClock } from "../common/time.ts"
import type { Session } from "../connection/session.ts"
import type { Outbound } from "../wire/outbound.ts"
import { Publishing } from "./publishQueue.ts"
import type { PublishLimits } from "./publishQueue.ts"

/** What else is to be done on each channel before it takes messages. */
type Prepare = (channel: Channel) => Effect.Effect<unknown, AmqpChannelError>

const closed = new AmqpChannelError({ reason: new ChannelClosed() })

/** Opens a channel for publishing, and keeps it open for as long as the scope lives. */
export const startPublishing = (
  session: Session,
  limits: PublishLimits,
  prepare: Prepare = () => Effect.void
): Effect.Effect<Publishing, AmqpChannelError, Scope> =>
  Effect.gen(function*() {
    const publishing = new Publishing(limits, session.outbound, yield* Clock.Clock)
    const opened = yield* Deferred.make<void, AmqpChannelError>()
    const publisher: Publisher = { session, publishing, limits, prepare }
    yield* Effect.forkScoped(keepOpen(publisher, opened), { startImmediately: true })
    if (limits.sendTimeout !== Infinity) yield* Effect.forkScoped(publishing.expireLine, { startImmediately: true })
    // Before the fiber above is interrupted, which waits for what is in flight.
    yield* Effect.addFinalizer(() => Effect.sync(() => publishing.close(closed)))
    yield* Deferred.await(opened)
    return publishing
  })

interface Publisher {
  readonly session: Session
  readonly publishing: Publishing
  readonly limits: PublishLimits
  readonly prepare: Prepare
}

/** The publisher's fiber. A channel that the broker closed is replaced when there is something to publish. */
const keepOpen = (publisher: Publisher, opened: Deferred.Deferred<void, AmqpChannelError>) =>
  Effect.gen(function*() {
    const { publishing, session } = publisher
    yield* useChannel(publisher, Deferred.succeed(opened, undefined)).pipe(
      Effect.catch((error) => Deferred.fail(opened, error))
    )
    while (session.failure === undefined) {
      yield* publishing.awaitWaiting
      yield* useChannel(publisher, Effect.void).pipe(
        Effect.catch((error) => Effect.sync(() => publishing.refuseLine(error)))
      )
    }
    publishing.close(lostChannel(session.failure))
  })

/** One channel, from its opening to its end. `onOpen` runs when it takes messages. */
const useChannel = (
  { limits, prepare, publishing, session }: Publisher,
  onOpen: Effect.Effect<unknown>
) =>
  Effect.scoped(Effect.gen(function*() {
    const channel = yield* session.channels.scoped
    const ledger = yield* channel.confirmSelect
    yield* prepare(channel)
    yield* Effect.addFinalizer(() => {
      publishing.detach()
      return Effect.timeoutOption(Effect.interruptible(ledger.awaitEmpty), session.options.closeTimeout)
    })
    if (limits.confirmTimeout !== Infinity) {
      yield* Effect.forkScoped(expireConfirms(ledger, limits, session.outbound), { startImmediately: true })
    }
    publishing.attach(channel)
    yield* onOpen
    yield* Deferred.await(channel.ended)
  }))

/** How long the fiber below sleeps at least while the broker blocks the connection, in milliseconds. */
const blockedPause = 1_000

/** Gives up on confirms that do not come in time. */
const expireConfirms = (ledger: ConfirmLedger, { confirmTimeout, countsBlocked }: PublishLimits, outbound: Outbound) =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const turns = new TurnClock(clock)
    // A clock that stands still while the broker reads nothing, where that time does not count.
    const now = countsBlocked ? () => turns.millis : () => turns.millis - outbound.blockedMillis(turns.millis)
    ledger.noteTimes(now, !countsBlocked)
    while (true) {
      const time = now()
      if ((ledger.oldestTime ?? Infinity) <= time - confirmTimeout) {
        const reason = new ConfirmTimeout(outbound.blocked === undefined ? {} : { blocked: outbound.blocked })
        ledger.expire(time - confirmTimeout, new AmqpChannelError({ reason }))
      }
      // One that is sent while this sleeps is due after it.
      const left = Math.min((ledger.oldestTime ?? time) + confirmTimeout - time, confirmTimeout)
      yield* Effect.sleep(sleepMillis(outbound.blocked === undefined ? left : Math.max(left, blockedPause)))
    }
  })
