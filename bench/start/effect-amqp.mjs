import { AmqpMessage, AmqpPublisher } from "@effect-amqp/core"
import { NodeAmqp } from "@effect-amqp/node"
import * as Effect from "effect/Effect"
import { queue, report, url } from "./task.mjs"

await Effect.gen(function*() {
  const publisher = yield* AmqpPublisher.make()
  yield* publisher.publish(AmqpMessage.text("hello"), { exchange: "", routingKey: queue })
  report()
}).pipe(Effect.scoped, Effect.provide(NodeAmqp.layer({ url })), Effect.runPromise)
