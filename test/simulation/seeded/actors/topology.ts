/**
 * A topology that is declared on each session, with a publisher to its exchange and a consumer of its queue.
 *
 * Most of these queues end with their session. If the topology were not declared before the publisher goes on, a mandatory message would
 * come back.
 */
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpTopology from "@effect-amqp/core/AmqpTopology"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type { History } from "../history.ts"
import { topologyName } from "../plan.ts"
import type { TopologyPlan } from "../plan.ts"
import { started } from "../role.ts"
import type { Role } from "../role.ts"

/** How often the publisher sends a message at the end until the consumer gets one. */
const maxProbes = 600

export const useTopology = (plan: TopologyPlan, role: Role) =>
  Effect.scoped(Effect.gen(function*() {
    const { actor, client, history } = role
    const name = topologyName(actor)
    const exchange = AmqpExchange.topic(name)
    const queue = AmqpQueue.withBinding(queueOf(plan, name), { exchange, routingKey: "#" })
    const topology = AmqpTopology.layer(AmqpTopology.make(exchange, queue), {
      onFailure: ({ error }) => Effect.sync(() => history.fail(actor, error))
    })
    yield* started(role, Layer.build(topology))
    yield* register(history, { client, names: [name, queue.name] })
    let received = 0
    const handler = () =>
      Effect.sync(() => {
        received++
        return AmqpDelivery.ack
      })
    const ended = yield* started(role, AmqpConsumer.startServing(queue, handler))
    yield* Effect.forkScoped(Effect.catch(ended, (error) => Effect.sync(() => history.fail(actor, error))))
    const publisher = yield* started(
      role,
      AmqpPublisher.make({ retry: Schedule.spaced(100), defaults: { mandatory: true } })
    )
    const publish = publisher.publish(AmqpMessage.text(`topology ${actor}|`), { exchange, routingKey: "any" }).pipe(
      Effect.catch((error) => Effect.sync(() => history.fail(actor, error)))
    )
    for (let count = 0; count < plan.count; count++) {
      yield* publish
      yield* Effect.sleep(plan.pauseMillis)
    }
    const connection = yield* AmqpConnection.AmqpConnection
    const before = received
    const probe = Effect.andThen(publish, Effect.sleep(1_000))
    const mayGoOn = Effect.map(
      connection.state,
      ({ _tag }) => received === before && _tag !== "Closed" && !history.hasFailed(actor)
    )
    for (let probes = 0; yield* mayGoOn; probes++) {
      if (probes === maxProbes) return void history.violations.push(`the consumer of ${name} does not go on`)
      yield* probe
    }
  }))

const queueOf = ({ queue }: TopologyPlan, name: string): AmqpQueue.AmqpQueue<"classic"> => {
  switch (queue) {
    case "durable":
      return AmqpQueue.classic(name)
    case "exclusive":
      return AmqpQueue.classic(name, { durable: false, exclusive: true })
    case "autoDelete":
      return AmqpQueue.classic(name, { durable: false, autoDelete: true })
    case "serverNamed":
      return AmqpQueue.serverNamed()
  }
}

/** From now on each session has to begin with this topology, until the scope closes. */
const register = ({ topologies }: History, topology: History["topologies"][number]) =>
  Effect.acquireRelease(
    Effect.sync(() => topologies.push(topology)),
    () => Effect.sync(() => topologies.splice(topologies.indexOf(topology), 1))
  )
