import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpTelemetry from "@effect-amqp/core/AmqpTelemetry"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"
import { Network } from "../../support/scriptedNetwork.ts"
import {
  ack,
  connected,
  exitOf,
  failureOf,
  fork,
  nack,
  openPublisher,
  reasonOf,
  resultOf,
  toQueue
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"
import { registry } from "../../support/series.ts"
import { openForPublishing } from "../../support/severalPeers.ts"
import { recording } from "../../support/spans.ts"

const traceId = "0af7651916cd43dd8448eb211c80319c"
const spanId = "b7ad6b7169203331"
const traceparent = `00-${traceId}-${spanId}-01`

const on = (options: AmqpTelemetry.Options = {}) => Effect.provideService(AmqpTelemetry.Telemetry, options)

/** The traceparent header of the next message that the client publishes. */
const publishedHeader = (peer: Peer) =>
  Effect.map(peer.expectPublish(), ({ properties }) => properties.headers?.traceparent)

describe("a publisher", () => {
  it.effect("creates no spans and adds no header unless telemetry is on", () => {
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

  it.effect("creates a span from the call to the confirm, and puts its id into the message", () => {
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

  it.effect("has the address of the broker that the connection leads to now", () => {
    const tracer = recording()
    const network = new Network()
    const at = (name: string): AmqpConnection.Endpoint => ({
      ...network.endpoint(name),
      transport: { peer: `${name}:5672`, level: "Verified" }
    })
    return tracer.traced(Effect.scoped(Effect.gen(function*() {
      const connecting = yield* fork(
        AmqpConnection.makeFrom([at("rabbit-1"), at("rabbit-2")], { endpointOrder: "ordered" })
      )
      const first = yield* network.serve()
      const connection = yield* resultOf(connecting)
      const { publish } = yield* on()(openPublisher(first)).pipe(
        Effect.provideService(AmqpConnection.AmqpConnection, connection)
      )
      yield* fork(publish(AmqpMessage.text("a"), toQueue))
      yield* first.expectPublish("a")
      yield* first.hangUp
      const second = yield* network.serve()
      yield* openForPublishing(second)
      yield* fork(publish(AmqpMessage.text("b"), toQueue))
      yield* second.expectPublish("b")
      assert.deepStrictEqual(
        tracer.spans.map(({ attributes }) => attributes["server.address"]),
        ["rabbit-1", "rabbit-2"]
      )
      yield* network.hangUp
    })))
  })

  const destinations: ReadonlyArray<readonly [string, string | AmqpExchange.AmqpExchange, string, string, string]> = [
    ["the default exchange", "", "orders", "publish orders", "orders"],
    ["a described exchange", AmqpExchange.fanout("events"), "", "publish events", "events"],
    ["the default exchange with an empty routing key", "", "", "publish", "amq.default"],
    ["a reply queue", "", "amq.rabbitmq.reply-to.g1h2AA5", "publish", "amq.default"]
  ]
  for (const [what, exchange, routingKey, name, destination] of destinations) {
    it.effect(`names a span after ${what}: ${name}, ${destination}`, () => {
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

  it.effect("ends the span with the typed error, and records its reason", () => {
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

  it.effect("ends the span when the publish is interrupted", () => {
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

  it.effect("creates one span for all attempts of a publish, which share a message id", () => {
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

  it.effect("keeps the trace context of a message, and links the span to it", () => {
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

  it.effect("adds its header to headers that are a Map, and refuses headers that are not a table", () =>
    recording().traced(connected((peer) =>
      Effect.gen(function*() {
        const { publish } = yield* on()(openPublisher(peer))
        // Untyped code can pass this.
        const message = (headers: unknown) => AmqpMessage.text("a", { headers: headers as AmqpMessage.FieldTable })
        yield* fork(publish(message(new Map([["region", "eu"]])), toQueue))
        const { properties } = yield* peer.expectPublish("a")
        assert.strictEqual(properties.headers?.region, "eu")
        assert.isString(properties.headers?.traceparent)
        const refused = yield* Effect.flip(publish(message(new Set(["region"])), toQueue))
        assert.include(refused.message, "headers: must be a plain object")
      })
    )))

  it.effect("adds no header when propagation is turned off", () => {
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

  it.effect("adds no header where the program has turned its tracer off", () => {
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

  it.effect("marks the header when the trace is not sampled", () => {
    const tracer = recording()
    return tracer.traced(connected((peer) =>
      Effect.gen(function*() {
        const { publish } = yield* on()(openPublisher(peer))
        yield* fork(Effect.withSpan(publish(AmqpMessage.text("a"), toQueue), "root", { sampled: false }))
        assert.match(JSON.stringify(yield* publishedHeader(peer)), /^"00-.*-00"$/)
      })
    ))
  })

  it.effect("creates one span for a batch, which the headers of all its messages name", () => {
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
        // The function is called with the original messages, not with their copies that have headers.
        assert.deepStrictEqual(asked.map((message) => messages.indexOf(message)), [0, 1, 2])
      })
    ))
  })

  it.effect("records the destination of a batch that has only one", () => {
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

  it.effect("records how long its publishes take, and which failed", () => {
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

  it.effect("records no durations when they are turned off", () => {
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

describe("the layer of telemetry", () => {
  it.effect("turns it on for a publisher layer that is built with it", () => {
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
