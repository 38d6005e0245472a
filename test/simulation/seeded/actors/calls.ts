/** Calls its own RPC server. */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import type * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import type { AmqpPublishError } from "@effect-amqp/core/AmqpError"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpRpc from "@effect-amqp/core/AmqpRpc"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { RpcPlan } from "../plan.ts"
import { started } from "../role.ts"
import type { Role } from "../role.ts"

export const call = (plan: RpcPlan, role: Role) =>
  Effect.scoped(Effect.gen(function*() {
    const { actor, client: connectionIndex, history, isOrderly, isSmooth, recovers } = role
    const queue = AmqpQueue.classic(`${plan.queue}.${actor}`)
    yield* started(role, AmqpChannel.run(AmqpQueue.declare(queue)))
    const handled = new Set<string>()
    const handler = ({ text }: AmqpDelivery.ReceivedMessage) =>
      Effect.suspend(() => {
        if (isOrderly && !plan.retries && handled.has(text)) {
          history.violations.push(`request ${text} was handled twice`)
        }
        handled.add(text)
        return Effect.as(Effect.sleep(plan.handlerMillis), AmqpMessage.text(`answer to ${text}`))
      })
    // It ends if the broker closes its channel for a reason that does not pass.
    const server = yield* Effect.forkScoped(started(role, AmqpRpc.serve(queue, handler)))
    const connection = yield* AmqpConnection.AmqpConnection
    const client = yield* started(role, AmqpRpc.makeClient(plan.retries ? { retry: Schedule.spaced(100) } : {}))
    /** With recovery, the client is used again after a loss. */
    const orUnknown = (error: AmqpPublishError) => {
      if (!recovers) return Effect.fail(error)
      history.fail(actor, error)
      return Effect.succeed(undefined)
    }
    const callOnce = (index: number) =>
      Effect.suspend(() => {
        const disturbances = history.disturbancesOf(connectionIndex)
        const timedOut = Effect.map(connection.state, ({ _tag }) => {
          if (plan.timeoutMillis < 1_000) return undefined
          // A lost connection has to fail a call long before this timeout.
          if (_tag === "Closed") {
            history.violations.push(`call ${actor}-${index} did not fail when its connection was lost`)
          } else if (
            isSmooth && server.pollUnsafe() === undefined && history.disturbancesOf(connectionIndex) === disturbances
          ) {
            history.violations.push(`call ${actor}-${index} was not answered`)
          }
          return undefined
        })
        return client.call(AmqpMessage.text(`${actor}-${index}`), AmqpQueue.route(queue)).pipe(
          Effect.timeout(plan.timeoutMillis),
          Effect.catchTag("TimeoutError", () => timedOut),
          Effect.catchTag("AmqpPublishError", orUnknown),
          Effect.map((answer) => {
            if (answer !== undefined && answer.text !== `answer to ${actor}-${index}`) {
              history.violations.push(`call ${actor}-${index} was answered with ${answer.text}`)
            }
          })
        )
      })
    yield* Effect.forEach(
      Array.from({ length: plan.calls }, (_, index) => index),
      (index) => Effect.andThen(callOnce(index), plan.pauseMillis > 0 ? Effect.sleep(plan.pauseMillis) : Effect.void),
      { concurrency: 4, discard: true }
    )
  }))
