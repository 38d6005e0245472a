/**
 * Handlers that are channel programs. Each runs in a transaction on the channel of its consumer, one at a time.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { AmqpChannel } from "../../AmqpChannel.ts"
import type { AmqpChannelError } from "../../AmqpError.ts"
import type { Properties } from "../../AmqpMessage.ts"
import type { Channel, ProgramPublisher } from "../channel/channel.ts"
import { channelError } from "../channel/channelErrors.ts"
import { CurrentProgram, isProgram, RunningProgram, runOn, setRunning } from "../channel/program.ts"
import type { Route } from "../message/route.ts"
import type { Received } from "./delivery.ts"
import * as Settlements from "./settlement.ts"

/** How the messages of a consumer are handled. */
export interface Handling<R> {
  readonly handle: (delivery: Received) => Effect.Effect<unknown, unknown, R>
  /** Runs after each settlement. */
  readonly commit: Effect.Effect<void, AmqpChannelError> | undefined
  /** Set before the first message is handled. */
  channel?: Channel
}

/** Publishes within the transaction, and notes whether a message was mandatory. */
class TransactionPublisher implements ProgramPublisher {
  readonly hasRoom = true
  readonly awaitRoom = Effect.void
  hasMandatory = false

  publish(channel: Channel, route: Route, properties: Properties, body: Uint8Array): void {
    channel.publish(route, properties, body)
    if (route.mandatory === true) this.hasMandatory = true
  }
}

export const make = <R>(
  handler: (delivery: Received) => AmqpChannel<unknown, unknown, R>
): Handling<R> => {
  const handling: { handle: Handling<R>["handle"]; commit: Effect.Effect<void, AmqpChannelError>; channel?: Channel } =
    {
      handle: (delivery) => {
        const program = handler(delivery)
        const { channel } = handling
        // The caller checks that it is an Effect.
        if (!isProgram(program) || channel === undefined) {
          return program as unknown as Effect.Effect<unknown, unknown, R>
        }
        return inTransaction(channel, program)
      },
      commit: Effect.suspend(() => handling.channel === undefined ? Effect.void : handling.channel.commit)
    }
  return handling
}

/** Rolls back. The broker drops published messages and undoes settlements, so messages that the program fetched are requeued. */
const rollback = (channel: Channel) =>
  Effect.flatMap(
    channel.request({ _tag: "tx.rollback" }),
    () => channel.acknowledgements.requeueJournal() ? channel.commit : Effect.void
  )

/** Runs a program. What it published is committed with the settlement of its message, or rolled back. */
const inTransaction = <R>(
  channel: Channel,
  program: AmqpChannel<unknown, unknown, R>
): Effect.Effect<unknown, unknown, R> =>
  Effect.suspend(() => {
    const publisher = new TransactionPublisher()
    const running = new RunningProgram("transaction", channel)
    setRunning(running, true)
    channel.programPublisher = publisher
    channel.lease.clearReturned()
    channel.acknowledgements.beginJournal()
    return runOn(program, channel).pipe(
      Effect.provideService(CurrentProgram, running),
      Effect.tap((settlement) =>
        publisher.hasMandatory && Settlements.isSettlement(settlement) ? commitMandatory(channel) : Effect.void
      ),
      Effect.onExit((exit) => {
        setRunning(running, false)
        channel.programPublisher = undefined
        const isSettled = Exit.isSuccess(exit) && Settlements.isSettlement(exit.value)
        if (isSettled || channel.failure !== undefined) {
          channel.acknowledgements.endJournal()
          return Effect.void
        }
        // The failure policy settles the message itself afterwards.
        return Effect.ignore(rollback(channel))
      })
    )
  })

/**
 * Commits before the message is settled: RabbitMQ returns mandatory messages at the commit, and a message that was settled by the same commit
 * could not be kept.
 */
const commitMandatory = (channel: Channel): Effect.Effect<void, AmqpChannelError> =>
  Effect.flatMap(channel.commit, () => {
    const { firstReturned: returned } = channel.lease
    return returned === undefined ? Effect.void : Effect.fail(channelError(returned))
  })
