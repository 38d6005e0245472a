import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpRpc from "@effect-amqp/core/AmqpRpc"
import * as AmqpTelemetry from "@effect-amqp/core/AmqpTelemetry"
import type { BasicProperties } from "@effect-amqp/core/protocol/BasicProperties"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as TestClock from "effect/testing/TestClock"
import {
  ack,
  connected,
  contentBytes,
  declareOk,
  fork,
  openConsumer,
  reasonOf,
  resultOf,
  toQueue
} from "../../support/scriptedPeer.ts"
import { deliver, direct, openClient } from "../../support/scriptedRpc.ts"
import { registry } from "../../support/series.ts"
import { recording } from "../../support/spans.ts"

const traceId = "0af7651916cd43dd8448eb211c80319c"
const spanId = "b7ad6b7169203331"
const traceparent = `00-${traceId}-${spanId}-01`

const on = (options: AmqpTelemetry.Options = {}) => Effect.provideService(AmqpTelemetry.Telemetry, options)

/** A message of queue `q` for a consumer. */
const delivery = (consumerTag: string, properties: BasicProperties = {}, deliveryTag = 1) =>
  contentBytes(1, { ...deliver(consumerTag), deliveryTag }, "secret body", properties)

describe("serve", () => {
  const acked = () => Effect.succeed(AmqpDelivery.ack)

  it.effect("creates no spans unless telemetry is on", () => {
    const tracer = recording()
    return tracer.traced(connected((peer) =>
      Effect.gen(function*() {
        const { consumerTag } = yield* openConsumer(peer, AmqpConsumer.serve("q", acked))
        yield* peer.push(delivery(consumerTag, { headers: { traceparent } }))
        yield* peer.expect("basic.ack")
        assert.deepStrictEqual(tracer.spans, [])
      })
    ))
  })

  it.effect("handles a message in a child of the span in its header", () => {
    const tracer = recording()
    return tracer.traced(connected((peer) =>
      Effect.gen(function*() {
        const handler = () => Effect.as(Effect.withSpan(Effect.void, "inner"), AmqpDelivery.ack)
        const { consumerTag } = yield* openConsumer(peer, on()(AmqpConsumer.serve("q", handler)))
        yield* peer.push(delivery(consumerTag, { headers: { traceparent }, messageId: "m1", correlationId: "c1" }))
        yield* peer.expect("basic.ack")
        const span = tracer.only("process q")
        assert.strictEqual(span.kind, "consumer")
        assert.strictEqual(span.traceId, traceId)
        assert.strictEqual(span.parent, spanId)
        assert.deepStrictEqual(span.links, [])
        assert.strictEqual(span.end, "ok")
        assert.deepStrictEqual(span.attributes, {
          "messaging.system": "rabbitmq",
          "messaging.operation.name": "process",
          "messaging.operation.type": "process",
          "messaging.destination.name": "q",
          "messaging.rabbitmq.destination.routing_key": "q",
          "messaging.rabbitmq.message.delivery_tag": 1,
          "messaging.message.body.size": 11,
          "messaging.message.id": "m1",
          "messaging.message.conversation_id": "c1"
        })
        assert.strictEqual(tracer.only("inner").parent, span.spanId)
        assert.notInclude(JSON.stringify(tracer.spans), "secret body")
      })
    ))
  })

  it.effect("handles a message in its own trace, linked to the span in its header, when relation is link", () => {
    const tracer = recording()
    const serve = on({ relation: "link" })(AmqpConsumer.serve("q", acked))
    return tracer.traced(connected((peer) =>
      Effect.gen(function*() {
        const { consumerTag } = yield* openConsumer(peer, Effect.withSpan(serve, "worker"))
        yield* peer.push(delivery(consumerTag, { headers: { traceparent } }))
        yield* peer.expect("basic.ack")
        const span = tracer.only("process q")
        assert.isUndefined(span.parent)
        assert.notStrictEqual(span.traceId, traceId)
        assert.deepStrictEqual(span.links, [spanId])
      })
    ))
  })

  const others: ReadonlyArray<readonly [string, AmqpConsumer.Queues, string]> = [
    ["several queues", ["a", "b"], "process q"],
    ["a server-named queue", AmqpQueue.serverNamed(), "process q"]
  ]
  for (const [what, queues, name] of others) {
    it.effect(`names the span after where the message was published to, with ${what}`, () => {
      const tracer = recording()
      return tracer.traced(connected((peer) =>
        Effect.gen(function*() {
          yield* fork(on()(AmqpConsumer.serve(queues, acked)))
          yield* peer.openChannel()
          if (!Array.isArray(queues)) yield* peer.answer(1, "queue.declare", declareOk("amq.gen-1"))
          yield* peer.answer(1, "basic.qos", { _tag: "basic.qos-ok" })
          const { consumerTag } = yield* peer.expect("basic.consume")
          yield* peer.send(1, { _tag: "basic.consume-ok", consumerTag })
          if (Array.isArray(queues)) {
            const second = yield* peer.expect("basic.consume")
            yield* peer.send(1, { _tag: "basic.consume-ok", consumerTag: second.consumerTag })
          }
          yield* peer.push(delivery(consumerTag))
          yield* peer.expect("basic.ack")
          assert.strictEqual(tracer.only(name).attributes["messaging.destination.name"], "q")
        })
      ))
    })
  }

  const withoutContext: ReadonlyArray<readonly [string, BasicProperties]> = [
    ["has no trace context", {}],
    ["has an invalid trace context", { headers: { traceparent: "00-nonsense" } }],
    ["has a number as trace context", { headers: { traceparent: 7 } }]
  ]
  for (const [what, properties] of withoutContext) {
    it.effect(`handles a message that ${what} in its own trace, not in the worker's`, () => {
      const tracer = recording()
      return tracer.traced(connected((peer) =>
        Effect.gen(function*() {
          const serve = Effect.withSpan(on()(AmqpConsumer.serve("q", acked)), "worker")
          const { consumerTag } = yield* openConsumer(peer, serve)
          yield* peer.push(delivery(consumerTag, properties))
          yield* peer.expect("basic.ack")
          const { links, parent } = tracer.only("process q")
          assert.isUndefined(parent)
          assert.deepStrictEqual(links, [])
        })
      ))
    })
  }

  it.effect("ends the span with the handler's failure, and logs in the span what happens to the message", () => {
    const tracer = recording()
    const logged: Array<string | undefined> = []
    const logger = Logger.make(({ fiber }) => {
      logged.push(fiber.cache.span?.spanId)
    })
    const serve = on()(AmqpConsumer.serve("q", () => Effect.fail({ _tag: "OutOfStock", message: "none left" })))
    return tracer.traced(connected((peer) =>
      Effect.gen(function*() {
        const { consumerTag } = yield* openConsumer(peer, Effect.provide(serve, Logger.layer([logger])))
        yield* peer.push(delivery(consumerTag))
        yield* peer.expectNothing
        const span = tracer.only("process q")
        assert.include(span.end, "none left")
        assert.strictEqual(span.attributes["error.type"], "OutOfStock")
        assert.deepStrictEqual(logged, [span.spanId])
      })
    ))
  })

  it.effect("records how long handlers take", () => {
    const metrics = registry()
    return metrics.kept(connected((peer) =>
      Effect.gen(function*() {
        const handler = () => Effect.delay(Effect.succeed(AmqpDelivery.ack), "3 seconds")
        const { consumerTag } = yield* openConsumer(peer, on()(AmqpConsumer.serve("q", handler)))
        yield* peer.push(delivery(consumerTag))
        yield* peer.expectNothing
        yield* TestClock.adjust("3 seconds")
        yield* peer.expect("basic.ack")
        const { state } = metrics.find("messaging.process.duration", { "messaging.operation.name": "process" })
        assert.deepInclude(state, { count: 1, sum: 3 })
      })
    ))
  })
})

describe("RPC", () => {
  it.effect("creates a client span from the request to the reply", () => {
    const tracer = recording()
    return tracer.traced(connected((peer) =>
      Effect.gen(function*() {
        const { client, replyTag } = yield* on()(openClient(peer))
        const fiber = yield* fork(client.call(AmqpMessage.text("a"), toQueue))
        const { properties } = yield* peer.expectPublish("a")
        yield* peer.send(1, ack(1))
        assert.strictEqual(tracer.only("call q").end, "running")
        yield* peer.push(contentBytes(1, deliver(replyTag), "A", { correlationId: properties.correlationId }))
        yield* resultOf(fiber)
        const span = tracer.only("call q")
        assert.strictEqual(span.end, "ok")
        assert.strictEqual(span.kind, "client")
        assert.deepStrictEqual(properties.headers, { traceparent: `00-${span.traceId}-${span.spanId}-01` })
      }), { server: direct }))
  })

  it.effect("ends the client span with the typed error of a failed call", () => {
    const tracer = recording()
    return tracer.traced(connected((peer) =>
      Effect.gen(function*() {
        const { client } = yield* on()(openClient(peer))
        const fiber = yield* fork(client.call(AmqpMessage.text("a"), toQueue))
        yield* peer.expectPublish("a")
        yield* peer.hangUp
        yield* reasonOf(fiber, "OutcomeUnknown")
        assert.strictEqual(tracer.only("call q").attributes["error.type"], "OutcomeUnknown")
      }), { server: direct }))
  })

  it.effect("creates a server span until the reply is confirmed, a child of the call even when relation is link", () => {
    const tracer = recording()
    const serve = on({ relation: "link" })(AmqpRpc.serve("q", ({ text }) => Effect.succeed(AmqpMessage.text(text))))
    return tracer.traced(connected((peer) =>
      Effect.gen(function*() {
        yield* fork(serve)
        yield* peer.openChannel(1)
        yield* peer.answer(1, "confirm.select", { _tag: "confirm.select-ok" })
        yield* peer.openChannel(2)
        yield* peer.answer(2, "basic.qos", { _tag: "basic.qos-ok" })
        const { consumerTag } = yield* peer.expect("basic.consume", 2)
        yield* peer.send(2, { _tag: "basic.consume-ok", consumerTag })
        const properties = { headers: { traceparent }, replyTo: "amq.rabbitmq.reply-to.g1", correlationId: "1" }
        yield* peer.push(contentBytes(2, deliver(consumerTag), "a", properties))
        const reply = yield* peer.expectPublish("a", 1)
        assert.isUndefined(reply.properties.headers)
        assert.strictEqual(tracer.only("serve q").end, "running")
        yield* peer.send(1, ack(1))
        yield* peer.expect("basic.ack", 2)
        assert.strictEqual(tracer.spans.length, 1)
        const span = tracer.only("serve q")
        assert.strictEqual(span.end, "ok")
        assert.strictEqual(span.kind, "server")
        assert.strictEqual(span.parent, spanId)
      })
    ))
  })
})
