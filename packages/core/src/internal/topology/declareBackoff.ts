/**
 * The default pauses between attempts to declare or consume something on a connection.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { AmqpChannelError, AmqpConsumerCancelled } from "../../AmqpError.ts"
import { backoff } from "../common/pauses.ts"

/**
 * The longest pause while another connection holds the queue. That is often the lost connection: the broker notices after two heartbeats
 * that it is dead, and does not say when the queue is free.
 */
const lockedPause = Duration.seconds(2)

const isLocked = (error: AmqpChannelError | AmqpConsumerCancelled): boolean =>
  error._tag === "AmqpChannelError" && error.reason._tag === "ResourceLocked"

export const declareBackoff: Schedule.Schedule<unknown, AmqpChannelError | AmqpConsumerCancelled> = Schedule
  .modifyDelay(
    Schedule.setInputType<AmqpChannelError | AmqpConsumerCancelled>()(
      backoff(Duration.millis(250), Duration.seconds(30))
    ),
    ({ duration, input }) => Effect.succeed(isLocked(input) ? Duration.min(duration, lockedPause) : duration)
  )
