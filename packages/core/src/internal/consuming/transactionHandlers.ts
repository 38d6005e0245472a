/**
 * Handlers that are channel programs, each in a transaction on the channel of its consumer. One runs at a time.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { AmqpChannel } from "../../AmqpChannel.ts"
import { AmqpChannelError } from "../../AmqpError.ts"
import type { Properties } from "../../AmqpMessage.ts"
import type { Channel, ProgramPublisher } from "../channel/channel.ts"
import { CurrentProgram, isProgram, RunningProgram, runOn, setRunning } from "../channel/program.ts"
import type { Route } from "../message/route.ts"
import type { Received } from "./delivery.ts"
import * as Settlements from "./settlement.ts"

/** How messages are handled. `channel` is set before the first one comes. */
export interface Handling<R> {
  readonly handle: (delivery: Received) => Effect.Effect<unknown, unknown, R>
  /** Runs after each settlement. */
  readonly commit: Effect.Effect<void, AmqpChannelError> | undefined
  channel?: Channel
}

/** Notes whether something was published that comes back when no queue takes it. */
class Publishes implements ProgramPublisher {
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
        // What else it may be is the engine's to name.
        if (!isProgram(program) || channel === undefined) {
          return program as unknown as Effect.Effect<unknown, unknown, R>
        }
        return inTransaction(channel, program)
      },
      commit: Effect.suspend(() => handling.channel === undefined ? Effect.void : commit(handling.channel))
    }
  return handling
}

const commit = (channel: Channel) =>
  Effect.map(Effect.uninterruptible(channel.request({ _tag: "tx.commit" })), () => {
    channel.unconfirmed = false
  })

/** Takes back what was published. What the program fetched and settled is open again for the broker, and goes back to its queue. */
const rollback = (channel: Channel) =>
  Effect.flatMap(
    channel.request({ _tag: "tx.rollback" }),
    () => channel.acknowledgements.handBackNoted() ? commit(channel) : Effect.void
  )

/** Runs a program. What it published is there for the commit that follows its settlement, or taken back. */
const inTransaction = <R>(
  channel: Channel,
  program: AmqpChannel<unknown, unknown, R>
): Effect.Effect<unknown, unknown, R> =>
  Effect.suspend(() => {
    const publishes = new Publishes()
    const running = new RunningProgram("transaction", channel)
    setRunning(running, true)
    channel.programPublisher = publishes
    channel.returned = undefined
    channel.acknowledgements.beginJournal()
    return runOn(program, channel).pipe(
      Effect.provideService(CurrentProgram, running),
      Effect.tap((settlement) =>
        publishes.hasMandatory && Settlements.isSettlement(settlement) ? commitMandatory(channel) : Effect.void
      ),
      Effect.onExit((exit) => {
        setRunning(running, false)
        channel.programPublisher = undefined
        const isSettled = Exit.isSuccess(exit) && Settlements.isSettlement(exit.value)
        if (isSettled || channel.failure !== undefined) {
          channel.acknowledgements.endJournal()
          return Effect.void
        }
        // What was published is forgotten. The delivery itself is settled afterwards, by the policy.
        return Effect.ignore(rollback(channel))
      })
    )
  })

/** RabbitMQ finds out at the commit that no queue takes a message, when it would be too late to keep the one that was handled. */
const commitMandatory = (channel: Channel): Effect.Effect<void, AmqpChannelError> =>
  Effect.flatMap(commit(channel), () => {
    const { returned } = channel
    return returned === undefined ? Effect.void : Effect.fail(new AmqpChannelError({ reason: returned }))
  })
