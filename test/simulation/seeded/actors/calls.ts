/** Calls its own RPC server. */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpRpc from "@effect-amqp/core/AmqpRpc"
import * as Effect from "effect/Effect"
import type { RpcPlan } from "../plan.ts"
import type { Role } from "../role.ts"

export const call = (plan: RpcPlan, { actor, client: connectionIndex, history, isSmooth }: Role) =>
  Effect.scoped(Effect.gen(function*() {
    const queue = AmqpQueue.classic(`${plan.queue}.${actor}`)
    yield* AmqpChannel.run(AmqpQueue.declare(queue))
    yield* Effect.forkScoped(
      AmqpRpc.serve(
        queue,
        (request) => Effect.as(Effect.sleep(plan.handlerMillis), AmqpMessage.text(`answer to ${request.text}`))
      )
    )
    const connection = yield* AmqpConnection.AmqpConnection
    const client = yield* AmqpRpc.makeClient()
    yield* Effect.forEach(
      Array.from({ length: plan.calls }, (_, index) => index),
      (index) => {
        const disturbances = history.disturbancesOf(connectionIndex)
        return client.call(AmqpMessage.text(`${actor}-${index}`), AmqpQueue.route(queue)).pipe(
          Effect.timeout(plan.timeoutMillis),
          Effect.catchTag("TimeoutError", () =>
            Effect.map(connection.state, ({ _tag }) => {
              // A lost connection has to fail a call long before this timeout.
              if (_tag === "Closed" && plan.timeoutMillis > 1_000) {
                history.violations.push(`call ${actor}-${index} did not fail when its connection was lost`)
              } else if (
                isSmooth && plan.timeoutMillis > 1_000 && history.disturbancesOf(connectionIndex) === disturbances
              ) {
                history.violations.push(`call ${actor}-${index} was not answered`)
              }
              return undefined
            })),
          plan.pauseMillis > 0 ? Effect.tap(() => Effect.sleep(plan.pauseMillis)) : (self) => self,
          Effect.map((answer) => {
            if (answer !== undefined && answer.text !== `answer to ${actor}-${index}`) {
              history.violations.push(`call ${actor}-${index} was answered with ${answer.text}`)
            }
          })
        )
      },
      { concurrency: 4, discard: true }
    )
  }))
