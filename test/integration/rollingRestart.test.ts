import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as NodeAmqp from "@effect-amqp/node/NodeAmqp"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { onRabbitMQ } from "../support/brokerUnderTest.ts"
import { canStartCluster, startCluster } from "../support/cluster.ts"

/** Waits until a condition holds. A test that waits in vain ends by its timeout. */
const until = (condition: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => condition() ? Effect.void : Effect.andThen(Effect.sleep("50 millis"), until(condition)))

describe.runIf(onRabbitMQ("The embedded broker has no cluster."))("in a cluster of three nodes", () => {
  it.live(
    "B3: no confirmed message is lost and publisher and consumer go on while the nodes are restarted one by one",
    ({ skip }) =>
      Effect.scoped(Effect.gen(function*() {
        if (!canStartCluster()) return skip("there is no rabbitmq-server on the PATH")
        const { nodes } = yield* Effect.acquireRelease(
          Effect.promise(() => startCluster({ size: 3 })),
          ({ stop }) => Effect.promise(stop)
        )
        // In this order, the first node that stops has both the connection and the leader of the queue, which is on the node that declares it.
        const connection = NodeAmqp.layer({ url: nodes.map(({ url }) => url), endpointOrder: "ordered" })
        yield* Effect.scoped(Effect.gen(function*() {
          const queue = AmqpQueue.quorum("cluster.rolling")
          const handled = new Set<string>()
          let confirmed = 0
          const control = { isRestarting: true }
          let losses = 0
          const { stateChanges } = yield* AmqpConnection.AmqpConnection
          yield* Effect.forkScoped(
            Stream.runForEach(stateChanges, ({ _tag }) => Effect.sync(() => _tag === "Recovering" && losses++))
          )
          yield* AmqpConsumer.startServing(
            queue,
            ({ text }) => Effect.as(Effect.sync(() => handled.add(text)), AmqpDelivery.ack),
            { concurrency: 10 }
          )
          // A queue without a leader nacks, for as long as it takes to elect one.
          const publisher = yield* AmqpPublisher.make({ retry: Schedule.spaced("100 millis") })
          const publishing = Effect.gen(function*() {
            while (control.isRestarting) {
              yield* publisher.publish(
                AmqpMessage.text(String(confirmed), { deliveryMode: "persistent" }),
                { ...AmqpQueue.route(queue), mandatory: true }
              )
              confirmed++
              yield* Effect.sleep("5 millis")
            }
          })
          const restarting = Effect.gen(function*() {
            for (const node of nodes) {
              // A leader that is killed can't hand over, so new channels publish to a queue without one, and are nacked.
              yield* Effect.promise(() => node === nodes[0] ? node.kill() : node.stop())
              // Two nodes are a majority, so the queue goes on without the third.
              const before = handled.size
              yield* until(() => handled.size > before + 20)
              yield* Effect.promise(() => node.start())
            }
            control.isRestarting = false
          })
          // A publish that fails ends the test.
          yield* Effect.all([publishing, restarting], { concurrency: 2 })
          yield* until(() => handled.size >= confirmed)
          assert.strictEqual(handled.size, confirmed)
          assert.isAtLeast(losses, 1)
        })).pipe(Effect.provide(connection))
      })),
    300_000
  )
})
