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
import { rabbitmqctlFor } from "../support/command.ts"
import type { RabbitMQNode } from "../support/rabbitmqNode.ts"

/** Waits until a condition holds. A test that waits in vain ends by its timeout. */
const until = (condition: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => condition() ? Effect.void : Effect.andThen(Effect.sleep("50 millis"), until(condition)))

const numbersTo = (count: number): ReadonlyArray<string> => Array.from({ length: count }, (_, index) => String(index))

/** The node with the leader of a quorum queue, as another running node knows it. */
const leaderOf = async (queue: string, asked: RabbitMQNode): Promise<string | undefined> => {
  const output = await rabbitmqctlFor(asked, "list_queues", "name", "leader", "--formatter", "json")
  const queues = JSON.parse(output) as ReadonlyArray<{ readonly name: string; readonly leader: string }> // as rabbitmqctl prints it
  return queues.find(({ name }) => name === queue)?.leader
}

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
        const others = (node: RabbitMQNode) => nodes.filter((other) => other !== node).map(({ nodename }) => nodename)
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
          const publish = ({ publish }: AmqpPublisher.AmqpPublisher["Service"], text: string) =>
            publish(AmqpMessage.text(text, { deliveryMode: "persistent" }), {
              ...AmqpQueue.route(queue),
              mandatory: true
            })
          const publishing = Effect.gen(function*() {
            while (control.isRestarting) {
              yield* publish(publisher, String(confirmed))
              confirmed++
              yield* Effect.sleep("5 millis")
            }
          })
          // Its messages are published once, with one outcome each.
          const once = yield* AmqpPublisher.make()
          const outcomes = new Map<string, string>()
          const publishingOnce = Effect.gen(function*() {
            for (let number = 0; control.isRestarting; number++) {
              const text = `once ${number}`
              const outcome = yield* Effect.match(publish(once, text), {
                onSuccess: () => "Confirmed",
                onFailure: ({ reason }) => reason._tag
              })
              outcomes.set(text, outcome)
              yield* Effect.sleep("5 millis")
            }
          })
          const textsWith = (outcome: string) =>
            [...outcomes].filter(([, found]) => found === outcome).map(([text]) => text)
          const restarting = Effect.gen(function*() {
            const leader = yield* Effect.promise(() => leaderOf(queue.name, nodes[0]))
            assert.strictEqual(leader, nodes[0].nodename)
            for (const node of nodes) {
              // A leader that is killed can't hand over, so new channels publish to a queue without one, and are nacked.
              yield* Effect.promise(() => node === nodes[0] ? node.kill() : node.stop())
              // Two nodes are a majority, so the queue goes on without the third.
              const before = handled.size
              yield* until(() => handled.size > before + 20)
              const asked = nodes.find((other) => other.isRunning()) ?? assert.fail("no node is running")
              const leader = yield* Effect.promise(() => leaderOf(queue.name, asked))
              assert.include(others(node), leader, "the leader has moved to a node that is running")
              yield* Effect.promise(() => node.start())
            }
            control.isRestarting = false
          })
          // A publish that fails ends the test.
          yield* Effect.all([publishing, publishingOnce, restarting], { concurrency: 3 })
          const confirmedOnce = textsWith("Confirmed")
          const isHandled = (text: string) => handled.has(text)
          yield* until(() => numbersTo(confirmed).every(isHandled) && confirmedOnce.every(isHandled))
          const published = new Set([...numbersTo(confirmed), ...outcomes.keys()])
          assert.deepStrictEqual([...handled].filter((text) => !published.has(text)), [])
          // What was not confirmed is either unknown, or certainly in no queue.
          const refused = ["NotSent", "Nacked", "Returned"]
          assert.includeMembers(["Confirmed", "OutcomeUnknown", ...refused], [...outcomes.values()])
          assert.deepStrictEqual(refused.flatMap(textsWith).filter(isHandled), [])
          assert.isAbove(confirmedOnce.length, 0)
          assert.isAtLeast(losses, 1)
        })).pipe(Effect.provide(connection))
      })),
    300_000
  )
})
