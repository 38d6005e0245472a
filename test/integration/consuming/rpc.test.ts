import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpRpc from "@effect-amqp/core/AmqpRpc"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import {
  awaitConsumers,
  awaitMessages,
  connected,
  declaredQueue,
  failsWith,
  fork,
  queueName,
  take,
  toQueue,
  uniqueName
} from "../../support/broker.ts"

/** Starts a server that replies with the request in capitals. */
const startServer = (queue: string, options?: { readonly concurrency?: number }) =>
  Effect.tap(
    fork(AmqpRpc.serve(queue, ({ text }) => Effect.succeed(AmqpMessage.text(text.toUpperCase())), options)),
    awaitConsumers(queue, 1)
  )

describe("RPC", () => {
  it.live("V9: gives each of 500 calls by 50 fibers its own reply", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* startServer(queue, { concurrency: 10 })
      const { call } = yield* AmqpRpc.makeClient()
      const replies = yield* Effect.forEach(
        Array.from({ length: 500 }, (_, index) => `call ${index}`),
        (text) => Effect.map(call(AmqpMessage.text(text), toQueue(queue)), (reply) => [text, reply.text] as const),
        { concurrency: 50 }
      )
      for (const [text, reply] of replies) assert.strictEqual(reply, text.toUpperCase())
    })))

  it.live("declares the queue of a server that describes it", () =>
    connected(Effect.gen(function*() {
      const name = yield* queueName
      const queue = AmqpQueue.classic(name, { exclusive: true })
      yield* fork(AmqpRpc.serve(queue, ({ body }) => Effect.succeed(AmqpMessage.make(body))))
      const { call } = yield* AmqpRpc.makeClient()
      const reply = yield* Effect.eventually(call(AmqpMessage.text("echo"), toQueue(name)))
      assert.strictEqual(reply.text, "echo")
    })))

  it.live("fails a call at once when no queue takes its request", () =>
    connected(Effect.gen(function*() {
      const { call } = yield* AmqpRpc.makeClient()
      const { replyCode } = yield* failsWith(call(AmqpMessage.text("anyone?"), toQueue(uniqueName("none"))), "Returned")
      assert.strictEqual(replyCode, 312)
    })))

  it.live("E7: fails a call whose exchange does not exist, and the next call succeeds", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* startServer(queue)
      const { call } = yield* AmqpRpc.makeClient()
      const { message } = yield* failsWith(
        call(AmqpMessage.text("hello"), { exchange: uniqueName("none"), routingKey: "any" }),
        "OutcomeUnknown"
      )
      assert.include(message, "no exchange")
      assert.strictEqual((yield* call(AmqpMessage.text("hello"), toQueue(queue))).text, "HELLO")
    })))

  it.live("drops the reply to an interrupted call", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const asked = yield* Deferred.make<void>()
      const answer = yield* Deferred.make<void>()
      yield* fork(AmqpRpc.serve(queue, ({ text }) =>
        text === "slow"
          ? Deferred.succeed(asked, undefined).pipe(
            Effect.andThen(Deferred.await(answer)),
            Effect.as(AmqpMessage.text("late"))
          )
          : Effect.succeed(AmqpMessage.text("quick")), { concurrency: 2 }))
      const { call } = yield* AmqpRpc.makeClient()
      const calling = yield* fork(call(AmqpMessage.text("slow"), toQueue(queue)))
      yield* Deferred.await(asked)
      yield* Fiber.interrupt(calling)
      yield* Deferred.succeed(answer, undefined)
      assert.strictEqual((yield* call(AmqpMessage.text("next"), toQueue(queue))).text, "quick")
    })))

  it.live("requeues a request whose handler fails, and dead-letters it when the handler fails again", () =>
    connected(Effect.gen(function*() {
      const dead = yield* declaredQueue()
      const queue = yield* declaredQueue({ deadLetterExchange: "", deadLetterRoutingKey: dead })
      let attempts = 0
      yield* fork(AmqpRpc.serve(queue, () => {
        attempts++
        return Effect.fail("no")
      }, {
        onFailure: (_, { redelivered }) => Effect.succeed(redelivered ? AmqpDelivery.reject : AmqpDelivery.requeue)
      }))
      const { call } = yield* AmqpRpc.makeClient()
      const calling = yield* fork(call(AmqpMessage.text("impossible"), toQueue(queue)))
      yield* awaitMessages(dead, 1)
      assert.strictEqual(attempts, 2)
      yield* Fiber.interrupt(calling)
    })))

  it.live("dead-letters a request without replyTo", () =>
    connected(Effect.gen(function*() {
      const dead = yield* declaredQueue()
      const options = { deadLetterExchange: "", deadLetterRoutingKey: dead }
      const queue = yield* declaredQueue(options)
      yield* fork(AmqpRpc.serve(AmqpQueue.classic(queue, options), () => Effect.die("it was called")))
      const { publish } = yield* AmqpPublisher.make()
      yield* publish(AmqpMessage.text("to whom?"), toQueue(queue))
      yield* awaitMessages(dead, 1)
      const letter = yield* take(dead)
      assert.strictEqual(letter.text, "to whom?")
      assert.include(letter.properties.headers?.["x-failure-error"], "no replyTo")
    })).pipe(Effect.provide(Logger.layer([]))))
})
