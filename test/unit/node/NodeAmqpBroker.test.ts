// The embedded broker as other processes use it: over TCP on this machine.
import {
  AmqpChannel,
  AmqpConnection,
  AmqpConsumer,
  AmqpDelivery,
  AmqpMessage,
  AmqpPublisher,
  AmqpQueue
} from "@effect-amqp/core"
import { AmqpBroker } from "@effect-amqp/core/testing"
import * as NodeAmqp from "@effect-amqp/node/NodeAmqp"
import * as NodeAmqpBroker from "@effect-amqp/node/NodeAmqpBroker"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { once } from "node:events"
import * as net from "node:net"
import { consume, declareQueue, publish } from "../../support/calls.ts"
import { RawConnection } from "../../support/rawConnection.ts"
import type { Call } from "../../support/rawConnection.ts"

/** A broker on a free port until the scope closes, and an in-memory connection to it. */
const serving = Effect.gen(function*() {
  const broker = yield* AmqpBroker.make()
  const { host, port } = yield* Effect.provideService(
    NodeAmqpBroker.listen({ port: 0 }),
    AmqpBroker.AmqpBroker,
    broker
  )
  const inside = yield* broker.connect()
  return {
    broker,
    host,
    port,
    url: `amqp://guest:guest@${host}:${port}`,
    /** Provides the in-memory connection. */
    inside: Effect.provideService(AmqpConnection.AmqpConnection, inside)
  }
})

/** A connection of another client, which is reset when the scope closes. */
const raw = (url: string, heartbeat?: number) =>
  Effect.acquireRelease(
    Effect.promise(() => RawConnection.open(url, heartbeat)),
    (connection) => Effect.sync(() => connection.reset())
  )

const until = <A>(look: Effect.Effect<A>, isThere: (found: A) => boolean): Effect.Effect<A> =>
  Effect.repeat(look, { until: isThere, schedule: Schedule.spaced("5 millis") })

/** The value once it has not changed for some time. */
const atRest = <A>(look: Effect.Effect<A>): Effect.Effect<A> =>
  Effect.gen(function*() {
    let [before, now] = [yield* look, yield* Effect.delay(look, "250 millis")]
    while (now !== before) [before, now] = [now, yield* Effect.delay(look, "250 millis")]
    return now
  })

/** The number of messages that no consumer has received. */
const ready = (broker: AmqpBroker.AmqpBroker["Service"]): Effect.Effect<number> =>
  Effect.map(broker.queues(), (queues) => queues.reduce((sum, { messagesReady }) => sum + messagesReady, 0))

const connectionCount = (broker: AmqpBroker.AmqpBroker["Service"]): Effect.Effect<number> =>
  Effect.map(broker.connections, ({ length }) => length)

const queue = AmqpQueue.classic("q")

/** In messages of 1 MiB, much more than all the buffers between two programs hold. */
const many = 64

const publishMany = AmqpChannel.confirmed(AmqpChannel.gen(function*() {
  yield* AmqpQueue.declare(queue)
  const message = AmqpMessage.make(new Uint8Array(1024 * 1024))
  for (let count = 0; count < many; count++) yield* AmqpChannel.publish(message, AmqpQueue.route(queue))
}))

const getMessage = (noAck: boolean): Call => ({ method: { _tag: "basic.get", queue: "q", noAck } })

describe("clients over TCP", () => {
  it.live("may connect concurrently and share queues", () =>
    Effect.gen(function*() {
      const { broker, inside, url } = yield* serving
      yield* AmqpChannel.run(AmqpQueue.declare(queue)).pipe(inside)
      const names = Array.from({ length: 8 }, (_, index) => `client ${index}`)
      yield* Effect.forEach(names, (connectionName) =>
        Effect.gen(function*() {
          const publisher = yield* AmqpPublisher.make()
          const messages = Array.from({ length: 100 }, (_, index) => AmqpMessage.text(`${connectionName}: ${index}`))
          yield* publisher.publishAll(messages, AmqpQueue.route(queue))
        }).pipe(Effect.scoped, Effect.provide(NodeAmqp.layer({ url, connectionName }))), { concurrency: "unbounded" })
      const received = yield* AmqpConsumer.stream(queue).pipe(
        Stream.take(800),
        Stream.tap(({ ack }) => ack),
        Stream.map(({ text }) => text),
        Stream.runCollect,
        Effect.provide(NodeAmqp.layer({ url }))
      )
      for (const name of names) {
        assert.deepStrictEqual(
          received.filter((text) => text.startsWith(name)),
          Array.from({ length: 100 }, (_, index) => `${name}: ${index}`)
        )
      }
      assert.strictEqual(yield* until(connectionCount(broker), (count) => count === 1), 1)
    }))

  it.live("send and receive messages of many frames unchanged", () =>
    Effect.gen(function*() {
      const { url } = yield* serving
      const body = new Uint8Array(12 * 1024 * 1024)
      for (let index = 0; index < body.length; index += 4099) body[index] = index % 251
      const received = yield* AmqpChannel.run(AmqpChannel.gen(function*() {
        yield* AmqpQueue.declare(queue)
        yield* AmqpChannel.publish(AmqpMessage.make(body), AmqpQueue.route(queue))
        return yield* AmqpQueue.get(queue, ({ body }) => Effect.succeed(AmqpDelivery.as(AmqpDelivery.ack, body)))
      })).pipe(Effect.provide(NodeAmqp.layer({ url })))
      assert.isTrue(Buffer.from(body).equals(Option.getOrThrow(received)))
    }))

  it.live("that do not read leave their messages in the queue, and get them when they read again", () =>
    Effect.gen(function*() {
      const { broker, inside, url } = yield* serving
      yield* inside(publishMany)
      const client = yield* raw(url)
      client.pause()
      client.post(consume("q"))
      yield* until(ready(broker), (count) => count < many)
      assert.isAbove(yield* atRest(ready(broker)), many / 2)
      client.resume()
      yield* Effect.promise(() => client.expect("basic.deliver", many))
      assert.strictEqual(yield* ready(broker), 0)
    }))

  it.live("that do not read replies are no longer read, and do not delay others", () =>
    Effect.gen(function*() {
      const { inside, url } = yield* serving
      // Long names make long replies, so that fewer of them fill the buffers.
      const name = "q".repeat(255)
      yield* AmqpChannel.run(AmqpQueue.declare(AmqpQueue.classic(name, { durable: false }))).pipe(inside)
      const client = yield* raw(url)
      client.pause()
      const count = 120_000
      client.post(declareQueue(name), count)
      assert.isAbove(yield* atRest(Effect.sync(() => client.unsentBytes)), 1024 * 1024)
      const other = yield* raw(url)
      assert.strictEqual(yield* Effect.promise(() => other.call(declareQueue("other"))), "queue.declare-ok other 0 0")
      client.resume()
      yield* Effect.promise(() => client.expect("queue.declare-ok", count))
    }))

  it.live("that publish to a blocked broker are not read, and lose no message", () =>
    Effect.gen(function*() {
      const { broker, inside, url } = yield* serving
      yield* AmqpChannel.run(AmqpQueue.declare(queue)).pipe(inside)
      const client = yield* raw(url)
      yield* broker.block("low on memory")
      // Far more than all buffers hold.
      const count = 100_000
      client.post(publish("", "q", { messageId: "x".repeat(255) }), count)
      yield* until(ready(broker), (count) => count > 0)
      assert.isBelow(yield* atRest(ready(broker)), count / 10)
      assert.isAbove(client.unsentBytes, 1024 * 1024)
      assert.isTrue((yield* broker.connections).some(({ blocked }) => blocked))
      yield* broker.unblock
      assert.strictEqual(yield* until(ready(broker), (found) => found === count), count)
    }))

  it.live("that disconnect without a close are removed, even by a blocked broker, and their messages are requeued", () =>
    Effect.gen(function*() {
      const { broker, inside, url } = yield* serving
      yield* AmqpChannel.run(AmqpQueue.declare(queue)).pipe(inside)
      const client = yield* raw(url)
      client.post(declareQueue("exclusive", { exclusive: true }))
      client.post(publish("", "q"))
      client.post(getMessage(false))
      yield* Effect.promise(() => client.expect("basic.get-ok", 1))
      assert.strictEqual(yield* ready(broker), 0)
      yield* broker.block("low on memory")
      client.reset()
      yield* until(connectionCount(broker), (count) => count === 1)
      const [left, ...others] = yield* broker.queues()
      assert.deepStrictEqual([left.name, left.messagesReady, left.messagesUnacknowledged], ["q", 1, 0])
      assert.lengthOf(others, 0)
    }))

  it.effect("that are silent for two heartbeat intervals are disconnected", () =>
    Effect.gen(function*() {
      const { broker, url } = yield* serving
      const client = yield* raw(url, 10)
      // The handshake was traffic in the first interval.
      yield* TestClock.adjust("29 seconds")
      assert.strictEqual(yield* connectionCount(broker), 2)
      yield* TestClock.adjust("1 second")
      yield* Effect.promise(() => client.gone())
      assert.strictEqual(yield* connectionCount(broker), 1)
    }))

  it.live("that use another protocol get the protocol header of AMQP 0-9-1", () =>
    Effect.gen(function*() {
      const { broker, host, port } = yield* serving
      const answer = yield* Effect.promise(async () => {
        const socket = net.connect(port, host)
        socket.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000))
        const chunks = await socket.toArray()
        return Buffer.concat(chunks).toString("latin1")
      })
      assert.strictEqual(answer, "AMQP\0\0\x09\x01")
      yield* until(connectionCount(broker), (count) => count === 1)
    }))
})

describe("a port", () => {
  it.live("is closed with its connections when the scope closes", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { port, url } = yield* Scope.provide(serving, scope)
      const clients = [yield* raw(url), yield* raw(url)]
      // One has published, and one has not started the handshake.
      clients[0].post(publish("", "nowhere"))
      const silent = net.connect(port, "127.0.0.1")
      yield* Effect.promise(() => once(silent, "connect"))
      yield* Scope.close(scope, Exit.void)
      yield* Effect.promise(() => Promise.all(clients.map((client) => client.gone())))
      yield* Effect.promise(() => silent.toArray())
      const refused = net.connect(port, "127.0.0.1")
      const [error] = yield* Effect.promise<ReadonlyArray<NodeJS.ErrnoException>>(() => once(refused, "error"))
      assert.strictEqual(error.code, "ECONNREFUSED")
    }))

  it.live("is chosen by the system if it is 0, and is open on this machine only", () =>
    Effect.gen(function*() {
      const { host, port } = yield* Effect.scoped(serving)
      assert.strictEqual(host, "127.0.0.1")
      const names = yield* Effect.gen(function*() {
        const { connections } = yield* AmqpBroker.AmqpBroker
        return (yield* connections).map(({ name }) => name)
      }).pipe(
        Effect.provide(
          NodeAmqp.layer({ url: `amqp://guest:guest@127.0.0.1:${port}`, connectionName: "client" }).pipe(
            Layer.provideMerge(NodeAmqpBroker.layer({ port }))
          )
        )
      )
      assert.deepStrictEqual(names, ["client"])
    }))

  it.live("that is in use fails with a SocketServerError", () =>
    Effect.gen(function*() {
      const { port } = yield* serving
      const error = yield* Effect.flip(Layer.build(NodeAmqpBroker.layer({ port })))
      assert.strictEqual(error._tag, "SocketServerError")
      assert.include(String(error.reason.cause), "EADDRINUSE")
    }))

  it.live.each([-1, 65_536, 1.5, Number.NaN])(
    "that is invalid fails with a SocketServerError: %d",
    (port) =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(Layer.build(NodeAmqpBroker.layer({ port })))
        assert.strictEqual(error._tag, "SocketServerError")
        assert.include(String(error.reason.cause), "a port is a whole number from 0 to 65535")
      })
  )

  it.live("of another machine fails with a SocketServerError", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Layer.build(NodeAmqpBroker.layer({ host: "192.0.2.1", port: 0 })))
      assert.include(String(error.reason.cause), "EADDRNOTAVAIL")
    }))
})
