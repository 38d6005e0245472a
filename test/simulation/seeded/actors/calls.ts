/** Calls a server of its own. */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpRpc from "@effect-amqp/core/AmqpRpc"
import * as Effect from "effect/Effect"
import type { RpcPlan } from "../plan.ts"
import type { Role } from "../role.ts"

export const call = (plan: RpcPlan, { actor, history }: Role) =>
  Effect.scoped(Effect.gen(function*() {
    const queue = AmqpQueue.classic(`${plan.queue}.${actor}`)
    yield* AmqpChannel.run(AmqpQueue.declare(queue))
    yield* Effect.forkScoped(AmqpRpc.serve(queue, (request) =>
      Effect.as(Effect.sleep(plan.handlerMillis), AmqpMessage.text(`answer to ${request.text}`))))
    const client = yield* AmqpRpc.makeClient()
    yield* Effect.forEach(
      Array.from({ length: plan.calls }, (_, index) =>
        index),
      (index) =>
        client.call(AmqpMessage.text(`${actor}-${index}`), AmqpQueue.route(queue)).pipe(
          Effect.timeout(plan.timeoutMillis),
          Effect.catchTag("TimeoutError", () => Effect.succeed(undefined)),
          Effect.map((answer) => {
            if (answer !== undefined && answer.text !== `answer to ${actor}-${index}`) {
              history.violations.push(`call ${actor}-${index} was answered with ${answer.text}`)
            }
          })
        ),
      { concurrency: 4, discard: true }
    )
  }))
