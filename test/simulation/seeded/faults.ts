/** The faults of a simulated run. */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import type { AmqpBroker } from "@effect-amqp/core/testing/AmqpBroker"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { Fault } from "./plan.ts"
import { userOf } from "./world.ts"
import type { World } from "./world.ts"

/** The current connection of a client, as the broker sees it. It may still have earlier ones. */
export const find = (broker: AmqpBroker["Service"], index: 0 | 1) =>
  Effect.map(broker.connections, (connections) => connections.findLast(({ name }) => name === `c${index}`))

/** What a fault needs of the run. */
type FaultWorld = Pick<World, "broker" | "pace" | "history" | "passwords" | "newPasswords">

export const inflict = (
  fault: Fault,
  { broker, history, newPasswords, pace, passwords }: FaultWorld
): Effect.Effect<void> =>
  Effect.gen(function*() {
    yield* Effect.sleep(fault.atMillis)
    pace.slowDown()
    const connection = yield* find(broker, fault.connection)
    switch (fault._tag) {
      case "Block":
        yield* broker.block("simulated")
        yield* Effect.sleep(fault.forMillis)
        pace.slowDown()
        return yield* broker.unblock
      case "DeleteQueue":
        return yield* Effect.ignore(
          Effect.scoped(Effect.flatMap(broker.connect(), (connected) =>
            Effect.provideService(
              AmqpChannel.run(AmqpQueue.delete(fault.queue)),
              AmqpConnection.AmqpConnection,
              connected
            )))
        )
      case "Refuse":
        yield* broker.refuseConnections(true)
        yield* Effect.sleep(fault.forMillis)
        pace.slowDown()
        return yield* broker.refuseConnections(false)
      case "ChangePassword": {
        const password = `secret at ${fault.atMillis}`
        newPasswords[fault.connection] = password
        yield* broker.setUser(userOf(fault.connection), { password: Redacted.make(password) })
        yield* Effect.sleep(fault.forMillis)
        // It may have been changed again meanwhile.
        passwords[fault.connection] = newPasswords[fault.connection]
        return
      }
    }
    if (connection === undefined) return
    switch (fault._tag) {
      case "Cut":
        return yield* connection.cut
      case "CutAfter":
        return yield* connection.cutAfter(fault.direction, fault.bytes)
      case "Stall":
        yield* connection.stall(fault.direction)
        yield* Effect.sleep(fault.forMillis)
        pace.slowDown()
        return yield* connection.resume(fault.direction)
      case "CloseConnection":
        return yield* connection.close(fault.replyCode, "simulated")
      case "CloseChannel": {
        const channel = connection.channels[fault.nth]
        if (channel === undefined) return
        history.closedChannels[fault.connection]++
        return yield* connection.closeChannel(channel.number, fault.replyCode, "simulated")
      }
      case "Hostile":
        return yield* connection.sendBytes(Uint8Array.from(fault.bytes))
    }
  })
