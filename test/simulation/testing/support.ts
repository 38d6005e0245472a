/** What the tests of the embedded broker share. */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import type * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import type { AmqpConnectionError } from "@effect-amqp/core/AmqpError"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpBroker from "@effect-amqp/core/testing/AmqpBroker"
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { singleSession } from "../../support/recovery.ts"

export type Broker = AmqpBroker.AmqpBroker["Service"]

/** Runs a test with a broker and a connection to it, by default without recovery. */
export const withBroker = <A, E>(
  body: (broker: Broker) => Effect.Effect<A, E, AmqpConnection.AmqpConnection | Scope.Scope>,
  { connection, ...options }: Parameters<typeof AmqpBroker.layer>[0] = {}
): Effect.Effect<A, E | AmqpConnectionError> =>
  Effect.flatMap(AmqpBroker.AmqpBroker, body).pipe(
    Effect.scoped,
    Effect.provide(AmqpBroker.layer({ ...options, connection: { ...singleSession, ...connection } }))
  )

export const publish = (queue: string, ...texts: ReadonlyArray<string>) =>
  AmqpChannel.confirmed(
    AmqpChannel.forEach(texts, (text) => AmqpChannel.publish(AmqpMessage.text(text), AmqpQueue.route(queue)))
  )

export const declared = (queue: string | AmqpQueue.AmqpQueue) => AmqpChannel.run(AmqpQueue.declare(queue))

export const textsOf = (broker: Broker, queue: string) =>
  Effect.map(broker.messages(queue), (messages) => messages.map(({ text }) => text))

/** The only connection. */
export const connectionOf = (broker: Broker) =>
  Effect.map(broker.connections, ([connection]) => connection ?? assert.fail("there is no connection"))

export const reasonOf = <A>(error: { readonly reason: { readonly _tag: A } }): A => error.reason._tag
