import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpRpc from "@effect-amqp/core/AmqpRpc"
import * as AmqpTelemetry from "@effect-amqp/core/AmqpTelemetry"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import {
  awaitConsumers,
  connected,
  declaredQueue,
  eventually,
  failsWith,
  fork,
  take,
  toQueue,
  uniqueName
} from "../../support/broker.ts"
import { brokerUrl } from "../../support/brokerUnderTest.ts"
import { registry } from "../../support/series.ts"
import { recording } from "../../support/spans.ts"

const hello = AmqpMessage.text("hello")

/** The span attributes for the host and the port of the broker. */
const brokerAddress = () => {
  const { hostname, port } = new URL(brokerUrl)
  return { "server.address": hostname, "server.port": port === "" ? 5672 : Number(port) }
}

describe("the trace of a message", () => {
  for (const relation of ["parent", "link"] as const) {
    it.live(`continues from the publisher to the handler, with the relation ${relation}`, () => {
      const tracer = recording()
      return connected(
        Effect.gen(function*() {
          const queue = yield* declaredQueue()
          yield* fork(AmqpConsumer.serve(queue, () => Effect.succeed(AmqpDelivery.ack)))
          const { publish } = yield* AmqpPublisher.make()
          yield* Effect.withSpan(publish(hello, toQueue(queue)), "order")
          yield* eventually(
            Effect.sync(() => tracer.spans),
            (spans) => spans.some(({ end, name }) => name === `process ${queue}` && end === "ok")
          )
          const order = tracer.only("order")
          const published = tracer.only(`publish ${queue}`)
          const processed = tracer.only(`process ${queue}`)
          assert.strictEqual(published.parent, order.spanId)
          assert.strictEqual(published.end, "ok")
          assert.deepInclude(published.attributes, brokerAddress())
          if (relation === "parent") {
            assert.strictEqual(processed.traceId, order.traceId)
            assert.strictEqual(processed.parent, published.spanId)
          } else {
            assert.notStrictEqual(processed.traceId, order.traceId)
            assert.deepStrictEqual(processed.links, [published.spanId])
          }
        }).pipe(Effect.provide(AmqpTelemetry.layer({ relation })), tracer.traced)
      )
    })
  }

  it.live("continues from an RPC call to the handler of the request", () => {
    const tracer = recording()
    return connected(
      Effect.gen(function*() {
        const queue = yield* declaredQueue()
        yield* fork(AmqpRpc.serve(queue, ({ text }) => Effect.succeed(AmqpMessage.text(text.toUpperCase()))))
        yield* awaitConsumers(queue, 1)
        const { call } = yield* AmqpRpc.makeClient()
        assert.strictEqual((yield* call(hello, toQueue(queue))).text, "HELLO")
        const called = tracer.only(`call ${queue}`)
        const served = tracer.only(`serve ${queue}`)
        assert.deepStrictEqual([called.kind, served.kind], ["client", "server"])
        assert.strictEqual(served.parent, called.spanId)
        assert.strictEqual(called.end, "ok")
      }).pipe(Effect.provide(AmqpTelemetry.layer()), tracer.traced)
    )
  })

  it.live("records that a message was returned", () => {
    const tracer = recording()
    return connected(
      Effect.gen(function*() {
        const queue = uniqueName("none")
        const { publish } = yield* AmqpPublisher.make()
        yield* failsWith(publish(hello, { ...toQueue(queue), mandatory: true }), "Returned")
        const span = tracer.only(`publish ${queue}`)
        assert.strictEqual(span.attributes["error.type"], "Returned")
        assert.notInclude(["ok", "running"], span.end)
      }).pipe(Effect.provide(AmqpTelemetry.layer()), tracer.traced)
    )
  })

  it.live("is not added to a message without telemetry", () => {
    const tracer = recording()
    return connected(
      Effect.gen(function*() {
        const queue = yield* declaredQueue()
        const { publish } = yield* AmqpPublisher.make()
        yield* Effect.withSpan(publish(hello, toQueue(queue)), "order")
        assert.isUndefined((yield* take(queue)).properties.headers)
        assert.deepStrictEqual(tracer.spans.map(({ name }) => name), ["order"])
      }).pipe(tracer.traced)
    )
  })
})

describe("the metrics", () => {
  it.live("count 1,000 messages from publish to settlement, and the open connections", () => {
    const metrics = registry()
    const test = Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const { publishAll } = yield* AmqpPublisher.make()
      yield* publishAll(Array.from({ length: 1000 }, () => hello), toQueue(queue))
      assert.strictEqual(metrics.value("messaging.client.sent.messages"), 1000)
      assert.deepStrictEqual(metrics.values("publishes.confirmed", "publishes.unconfirmed", "connections"), [
        1000,
        0,
        1
      ])
      yield* fork(
        AmqpConsumer.serve(
          queue,
          ({ deliveryTag }) => Effect.succeed(deliveryTag % 10 === 0 ? AmqpDelivery.reject : AmqpDelivery.ack)
        )
      )
      yield* eventually(
        Effect.sync(() => metrics.values("deliveries.acknowledged", "deliveries.rejected")),
        ([acknowledged, rejected]) => acknowledged === 900 && rejected === 100
      )
      assert.strictEqual(metrics.value("messaging.client.consumed.messages"), 1000)
      assert.deepStrictEqual(metrics.values("deliveries.unsettled", "deliveries.buffered"), [0, 0])
      const [read, written] = metrics.values("bytes.read", "bytes.written")
      assert.isAbove(read, 1000 * hello.body.length)
      assert.isAbove(written, 1000 * hello.body.length)
    })
    return Effect.gen(function*() {
      const exit = yield* Effect.exit(connected(test))
      assert.deepStrictEqual(metrics.values("connections", "channels"), [0, 0])
      assert.isTrue(Exit.isSuccess(exit), String(exit))
    }).pipe(metrics.kept)
  })
})
