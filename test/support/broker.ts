/**
 * The client and the broker that the integration tests run against.
 *
 * Tests run concurrently on a broker that may be the user's: what they declare has a unique name, and is deleted at the end of
 * their scope.
 */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import type * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import type { ReceivedMessage } from "@effect-amqp/core/AmqpDelivery"
import type { AmqpChannelError } from "@effect-amqp/core/AmqpError"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import type { AmqpMessage } from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as NodeAmqp from "@effect-amqp/node/NodeAmqp"
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { inspect } from "node:util"
import { brokerUrl } from "./brokerUnderTest.ts"
import { uniqueName } from "./names.ts"
import { singleSession } from "./recovery.ts"

export { uniqueName } from "./names.ts"

// -----------------------------------------------------------------------------
// connections
// -----------------------------------------------------------------------------

type Connection = AmqpConnection.AmqpConnection

/** Provides a connection to the broker of this run, by default without recovery. */
export const connection = (options: Partial<NodeAmqp.Options> = {}) =>
  NodeAmqp.layer({ url: brokerUrl, connectionName: "effect-amqp test", ...singleSession, ...options })

/** Runs a test with its own connection, which closes after the test's scope. */
export const connected = <A, E, R>(body: Effect.Effect<A, E, R>, options?: Partial<NodeAmqp.Options>) =>
  Effect.provide(Effect.scoped(body), connection(options))

// -----------------------------------------------------------------------------
// queues and exchanges
// -----------------------------------------------------------------------------

/** A name for a queue, which is deleted at the end of the scope. */
export const queueName: Effect.Effect<string, never, Connection | Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => uniqueName("queue")),
  (name) => Effect.orDie(AmqpChannel.run(AmqpQueue.delete(name)))
)

/** A queue that is deleted at the end of the scope. */
export const declaredQueue = (
  options?: AmqpQueue.ClassicOptions
): Effect.Effect<string, AmqpChannelError, Connection | Scope.Scope> =>
  Effect.tap(queueName, (name) => AmqpChannel.run(AmqpQueue.declare(AmqpQueue.classic(name, options))))

/** A name for an exchange, which is deleted at the end of the scope. */
export const exchangeName: Effect.Effect<string, never, Connection | Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => uniqueName("exchange")),
  (name) => Effect.orDie(AmqpChannel.run(AmqpExchange.delete(name)))
)

/** An exchange that is deleted at the end of the scope. */
export const declaredExchange = (
  make: (name: string) => AmqpExchange.AmqpExchange
): Effect.Effect<string, AmqpChannelError, Connection | Scope.Scope> =>
  Effect.tap(exchangeName, (name) => AmqpChannel.run(AmqpExchange.declare(make(name))))

/** The route to a queue, by the default exchange. */
export const toQueue = (queue: string): AmqpChannel.PublishOptions => ({ exchange: "", routingKey: queue })

/** Publishes messages to a queue, until the broker has confirmed them. */
export const fill = (queue: string, ...messages: ReadonlyArray<AmqpMessage>) =>
  AmqpChannel.confirmed(
    AmqpChannel.forEach(messages, (message) => AmqpChannel.publish(message, toQueue(queue)))
  )

/** Takes a message out of a queue, and fails the test if the queue is empty. */
export const take = (
  queue: string
): Effect.Effect<ReceivedMessage, AmqpChannelError, Connection> =>
  Effect.map(
    AmqpChannel.run(AmqpQueue.getAutoAck(queue)),
    (found) => found._tag === "Some" ? found.value : assert.fail(`there is no message in ${queue}`)
  )

/** Takes all ready messages out of a queue, and returns their texts in order. */
export const drain = (queue: string) =>
  Effect.gen(function*() {
    const texts: Array<string> = []
    for (let left = (yield* infoOf(queue)).messageCount; left > 0; left--) texts.push((yield* take(queue)).text)
    return texts
  })

// -----------------------------------------------------------------------------
// waiting
// -----------------------------------------------------------------------------

/** Repeats an effect until its result is right, and fails the test after 10 seconds. */
export const eventually = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  isRight: (result: A) => boolean
): Effect.Effect<A, E, R> =>
  Effect.gen(function*() {
    const deadline = Date.now() + 10_000
    for (;;) {
      const result = yield* self
      if (isRight(result)) return result
      if (Date.now() > deadline) return assert.fail(`the result is still ${inspect(result)}`)
      yield* Effect.sleep("10 millis")
    }
  })

/** The counts of a queue. */
export const infoOf = (queue: string) => AmqpChannel.run(AmqpQueue.declarePassive(queue))

/** Waits until a queue has this number of ready messages. */
export const awaitMessages = (queue: string, count: number) =>
  eventually(infoOf(queue), ({ messageCount }) => messageCount === count)

/** Waits until a queue has this number of consumers. */
export const awaitConsumers = (queue: string, count: number) =>
  eventually(infoOf(queue), ({ consumerCount }) => consumerCount === count)

/** Runs an effect in the background of a test. */
export const fork = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkChild(self, { startImmediately: true })

/** The error of a fiber, which must fail. */
export const failureOf = <A, E>(fiber: Fiber.Fiber<A, E>): Effect.Effect<E> =>
  Effect.catch(
    Effect.flip(Fiber.join(fiber)),
    (value) => Effect.die(new Error(`the fiber succeeded with ${inspect(value)}`))
  )

// -----------------------------------------------------------------------------
// failures
// -----------------------------------------------------------------------------

type ReasonOf<E> = E extends { readonly reason: infer Reason extends { readonly _tag: string } } ? Reason : never

type ReasonNamed<E, Tag> = Extract<ReasonOf<E>, { readonly _tag: Tag }>

/** Asserts the tag of an error's reason, and returns the reason. */
export const assertReason = <E extends { readonly _tag: string }, Tag extends ReasonOf<E>["_tag"]>(
  error: E,
  tag: Tag
): ReasonNamed<E, Tag> => {
  const reason: unknown = "reason" in error ? error.reason : undefined
  const actual = typeof reason === "object" && reason !== null && "_tag" in reason ? reason._tag : error._tag
  assert.strictEqual(actual, tag, inspect(error))
  // The tag was compared, so the reason has this type.
  return reason as ReasonNamed<E, Tag>
}

/** Asserts that an effect fails with this reason, and returns the reason. */
export const failsWith = <A, E extends { readonly _tag: string }, R, Tag extends ReasonOf<E>["_tag"]>(
  self: Effect.Effect<A, E, R>,
  tag: Tag
): Effect.Effect<ReasonNamed<E, Tag>, never, R> =>
  self.pipe(
    Effect.flip,
    Effect.catch((value) => Effect.die(new Error(`succeeded with ${inspect(value)}`))),
    Effect.map((error) => assertReason(error, tag))
  )
