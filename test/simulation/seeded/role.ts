/** An actor in a simulated run. */
import { AmqpConnection } from "@effect-amqp/core/AmqpConnection"
import * as Effect from "effect/Effect"
import { isLoss, reasonsOf } from "./history.ts"
import type { History } from "./history.ts"

export interface Role {
  readonly actor: number
  readonly client: 0 | 1
  /** How often it has started again after a lost connection. */
  readonly generation: number
  readonly history: History
  /** Whether its connection is established again when it is lost. */
  readonly recovers: boolean
  /** How long it waits for a session, if its connection recovers. */
  readonly waitTimeoutMillis: number | undefined
  /**
   * Whether the broker notices at once when the client has gone. Otherwise the dead connection keeps messages, which are delivered again
   * after newer ones, and what it has sent may arrive later.
   */
  readonly leavesAtOnce: boolean
  /** Whether nothing delays or refuses what a program sends, as long as its connection and its channels last. */
  readonly isSmooth: boolean
  /** Whether sessions are only replaced in order, which handlers do not notice. */
  readonly isOrderly: boolean
  /** The password of its connection. */
  readonly password: () => string
}

/**
 * Starts something. A connection that recovers may be lost meanwhile, or be missing or silent for longer than its limits; the program tries
 * again for as long as it has not closed.
 */
export const started = <A, E, R>(
  { recovers }: Role,
  start: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R | AmqpConnection> =>
  Effect.flatMap(AmqpConnection, ({ state }) => {
    const isOpen = Effect.map(state, ({ _tag }) => _tag !== "Closed")
    return recovers
      ? Effect.retry(start, { while: (error) => mayPass(error) ? isOpen : Effect.succeed(false) })
      : start
  })

const mayPass = (error: unknown): boolean => isLoss(error) || reasonsOf(error).includes("RequestTimeout")

/** The number of the first message of this generation: no two generations share a number. */
export const firstNumber = ({ generation }: Role): number => generation * 10_000
