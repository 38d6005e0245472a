import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpCompression from "@effect-amqp/core/AmqpCompression"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpEnvelope from "@effect-amqp/core/AmqpEnvelope"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpRpc from "@effect-amqp/core/AmqpRpc"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as zlib from "node:zlib"
import {
  awaitConsumers,
  awaitMessages,
  connected,
  declaredQueue,
  eventually,
  fill,
  fork,
  take,
  toQueue
} from "../../support/broker.ts"

const OrderPlaced = AmqpEnvelope.make({
  properties: Schema.Struct({ type: Schema.Literal("placed"), timestamp: Schema.Date }),
  headers: Schema.Struct({ tenant: Schema.String, attempt: Schema.Int, at: Schema.Date }),
  body: Schema.Struct({ id: Schema.Int, placedAt: Schema.Date, note: Schema.String })
})

const order = (id: number): typeof OrderPlaced.Type => ({
  properties: { type: "placed", timestamp: new Date("2024-02-29T12:34:56Z") },
  headers: { tenant: "acme", attempt: id, at: new Date(id * 1000) },
  body: { id, placedAt: new Date(id), note: "fragile ".repeat(10_000) }
})

const encode = AmqpMessage.schema(OrderPlaced, { deliveryMode: "persistent" })

const message = (id: number, encoding: AmqpCompression.ContentEncoding) =>
  Effect.flatMap(encode(order(id)), AmqpCompression.compress(encoding))

const decode = AmqpMessage.decode(OrderPlaced, { decompress: true })

const collecting = (seen: Array<typeof OrderPlaced.Type>) =>
  AmqpDelivery.handleDecoded(
    OrderPlaced,
    (order) =>
      Effect.sync(() => {
        seen.push(order)
        return AmqpDelivery.ack
      }),
    { decompress: true }
  )

describe("an envelope with a compressed body", () => {
  it.live("is small on the wire, and is decoded from a get", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      for (const encoding of ["gzip", "deflate"] as const) {
        const sent = yield* message(1, encoding)
        assert.isBelow(sent.body.length, 2000)
        yield* fill(queue, sent)
        const seen: Array<typeof OrderPlaced.Type> = []
        yield* AmqpChannel.run(AmqpQueue.get(queue, collecting(seen)))
        assert.deepStrictEqual(seen, [order(1)])
      }
    })))

  it.live("is decoded from a consumer's stream", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, yield* message(1, "gzip"), yield* encode(order(2)), yield* message(3, "deflate"))
      const orders = yield* AmqpConsumer.stream(queue).pipe(
        Stream.take(3),
        Stream.mapEffect((delivery) => Effect.tap(decode(delivery), delivery.ack)),
        Stream.runCollect
      )
      assert.deepStrictEqual(orders, [order(1), order(2), order(3)])
    })))

  it.live("is decoded for a handler of serve, and invalid messages are dead-lettered", () =>
    connected(Effect.gen(function*() {
      const dead = yield* declaredQueue()
      const options = { deadLetterExchange: "", deadLetterRoutingKey: dead }
      const queue = yield* declaredQueue(options)
      const seen: Array<typeof OrderPlaced.Type> = []
      yield* fork(AmqpConsumer.serve(AmqpQueue.classic(queue, options), collecting(seen), { concurrency: 4 }))
      const good = yield* message(1, "gzip")
      const bad = [
        AmqpMessage.make(good.body.subarray(1), good.properties),
        AmqpMessage.make(good.body, { ...good.properties, headers: {} }),
        AmqpMessage.make(good.body, { ...good.properties, contentEncoding: "gzip, deflate" }),
        AmqpMessage.make(zlib.gzipSync(new Uint8Array(17 * 1024 * 1024)), good.properties)
      ]
      yield* fill(queue, ...bad, good)
      yield* awaitMessages(dead, bad.length)
      yield* eventually(Effect.sync(() => seen), ({ length }) => length > 0)
      assert.deepStrictEqual(seen, [order(1)])
    })).pipe(Effect.provide(Logger.layer([]))))

  it.live("can be an RPC request and its reply", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const server = AmqpRpc.serve(queue, (request) =>
        decode(request).pipe(
          Effect.flatMap(({ body }) => encode(order(body.id + 1))),
          Effect.flatMap(AmqpCompression.compress("deflate"))
        ))
      yield* fork(server)
      yield* awaitConsumers(queue, 1)
      const { call } = yield* AmqpRpc.makeClient()
      const reply = yield* call(yield* message(1, "gzip"), toQueue(queue))
      assert.strictEqual(reply.properties.contentEncoding, "deflate")
      assert.deepStrictEqual(yield* decode(reply), order(2))
    })))

  it.live("keeps its body and its properties when it is forwarded", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const next = yield* declaredQueue()
      yield* fill(queue, yield* message(1, "gzip"))
      const first = yield* take(queue)
      yield* fill(next, yield* AmqpMessage.fromDelivery(first))
      const second = yield* take(next)
      assert.deepStrictEqual(second.properties, first.properties)
      assert.deepStrictEqual(yield* decode(second), order(1))
    })))
})
