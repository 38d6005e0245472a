import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpRpc from "@effect-amqp/core/AmqpRpc"
import * as AmqpTelemetry from "@effect-amqp/core/AmqpTelemetry"
import type { BasicProperties } from "@effect-amqp/core/protocol/BasicProperties"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"
import {
  ack,
  connected,
  contentBytes,
  declareOk,
  exitOf,
  failureOf,
  fork,
  nack,
  openConsumer,
  openPublisher,
  reasonOf,
  resultOf,
  toQueue
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"
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

/** The header of the message that the client published. */
const publishedHeader = (peer: Peer) =>
  Effect.map(peer.expectPublish(), ({ properties }) => properties.headers?.traceparent)

describe("a publisher", () => {
  it.effect("has no spans, and its messages no header, unless telemetry is on", () => {
    const tracer = recording()
    return tracer.traced(connected((peer) =>
      Effect.gen(function*() {
        const { publish } = yield* openPublisher(peer)
        yield* fork(publish(AmqpMessage.text("a"), toQueue))
        assert.isUndefined((yield* peer.expectPublish("a")).properties.headers)
        assert.deepStrictEqual(tracer.spans, [])
      })
    ))
  })

  it.effect("has a span for a publish, from the call to the confirm, whose name is in the message", () => {
    const tracer = recording()
    return tracer.traced(Effect.provideService(
      connected((peer) =>
        Effect.gen(function*() {
          const { publish } = yield* on()(openPublisher(peer))
          const message = AmqpMessage.text("secret body", {
            messageId: "m1",
            correlationId: "c1",
            headers: { attempt: 1 }
          })
          const fiber = yield* fork(publish(message, { exchange: "events", routingKey: "order.placed" }))
          const { properties } = yield* peer.expectPublish()
          assert.strictEqual(tracer.only("publish events").end, "running")
          yield* peer.send(1, ack(1))
          yield* resultOf(fiber)
          const span = tracer.only("publish events")
          assert.strictEqual(span.end, "ok")
          assert.strictEqual(span.kind, "producer")
          assert.deepStrictEqual(properties.headers, {
            attempt: 1,
            traceparent: `00-${span.traceId}-${span.spanId}-01`
          })
          assert.deepStrictEqual(span.attributes, {
            "messaging.system": "rabbitmq",
            "server.address": "rabbit.example",
            "server.port": 5672,
            "messaging.client.id": "orders",
            "messaging.operation.name": "publish",
            "messaging.operation.type": "send",
            "messaging.destination.name": "events:order.placed",
            "messaging.rabbitmq.destination.routing_key": "order.placed",
            "messaging.message.body.size": 11,
            "messaging.message.id": "m1",
            "messaging.message.conversation_id": "c1"
          })
        }), { client: { connectionName: "orders" } }),
      AmqpConnection.TransportProtection,
      { peer: "rabbit.example:5672", level: "Verified" }
    ))
  })

  const destinations: ReadonlyArray<readonly [string, string | AmqpExchange.AmqpExchange, string, string, string]> = [
    ["the default exchange", "", "orders", "publish orders", "orders"],
    ["a described exchange", AmqpExchange.fanout("events"), "", "publish events", "events"],
    ["no name at all", "", "", "publish", "amq.default"],
    ["a reply queue", "", "amq.rabbitmq.reply-to.g1h2AA5", "publish", "amq.default"]
  ]
  for (const [what, exchange, routingKey, name, destination] of destinations) {
    it.effect(`has a span named by ${what}: ${name}, ${destination}`, () => {
      const tracer = recording()
      return tracer.traced(connected((peer) =>
        Effect.gen(function*() {
          const { publish } = yield* on()(openPublisher(peer))
          yield* fork(publish(AmqpMessage.text("a"), { exchange, routingKey }))
          yield* peer.expectPublish("a")
          assert.strictEqual(tracer.only(name).attributes["messaging.destination.name"], destination)
        })
      ))
    })
  }

  it.effect("has a span that ends with the typed error, and tells it by its reason", () => {
    const tracer = recording()
    return tracer.traced(connected((peer) =>
      Effect.gen(function*() {
        const { publish } = yield* on()(openPublisher(peer))
        const fiber = yield* fork(publish(AmqpMessage.text("a"), toQueue))
        yield* peer.expectPublish("a")
        yield* peer.send(1, nack(1))
        const error = yield* failureOf(fiber)
        const span = tracer.only("publish q")
        assert.strictEqual(span.end, error.message)
        assert.strictEqual(span.attributes["error.type"], "Nacked")
      })
    ))
  })

  it.effect("has a span that ends when the publish is interrupted", () => {
    const tracer = recording()
    return tracer.traced(connected((peer) =>
      Effect.gen(function*() {
        const { publish } = yield* on()(openPublisher(peer))
        const fiber = yield* fork(publish(AmqpMessage.text("a"), toQueue))
        yield* peer.expectPublish("a")
        yield* Fiber.interrupt(fiber)
        const span = tracer.only("publish q")
        assert.notStrictEqual(span.end, "running")
        assert.strictEqual(span.attributes["error.type"], "interrupted")
      })
    ))
  })

  it.effect("has one span for all attempts of a publish, and one id in it and in the messages", () => {
    const tracer = recording()
    return tracer.traced(connected((peer) =>
      Effect.gen(function*() {
        const { publish } = yield* on()(
          openPublisher(peer, 1, { retry: Schedule.recurs(1), stamp: { messageId: true } })
        )
        const fiber = yield* fork(publish(AmqpMessage.text("a"), toQueue))
        const first = yield* peer.expectPublish("a")
        yield* peer.send(1, nack(1))
        yield* TestClock.adjust("50 millis")
        const second = yield* peer.expectPublish("a")
        yield* peer.send(1, ack(2))
        yield* resultOf(fiber)
        assert.deepStrictEqual(second.properties, first.properties)
        const span = tracer.only("publish q")
        assert.strictEqual(span.attributes["messaging.message.id"], first.properties.messageId)
      })
    ))
  })

  it.effect("keeps the context that a message came with, and its span links to it", () => {
    const tracer = recording()
    return tracer.traced(connected((peer) =>
      Effect.gen(function*() {
        const { publish } = yield* on()(openPublisher(peer))
        yield* fork(publish(AmqpMessage.text("a", { headers: { traceparent } }), toQueue))
        assert.strictEqual(yield* publishedHeader(peer), traceparent)
        assert.deepStrictEqual(tracer.only("publish q").links, [spanId])
        yield* fork(publish(AmqpMessage.text("b", { headers: { traceparent: "mine" } }), toQueue))
        assert.strictEqual(yield* publishedHeader(peer), "mine")
      })
    ))
  })

  it.effect("adds its header to headers that are a Map, and makes none of what is no table", () =>
    recording().traced(connected((peer) =>
      Effect.gen(function*() {
        const { publish } = yield* on()(openPublisher(peer))
        // As JavaScript may.
        const message = (headers: unknown) => AmqpMessage.text("a", { headers: headers as AmqpMessage.FieldTable })
        yield* fork(publish(message(new Map([["region", "eu"]])), toQueue))
        const { properties } = yield* peer.expectPublish("a")
        assert.strictEqual(properties.headers?.region, "eu")
        assert.isString(properties.headers?.traceparent)
        const refused = yield* Effect.flip(publish(message(new Set(["region"])), toQueue))
        assert.include(refused.message, "headers: must be a plain object")
      })
    )))

  it.effect("names no span in a message with propagation turned off", () => {
    const tracer = recording()
    return tracer.traced(connected((peer) =>
      Effect.gen(function*() {
        const { publish } = yield* on({ propagation: false })(openPublisher(peer))
        yield* fork(publish(AmqpMessage.text("a"), toQueue))
        assert.isUndefined((yield* peer.expectPublish("a")).properties.headers)
        assert.strictEqual(tracer.spans.length, 1)
      })
    ))
  })

  it.effect("names no span in a message where the program has turned its tracer off", () => {
    const tracer = recording()
    return tracer.traced(connected((peer) =>
      Effect.gen(function*() {
        const { publish } = yield* on()(openPublisher(peer))
        yield* fork(Effect.withTracerEnabled(publish(AmqpMessage.text("a"), toQueue), false))
        assert.isUndefined(yield* publishedHeader(peer))
        assert.deepStrictEqual(tracer.spans, [])
      })
    ))
  })

  it.effect("tells the consumer when the trace is not sampled", () => {
    const tracer = recording()
    return tracer.traced(connected((peer) =>
      Effect.gen(function*() {
        const { publish } = yield* on()(openPublisher(peer))
        yield* fork(Effect.withSpan(publish(AmqpMessage.text("a"), toQueue), "root", { sampled: false }))
        assert.match(JSON.stringify(yield* publishedHeader(peer)), /^"00-.*-00"$/)
      })
    ))
  })

  it.effect("has one span for a batch, which all of its messages name", () => {
    const tracer = recording()
    return tracer.traced(connected((peer) =>
      Effect.gen(function*() {
        const { publishAll } = yield* on()(openPublisher(peer))
        const messages = ["a", "b", "c"].map((text) => AmqpMessage.text(text))
        const asked: Array<AmqpMessage.AmqpMessage> = []
        const fiber = yield* fork(publishAll(messages, (message) => {
          asked.push(message)
          return toQueue
        }))
        const headers = [yield* publishedHeader(peer), yield* publishedHeader(peer), yield* publishedHeader(peer)]
        yield* peer.send(1, ack(2, true), nack(3))
        const error = yield* failureOf(fiber)
        const span = tracer.only("publish")
        assert.deepStrictEqual(headers, Array(3).fill(`00-${span.traceId}-${span.spanId}-01`))
        assert.strictEqual(span.attributes["messaging.batch.message_count"], 3)
        assert.strictEqual(span.attributes["error.type"], "AmqpPublishAllError")
        assert.strictEqual(span.end, error.message)
        // The function sees the messages that were given, and not the ones that were made of them.
        assert.deepStrictEqual(asked.map((message) => messages.indexOf(message)), [0, 1, 2])
      })
    ))
  })

  it.effect("names the destination of a batch that goes to one place", () => {
    const tracer = recording()
    return tracer.traced(connected((peer) =>
      Effect.gen(function*() {
        const { publishAll } = yield* on()(openPublisher(peer))
        yield* fork(publishAll([AmqpMessage.text("a")], toQueue))
        yield* peer.expectPublish("a")
        assert.strictEqual(tracer.only("publish q").attributes["messaging.destination.name"], "q")
      })
    ))
  })

  it.effect("notes how long its publishes take, and which failed", () => {
    const metrics = registry()
    return metrics.kept(connected((peer) =>
      Effect.gen(function*() {
        const { publish } = yield* on({ spans: false })(openPublisher(peer))
        const good = yield* fork(publish(AmqpMessage.text("a"), toQueue))
        const bad = yield* fork(publish(AmqpMessage.text("b"), toQueue))
        assert.isUndefined(yield* publishedHeader(peer))
        yield* peer.expectPublish("b")
        yield* TestClock.adjust("2 seconds")
        yield* peer.send(1, ack(1), nack(2))
        yield* resultOf(good)
        yield* reasonOf(bad, "Nacked")
        const name = "messaging.client.operation.duration"
        const failed = metrics.find(name, { "error.type": "Nacked", "messaging.operation.name": "publish" })
        assert.deepInclude(failed.state, { count: 1, sum: 2 })
        const all = metrics.snapshot().filter(({ id }) => id === name)
        assert.strictEqual(all.length, 2)
        for (const { state } of all) assert.deepInclude(state, { count: 1, sum: 2 })
      })
    ))
  })

  it.effect("keeps no durations where they are turned off", () => {
    const metrics = registry()
    return metrics.kept(connected((peer) =>
      Effect.gen(function*() {
        const { publish } = yield* on({ durations: false })(openPublisher(peer))
        const fiber = yield* fork(publish(AmqpMessage.text("a"), toQueue))
        yield* peer.expectPublish("a")
        yield* peer.send(1, ack(1))
        yield* resultOf(fiber)
        assert.deepStrictEqual(metrics.snapshot().filter(({ type }) => type === "Histogram"), [])
      })
    ))
  })
})

describe("serve", () => {
  const acked = () => Effect.succeed(AmqpDelivery.ack)

  it.effect("has no spans unless telemetry is on", () => {
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

  it.effect("handles a message in a child of the span that it names", () => {
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

  it.effect("handles a message in a trace of its own that links to the span that it names, when asked to", () => {
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
    ["a queue that the broker named", AmqpQueue.serverNamed(), "process q"]
  ]
  for (const [what, queues, name] of others) {
    it.effect(`has a span named by where the message was published to, with ${what}`, () => {
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

  const nothing: ReadonlyArray<readonly [string, BasicProperties]> = [
    ["names no span", {}],
    ["names what is no span", { headers: { traceparent: "00-nonsense" } }],
    ["has a number where the name of the span should be", { headers: { traceparent: 7 } }]
  ]
  for (const [what, properties] of nothing) {
    it.effect(`handles a message that ${what} in a trace of its own, not in that of the worker`, () => {
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

  it.effect("ends the span with the failure of the handler, and logs within it what becomes of the message", () => {
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

  it.effect("notes how long handlers take", () => {
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

describe("request and reply", () => {
  it.effect("has a client span for a call, from the request to the reply", () => {
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

  it.effect("has a span for a call that fails with the typed error", () => {
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

  it.effect("has a server span for a request, a child of its call also where others are linked, until the reply is confirmed", () => {
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

describe("inject and extract", () => {
  it.effect("carry the current span in a message", () =>
    Effect.gen(function*() {
      const message = AmqpMessage.text("a", { headers: { attempt: 1 } })
      assert.strictEqual(yield* AmqpTelemetry.inject(message), message)
      const { injected, span } = yield* Effect.withSpan(
        Effect.all({ injected: AmqpTelemetry.inject(message), span: Effect.currentSpan }),
        "publish"
      )
      assert.strictEqual(injected.properties.headers?.attempt, 1)
      const extracted = Option.getOrThrow(AmqpTelemetry.extract(injected))
      assert.deepStrictEqual([extracted.traceId, extracted.spanId], [span.traceId, span.spanId])
    }))

  it.effect("leave alone what is there, and find nothing where there is nothing", () =>
    Effect.gen(function*() {
      const message = AmqpMessage.text("a", { headers: { traceparent } })
      const injected = yield* Effect.withSpan(AmqpTelemetry.inject(message), "publish")
      assert.strictEqual(injected.properties.headers?.traceparent, traceparent)
      assert.isTrue(Option.isNone(AmqpTelemetry.extract(AmqpMessage.text("a"))))
    }))
})

describe("the layer of telemetry", () => {
  it.effect("turns it on for a publisher whose layer is built above it", () => {
    const tracer = recording()
    return tracer.traced(connected((peer) =>
      Effect.gen(function*() {
        const program = Effect.gen(function*() {
          const { publish } = yield* AmqpPublisher.AmqpPublisher
          yield* publish(AmqpMessage.text("a"), toQueue)
        })
        const fiber = yield* fork(program.pipe(
          Effect.provide(AmqpPublisher.layer()),
          Effect.provide(AmqpTelemetry.layer())
        ))
        yield* peer.openChannel(1)
        yield* peer.answer(1, "confirm.select", { _tag: "confirm.select-ok" })
        assert.isString(yield* publishedHeader(peer))
        yield* peer.send(1, ack(1))
        yield* peer.closeChannel()
        yield* exitOf(fiber)
        assert.strictEqual(tracer.only("publish q").end, "ok")
      })
    ))
  })
})
