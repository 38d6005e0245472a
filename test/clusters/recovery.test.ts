import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import { AmqpConnection } from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpTopology from "@effect-amqp/core/AmqpTopology"
import * as NodeAmqp from "@effect-amqp/node/NodeAmqp"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
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
          // Once the acknowledgement has arrived, the message does not come again.
          const counts = () => rabbitmqctlFor(nodeAt(0), "list_queues", "name", "messages")
          yield* Effect.repeat(Effect.promise(counts), { until: (lines) => lines.includes(`${name}\t0`) })
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

    it.live(
      "B4: a topology that a new connection can't declare, as the node of its queue is down, is declared when the node is back",
      () => {
        const exchange = AmqpExchange.fanout("cluster.news")
        const queue = AmqpQueue.classic("cluster.declared").pipe(AmqpQueue.withBinding({ exchange }))
        const topology = AmqpTopology.make(exchange, queue)
        const failures: Array<AmqpTopology.DeclareFailure> = []
        const declared = AmqpTopology.layer(topology, {
          onFailure: (failure) => Effect.sync(() => failures.push(failure)),
          schedule: Schedule.spaced("500 millis")
        })
        const publish = AmqpChannel.confirmed(
          AmqpChannel.publish(AmqpMessage.text("news"), { exchange: exchange.name, routingKey: "", mandatory: true })
        )
        return Effect.scoped(Effect.gen(function*() {
          const home = nodeAt(1)
          const { reconnect, state } = yield* AmqpConnection
          // A classic queue lives on the node that it is declared on.
          yield* AmqpChannel.run(AmqpTopology.declare(topology)).pipe(
            Effect.provide(NodeAmqp.layer({ url: home.url }))
          )
          yield* Layer.build(declared)
          yield* publish
          yield* Effect.promise(() => home.stop())
          // Without it the queue has no binding, which only the topology declares again.
          yield* AmqpChannel.run(AmqpExchange.delete(exchange.name))
          yield* reconnect
          assert.strictEqual((yield* state)._tag, "Open")
          assert.isAbove(failures.length, 0)
          for (const { description, error, willRetry } of failures) {
            assert.deepStrictEqual([description.name, error.reason._tag, willRetry], [queue.name, "NotFound", true])
          }
          // The rest of the topology exists.
          const returned = yield* Effect.flip(publish)
          if (returned._tag !== "AmqpPublishAllError") return assert.fail(returned._tag)
          assert.strictEqual(returned.failures[0].error.reason._tag, "Returned")
          yield* Effect.promise(() => home.start())
          yield* Effect.retry(publish, Schedule.spaced("200 millis"))
          yield* AmqpChannel.run(AmqpQueue.delete(queue.name))
          yield* AmqpChannel.run(AmqpExchange.delete(exchange.name))
        })).pipe(Effect.provide(connectedTo(() => ({ url: nodeAt(0).url }))))
      },
      300_000
    )

    it.live(
      "P6: a publish that a queue without a majority does not confirm fails and replaces the connection, and a retry succeeds",
      () =>
        Effect.scoped(Effect.gen(function*() {
          const queue = AmqpQueue.quorum("cluster.majority")
          yield* AmqpChannel.run(AmqpQueue.declare(queue))
          const { stateChanges } = yield* AmqpConnection
          const losses: Array<string> = []
          let last = "Open"
          const watching = Stream.runForEach(stateChanges, (state) =>
            Effect.sync(() => {
              if (state._tag === "Recovering" && last !== state._tag) losses.push(state.cause.reason._tag)
              last = state._tag
            }))
          yield* Effect.forkScoped(watching, { startImmediately: true })
          const confirmTimeout = "3 seconds"
          const plain = yield* AmqpPublisher.make({ confirmTimeout })
          const retrying = yield* AmqpPublisher.make({ confirmTimeout, retry: Schedule.spaced("100 millis") })
          const publish = ({ publish }: AmqpPublisher.AmqpPublisher["Service"], text: string) =>
            publish(AmqpMessage.text(text, { deliveryMode: "persistent" }), AmqpQueue.route(queue))
          yield* publish(plain, "before")
          const others = [nodeAt(1), nodeAt(2)]
          const control = (command: string) =>
            Effect.promise(() => Promise.all(others.map((node) => rabbitmqctlFor(node, command))))
          const outcome = yield* Effect.acquireUseRelease(
            control("stop_app"),
            () =>
              Effect.gen(function*() {
                const unknown = yield* Effect.forkScoped(Effect.flip(publish(plain, "unknown")), {
                  startImmediately: true
                })
                // Later, so that the other one is overdue first.
                yield* Effect.sleep("500 millis")
                const retried = yield* Effect.forkScoped(publish(retrying, "retried"), { startImmediately: true })
                const { reason } = yield* Fiber.join(unknown)
                if (reason._tag !== "OutcomeUnknown") return assert.fail(reason._tag)
                assert.strictEqual(reason.cause._tag, "AmqpChannelError")
                assert.strictEqual(reason.cause.reason._tag, "ConfirmTimeout")
                yield* until(() => losses.length > 0)
                assert.deepStrictEqual(losses, ["ConfirmsOverdue"])
                // The new connection leads to the same node, and nothing is confirmed on it either.
                yield* Effect.sleep("4 seconds")
                assert.isUndefined(retried.pollUnsafe())
                return retried
              }),
            () => control("start_app")
          )
          yield* Fiber.join(outcome)
          assert.deepStrictEqual(losses, ["ConfirmsOverdue"], "it is replaced once for each endpoint")
          const texts = yield* AmqpChannel.run(
            AmqpQueue.getAll(queue, ({ text }) => Effect.succeed(AmqpDelivery.as(AmqpDelivery.ack, text)))
          )
          assert.include(texts, "retried")
          yield* AmqpChannel.run(AmqpQueue.delete(queue.name))
        })).pipe(Effect.provide(connectedTo(() => ({ url: nodeAt(0).url })))),
      300_000
    )
  }
)
