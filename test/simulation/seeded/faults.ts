/** The faults of a simulated run. */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import type { AmqpBroker } from "@effect-amqp/core/testing/AmqpBroker"
import * as Effect from "effect/Effect"
import type { Pace } from "./pace.ts"
import type { Fault } from "./plan.ts"

/** The current connection of a client, as the broker sees it. */
export const find = (broker: AmqpBroker["Service"], index: 0 | 1) =>
  Effect.map(broker.connections, (connections) => connections.find(({ name }) => name === `c${index}`))

export const inflict = (fault: Fault, broker: AmqpBroker["Service"], pace: Pace): Effect.Effect<void> =>
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
        return channel === undefined
          ? undefined
          : yield* connection.closeChannel(channel.number, fault.replyCode, "simulated")
      }
      case "Hostile":
        return yield* connection.sendBytes(Uint8Array.from(fault.bytes))
    }
  })
