/**
 * Replaces a channel that goes on nacking.
 *
 * A nack concerns a queue, but a channel may be its cause. A channel of RabbitMQ 3.9 to 3.11 that publishes to a quorum queue for the first
 * time when the node of its leader has just gone refuses every message until that node is back, although the queue has another leader by
 * then: it asks the node of the old one (`rabbit_fifo_client:enqueue`). Another channel is confirmed at once.
 *
 * So a publisher opens another channel when this one still nacks after a pause, which is longer each time: a full queue nacks on every channel.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type { Channel } from "../channel/channel.ts"
import type { ConfirmLedger } from "../channel/confirmLedger.ts"
import { Pauses } from "../common/pauses.ts"
import { monotonicMillis } from "../common/time.ts"
import type { PublishQueue } from "./publishQueue.ts"

const longestPause = Duration.seconds(30)

/** The pauses of one publisher on a session, from the first nack of a channel. */
export const replacementPauses = (): Pauses<void> =>
  new Pauses(Schedule.min([Schedule.exponential(Duration.millis(250)), Schedule.spaced(longestPause)]))

/** How long the publisher waits for what is in flight, as messages on another channel would overtake it. */
const drainTimeout = Duration.seconds(1)

interface Publishing {
  readonly queue: Pick<PublishQueue, "attach" | "detach" | "resends">
  readonly channel: Channel
  readonly ledger: ConfirmLedger
  /** Waits until nothing but confirms is expected on the channel. */
  readonly awaitReplies: Effect.Effect<void>
}

/**
 * After the first nack of the channel, which was waited for since `start` (in milliseconds of the monotonic clock): waits until the channel is to be
 * replaced. Then nothing is in flight on it, and the queue sends nothing more.
 */
export const awaitReplacement = (
  { awaitReplies, channel, ledger, queue }: Publishing,
  pauses: Pauses<void>,
  start: number
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    for (let since = start;;) {
      if (monotonicMillis(clock) - since >= Duration.toMillis(longestPause)) pauses.reset()
      yield* Effect.sleep((yield* pauses.next()) ?? Duration.zero)
      yield* ledger.awaitNack
      queue.detach()
      const drained = yield* Effect.timeoutOption(Effect.andThen(ledger.awaitEmpty, awaitReplies), drainTimeout)
      if (Option.isSome(drained)) return
      // Another queue confirms nothing at the moment, or a reply takes longer. What was nacked since is published again first.
      yield* queue.resends.decide
      queue.attach(channel, ledger)
      since = monotonicMillis(clock)
      yield* ledger.awaitNack
    }
  })
