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
  infoOf,
  queueName,
  take
} from "../../support/broker.ts"
import { onRabbitMQ } from "../../support/brokerUnderTest.ts"

const { run } = AmqpChannel

/** A description whose type does not tell what it is one of, as in a list of queues. */
const loosely = (queue: AmqpQueue.AmqpQueue) => queue as AmqpQueue.AmqpQueue<"classic">

const acked = () => Effect.succeed(AmqpDelivery.ack)

/** Asserts that nothing has ended the connection. */
const lives = Effect.gen(function*() {
  const { state } = yield* AmqpConnection.AmqpConnection
  assert.strictEqual((yield* state)._tag, "Open")
  yield* run(AmqpQueue.declare(AmqpQueue.serverNamed()))
})

describe("what RabbitMQ would end the whole connection for is refused before it is sent:", () => {
  it.live("what a stream can't do", () =>
    connected(Effect.gen(function*() {
      const stream = loosely(AmqpQueue.stream(yield* queueName))
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
      yield* lives
      yield* awaitMessages(stream.name, 1)
    })))

  it.live("conditions for the deletion of a quorum queue", () =>
    connected(Effect.gen(function*() {
      const queue = loosely(AmqpQueue.quorum(yield* queueName))
      yield* run(AmqpQueue.declare(queue))
      yield* failsWith(run(AmqpQueue.delete(queue, { ifEmpty: true })), "InvalidArgument")
      yield* failsWith(run(AmqpQueue.delete(queue, { ifUnused: true })), "InvalidArgument")
      yield* lives
      yield* run(AmqpQueue.delete(queue, { ifUnused: false, ifEmpty: false }))
    })))

  it.live("reading from a queue that the program has read from, deleted and made anew", () =>
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
      yield* lives
      yield* run(AmqpQueue.get(name, acked))
    })))

  it.live("queues that brokers make for direct replies", () =>
    connected(Effect.gen(function*() {
      const name = "amq.rabbitmq.reply-to.abc"
      for (const program of [AmqpQueue.declare(name), AmqpQueue.declarePassive(name)]) {
        yield* failsWith(run(program), "InvalidArgument")
      }
      yield* lives
    })))

  it.live("operations on the default exchange, which allows none, and on queues without a name", () =>
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
      yield* lives
    })))
})

describe("a queue that is deleted and made anew with another type", () => {
  for (const [first, second] of [[AmqpQueue.classic, AmqpQueue.quorum], [AmqpQueue.quorum, AmqpQueue.classic]]) {
    const name = `${first("q").type}, then ${second("q").type}`
    it.live(`does not end the connection of another program that reads from it: ${name}`, () =>
      connected(Effect.gen(function*() {
        const queue = yield* queueName
        const get = run(AmqpQueue.get(queue, acked))
        yield* run(AmqpQueue.declare(first(queue)))
        yield* get
        const other = run(AmqpChannel.all([AmqpQueue.delete(queue), AmqpQueue.declare(second(queue))]))
        yield* Effect.provide(other, connection())
        yield* get
        yield* run(AmqpQueue.getAutoAck(queue))
        yield* lives
      })))
  }
})

describe("a dead-letter queue that is described", () => {
  it.live("is declared with the queue that needs it, and gets its dead letters", () =>
    connected(Effect.gen(function*() {
      const dead = AmqpQueue.quorum(yield* queueName)
      for (const make of [AmqpQueue.classic, AmqpQueue.quorum]) {
        const queue = make(yield* queueName, { deadLetterQueue: dead })
        assert.strictEqual((yield* run(AmqpQueue.declare(queue))).name, queue.name)
        yield* fill(queue.name, AmqpMessage.text(queue.type))
        yield* run(AmqpQueue.get(queue, () => Effect.succeed(AmqpDelivery.reject)))
        yield* awaitMessages(dead.name, 1)
        assert.strictEqual((yield* take(dead.name)).text, queue.type)
      }
    })))
})

describe("a quorum queue without a delivery limit", () => {
  it.live.runIf(onRabbitMQ("what is refused is up to the version"))(
    "is refused where no limit means none at all",
    () =>
      connected(Effect.gen(function*() {
        const { serverProperties } = yield* AmqpConnection.AmqpConnection
        const queue = AmqpQueue.quorum(yield* queueName, { deliveryLimit: "unlimited" })
        if (/^[0-3]\./.test(JSON.stringify(serverProperties["version"]).slice(1))) {
          const { message } = yield* failsWith(run(AmqpQueue.declare(queue)), "InvalidArgument")
          return assert.include(message, `would take "unlimited" for 0`)
        }
        yield* run(AmqpQueue.declare(queue))
        yield* fill(queue.name, AmqpMessage.text("m"))
        for (let time = 0; time < 25; time++) {
          yield* awaitMessages(queue.name, 1)
          yield* run(AmqpQueue.get(queue, () => Effect.succeed(AmqpDelivery.requeue)))
        }
        assert.strictEqual((yield* infoOf(queue.name)).messageCount, 1)
      }))
  )
})
