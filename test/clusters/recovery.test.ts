import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as NodeAmqp from "@effect-amqp/node/NodeAmqp"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { onRabbitMQ } from "../support/brokerUnderTest.ts"
import { canStartCluster, startCluster } from "../support/cluster.ts"
import type { Cluster } from "../support/cluster.ts"
import { rabbitmqctlFor } from "../support/command.ts"
import type { RabbitMQNode } from "../support/rabbitmqNode.ts"

/** Waits until a condition holds. A test that waits in vain ends by its timeout. */
const until = (condition: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => condition() ? Effect.void : Effect.andThen(Effect.sleep("50 millis"), until(condition)))

describe.runIf(onRabbitMQ("The embedded broker has no cluster.") && canStartCluster())(
  "in a cluster of three nodes",
  () => {
    let cluster: Cluster

    beforeAll(async () => {
      cluster = await startCluster({ size: 3 })
    }, 240_000)

    afterAll(() => cluster?.stop(), 60_000)

    const nodeAt = (index: number): RabbitMQNode => cluster.nodes[index] ?? assert.fail(`no node ${index}`)

    /** The cluster is running only when the tests are. */
    const connectedTo = (options: () => NodeAmqp.Options) => Layer.suspend(() => NodeAmqp.layer(options()))

    it.live(
      "B4: the consumer of a classic queue goes on when the node of the queue is back",
      () =>
        Effect.scoped(Effect.gen(function*() {
          const home = nodeAt(1)
          const name = "cluster.classic"
          const onHome = NodeAmqp.layer({ url: home.url })
          // A classic queue lives on the node that it is declared on.
          yield* AmqpChannel.run(AmqpQueue.declare(AmqpQueue.classic(name))).pipe(Effect.provide(onHome))
          const handled: Array<string> = []
          yield* AmqpConsumer.startServing(
            name,
            ({ text }) =>
              Effect.as(
                Effect.sync(() => handled.push(text)),
                AmqpDelivery.ack
              )
          )
          const publish = (text: string) =>
            AmqpChannel.confirmed(
              AmqpChannel.publish(AmqpMessage.text(text, { deliveryMode: "persistent" }), AmqpQueue.route(name))
            )
          yield* publish("before")
          yield* until(() => handled.length === 1)
          yield* Effect.promise(() => home.stop())
          const gone = () => rabbitmqctlFor(nodeAt(0), "list_queues", "name", "state", "--offline")
          assert.include(yield* Effect.promise(gone), name)
          yield* Effect.sleep("2 seconds")
          yield* Effect.promise(() => home.start())
          yield* publish("after").pipe(Effect.provide(Layer.fresh(onHome)), Effect.retry(Schedule.spaced("200 millis")))
          yield* until(() => handled.includes("after"))
          assert.deepStrictEqual(handled, ["before", "after"])
          yield* AmqpChannel.run(AmqpQueue.delete(name))
        })).pipe(Effect.provide(connectedTo(() => ({ url: nodeAt(0).url })))),
      300_000
    )
  }
)
