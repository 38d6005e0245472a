import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import type { AmqpChannelError } from "@effect-amqp/core/AmqpError"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import {
  awaitMessages,
  connected,
  connection,
  declaredQueue,
  failsWith,
  fill,
  queueName
} from "../../support/broker.ts"

const { run } = AmqpChannel

/** A description whose static type hides the type of its queue, as in a list of queues. */
const untyped = (queue: AmqpQueue.AmqpQueue) => queue as AmqpQueue.AmqpQueue<"classic">

const acked = () => Effect.succeed(AmqpDelivery.ack)

/** Asserts that the connection is open and works. */
const assertConnectionWorks = Effect.gen(function*() {
  const { state } = yield* AmqpConnection.AmqpConnection
  assert.strictEqual((yield* state)._tag, "Open")
  yield* run(AmqpQueue.declare(AmqpQueue.serverNamed()))
})

describe("the client refuses, where RabbitMQ would close the connection,", () => {
  it.live("get, purge and conditional deletes of a stream", () =>
    connected(Effect.gen(function*() {
      const stream = untyped(AmqpQueue.stream(yield* queueName))
      yield* run(AmqpQueue.declare(stream))
      yield* fill(stream.name, AmqpMessage.text("m"))
      const { delete: remove, get, getAll, getAutoAck, purge } = AmqpQueue
      assert.include((yield* failsWith(run(purge(stream)), "InvalidArgument")).message, "a stream can't be purged")
      const programs: ReadonlyArray<AmqpChannel.AmqpChannel<unknown, AmqpChannelError>> = [
        get(stream, acked),
        getAll(stream, acked),
        getAutoAck(stream)
      ]
      for (const program of programs) {
        assert.include(
          (yield* failsWith(run(program), "InvalidArgument")).message,
          "a stream does not support basic.get"
        )
      }
      for (const options of [{ ifEmpty: true }, { ifUnused: true }, { ifEmpty: true, ifUnused: true }]) {
        assert.include(
          (yield* failsWith(run(remove(stream, options)), "InvalidArgument")).message,
          "only for classic queues"
        )
      }
      yield* assertConnectionWorks
      yield* awaitMessages(stream.name, 1)
    })))

  it.live("conditional deletes of a quorum queue", () =>
    connected(Effect.gen(function*() {
      const queue = untyped(AmqpQueue.quorum(yield* queueName))
      yield* run(AmqpQueue.declare(queue))
      yield* failsWith(run(AmqpQueue.delete(queue, { ifEmpty: true })), "InvalidArgument")
      yield* failsWith(run(AmqpQueue.delete(queue, { ifUnused: true })), "InvalidArgument")
      yield* assertConnectionWorks
      yield* run(AmqpQueue.delete(queue, { ifUnused: false, ifEmpty: false }))
    })))

  it.live("a get from a queue that the program has read from, deleted and redeclared", () =>
    connected(Effect.gen(function*() {
      const name = yield* queueName
      const [classic, quorum] = [AmqpQueue.classic(name), AmqpQueue.quorum(name)]
      const reading = AmqpChannel.all([
        AmqpQueue.declare(classic),
        AmqpQueue.get(name, acked),
        AmqpQueue.delete(name),
        AmqpQueue.declare(quorum),
        AmqpQueue.get(name, acked)
      ])
      assert.include((yield* failsWith(run(reading), "InvalidArgument")).message, "and deleted it")
      yield* assertConnectionWorks
      yield* run(AmqpQueue.get(name, acked))
    })))

  it.live("the declaration of a queue for direct replies", () =>
    connected(Effect.gen(function*() {
      const name = "amq.rabbitmq.reply-to.abc"
      for (const program of [AmqpQueue.declare(name), AmqpQueue.declarePassive(name)]) {
        yield* failsWith(run(program), "InvalidArgument")
      }
      yield* assertConnectionWorks
    })))

  it.live("operations on the default exchange and on queues without a name", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const refused = [
        AmqpExchange.declarePassive(""),
        AmqpExchange.delete(""),
        AmqpExchange.bind("", { source: "amq.direct" }),
        AmqpExchange.bind("amq.direct", { source: "" }),
        AmqpExchange.unbind("", { source: "amq.direct" }),
        AmqpExchange.unbind("amq.direct", { source: "" }),
        AmqpQueue.bind(queue, { exchange: "" }),
        AmqpQueue.unbind(queue, { exchange: "" }),
        AmqpQueue.bind("", { exchange: "amq.direct" }),
        AmqpQueue.bind(queue, { exchange: "amq.direct", routingKey: "é".repeat(128) })
      ]
      for (const program of refused) yield* failsWith(run(program), "InvalidArgument")
      for (const program of [AmqpQueue.purge(""), AmqpQueue.delete("")]) {
        yield* failsWith(run(program), "InvalidArgument")
      }
      yield* assertConnectionWorks
    })))
})

describe("a queue that is redeclared with another type", () => {
  for (const [first, second] of [[AmqpQueue.classic, AmqpQueue.quorum], [AmqpQueue.quorum, AmqpQueue.classic]]) {
    const name = `${first("q").type}, then ${second("q").type}`
    it.live(`does not end the connection of another program that reads from it (${name})`, () =>
      connected(Effect.gen(function*() {
        const queue = yield* queueName
        const get = run(AmqpQueue.get(queue, acked))
        yield* run(AmqpQueue.declare(first(queue)))
        yield* get
        const other = run(AmqpChannel.all([AmqpQueue.delete(queue), AmqpQueue.declare(second(queue))]))
        yield* Effect.provide(other, connection())
        yield* get
        yield* run(AmqpQueue.getAutoAck(queue))
        yield* assertConnectionWorks
      })))
  }
})
