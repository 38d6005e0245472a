import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Stream from "effect/Stream"
import {
  ack,
  connected,
  contentBytes,
  deliverBytes,
  dial,
  failureOf,
  fork,
  getOkBytes,
  methodBytes,
  nack,
  openConsumer,
  openPublisher,
  publishText,
  reasonOf,
  rest,
  resultOf,
  script,
  start,
  toQueue
} from "../../support/scriptedPeer.ts"
import { registry } from "../../support/series.ts"

const transport: AmqpConnection.TransportProtection = { peer: "[::1]:5672", level: "Local" }

describe("the metrics of a connection", () => {
  it.effect("count open connections, and all that were opened", () => {
    const metrics = registry()
    const open = () => metrics.values("connections", "connections.opened", "channels")
    return metrics.kept(Effect.gen(function*() {
      for (const opened of [1, 2]) {
        yield* connected((peer) =>
          Effect.gen(function*() {
            assert.deepStrictEqual(open(), [1, opened, 0])
            yield* openPublisher(peer)
            assert.deepStrictEqual(open(), [1, opened, 1])
          })
        )
        assert.deepStrictEqual(open(), [0, opened, 0])
      }
    }))
  })

  it.effect("do not count a connection that the broker refused", () => {
    const metrics = registry()
    return metrics.kept(script((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fork(dial(peer))
        yield* peer.expectGreeting
        yield* peer.send(0, start({ mechanisms: "GSSAPI" }))
        yield* reasonOf(fiber, "NoCommonMechanism")
        assert.deepStrictEqual(metrics.values("connections", "connections.opened"), [0, 0])
      })
    ))
  })

  it.effect("have the broker's address and the connection's name as attributes, and no secret", () => {
    const metrics = registry()
    const client = { connectionName: "orders", clientProperties: { token: "s3cret" } }
    return metrics.kept(Effect.provideService(
      connected(() => {
        for (const { attributes, id } of metrics.snapshot()) {
          assert.strictEqual(attributes?.["server.address"], "::1", id)
          assert.strictEqual(attributes?.["server.port"], "5672", id)
          assert.strictEqual(attributes?.["messaging.client.id"], "orders", id)
          assert.strictEqual(attributes?.["messaging.system"], "rabbitmq", id)
        }
        assert.notInclude(JSON.stringify(metrics.snapshot()), "s3cret")
        return Effect.void
      }, { client }),
      AmqpConnection.TransportProtection,
      transport
    ))
  })

  it.effect("are separate for each connection name", () => {
    const metrics = registry()
    const opened = (name: string) => metrics.value("amqp.client.connections.opened", { "messaging.client.id": name })
    return metrics.kept(Effect.gen(function*() {
      for (const connectionName of ["a", "b", "a"]) yield* connected(() => Effect.void, { client: { connectionName } })
      assert.deepStrictEqual([opened("a"), opened("b")], [2, 1])
    }))
  })

  it.effect("are separate for each value of the program's metric attributes", () => {
    const metrics = registry()
    const opened = (tenant: string) => metrics.value("amqp.client.connections.opened", { tenant })
    return metrics.kept(Effect.gen(function*() {
      for (const tenant of ["a", "b", "a"]) {
        yield* Effect.provideService(connected(() => Effect.void), Metric.CurrentMetricAttributes, { tenant })
      }
      assert.deepStrictEqual([opened("a"), opened("b")], [2, 1])
    }))
  })

  it.effect("show whether the connection is blocked", () => {
    const metrics = registry()
    return metrics.kept(connected((peer) =>
      Effect.gen(function*() {
        yield* peer.send(0, { _tag: "connection.blocked", reason: "low on memory" })
        yield* rest
        assert.deepStrictEqual(metrics.values("connections.blocked"), [1])
        yield* peer.send(0, { _tag: "connection.unblocked" })
        yield* rest
        assert.deepStrictEqual(metrics.values("connections.blocked"), [0])
      })
    ))
  })

  it.effect("count the bytes in both directions", () => {
    const metrics = registry()
    return metrics.kept(connected((peer) =>
      Effect.gen(function*() {
        const [read] = metrics.values("bytes.read")
        yield* peer.heartbeat
        yield* rest
        assert.deepStrictEqual(metrics.values("bytes.read"), [read + 8])
        yield* openPublisher(peer)
        yield* rest
        assert.deepStrictEqual(metrics.values("bytes.written"), [peer.bytesTaken])
      })
    ))
  })
})

describe("the metrics of publishes", () => {
  it.effect("count sent messages, unconfirmed ones and their outcomes", () => {
    const metrics = registry()
    const outcomes = () =>
      metrics.values("publishes.unconfirmed", "publishes.confirmed", "publishes.nacked", "publishes.unknown")
    return metrics.kept(connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const fibers = []
        for (const text of ["a", "b", "c", "d"]) fibers.push(yield* publishText(peer, publisher, text))
        assert.strictEqual(metrics.value("messaging.client.sent.messages"), 4)
        assert.deepStrictEqual(outcomes(), [4, 0, 0, 0])
        yield* peer.send(1, ack(2, true), nack(3))
        yield* rest
        assert.deepStrictEqual(outcomes(), [1, 2, 1, 0])
        yield* peer.hangUp
        yield* failureOf(fibers[3])
        assert.deepStrictEqual(outcomes(), [0, 2, 1, 1])
      })
    ))
  })

  it.effect("do not count as unknown a large message that was not sent to its end", () => {
    const metrics = registry()
    return metrics.kept(connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const small = yield* publishText(peer, publisher, "small")
        yield* peer.stall
        const large = yield* fork(publisher.publish(AmqpMessage.make(new Uint8Array(3 * 1024 * 1024)), toQueue))
        yield* peer.takeOneWrite
        yield* peer.hangUp
        yield* reasonOf(small, "OutcomeUnknown")
        yield* reasonOf(large, "NotSent")
        assert.deepStrictEqual(metrics.values("publishes.unknown", "publishes.unconfirmed"), [1, 0])
      })
    ))
  })

  it.effect("count a returned message as returned and as confirmed, as the broker does", () => {
    const metrics = registry()
    return metrics.kept(connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const fiber = yield* fork(publisher.publish(AmqpMessage.text("a"), { ...toQueue, mandatory: true }))
        yield* peer.expectPublish("a")
        const returned = { replyCode: 312, replyText: "NO_ROUTE", exchange: "", routingKey: "q" }
        yield* peer.push(contentBytes(1, { _tag: "basic.return", ...returned }, "a"), methodBytes(1, ack(1)))
        yield* reasonOf(fiber, "Returned")
        assert.deepStrictEqual(metrics.values("publishes.returned", "publishes.confirmed"), [1, 1])
      })
    ))
  })

  it.effect("count what channel programs publish", () => {
    const metrics = registry()
    return metrics.kept(connected((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fork(AmqpChannel.run(AmqpChannel.publish(AmqpMessage.text("a"), toQueue)))
        yield* peer.openChannel()
        yield* peer.expectPublish("a")
        yield* peer.closeChannel()
        yield* resultOf(fiber)
        assert.strictEqual(metrics.value("messaging.client.sent.messages"), 1)
        assert.deepStrictEqual(metrics.values("publishes.unconfirmed", "publishes.confirmed"), [0, 0])
      })
    ))
  })
})

describe("the metrics of deliveries", () => {
  it.effect("count deliveries and how they were settled", () => {
    const metrics = registry()
    const settled = () =>
      metrics.values(
        "deliveries.unsettled",
        "deliveries.acknowledged",
        "deliveries.rejected",
        "deliveries.requeued"
      )
    return metrics.kept(connected((peer) =>
      Effect.gen(function*() {
        const deliveries: Array<AmqpDelivery.AmqpDelivery> = []
        const consume = Stream.runForEach(
          AmqpConsumer.stream("q"),
          (delivery) => Effect.sync(() => void deliveries.push(delivery))
        )
        const { consumerTag } = yield* openConsumer(peer, consume)
        yield* peer.push(...[1, 2, 3, 4].map((tag) => deliverBytes(1, consumerTag, tag, "m")))
        yield* rest
        assert.strictEqual(metrics.value("messaging.client.consumed.messages"), 4)
        assert.deepStrictEqual(settled(), [4, 0, 0, 0])
        const [first, second, third] = deliveries
        yield* second.ack
        yield* second.ack
        assert.deepStrictEqual(settled(), [3, 1, 0, 0])
        yield* first.reject()
        yield* third.nack()
        assert.deepStrictEqual(settled(), [1, 1, 1, 1])
      })
    ))
  })

  it.effect("count deliveries that no consumer has taken", () => {
    const metrics = registry()
    return metrics.kept(connected((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fork(AmqpConsumer.make("q"))
        yield* peer.openChannel()
        yield* peer.answer(1, "basic.qos", { _tag: "basic.qos-ok" })
        const { consumerTag } = yield* peer.expect("basic.consume")
        yield* peer.send(1, { _tag: "basic.consume-ok", consumerTag })
        const consumer = yield* resultOf(fiber)
        yield* peer.push(...[1, 2, 3].map((tag) => deliverBytes(1, consumerTag, tag, "m")))
        yield* rest
        assert.deepStrictEqual(metrics.values("deliveries.buffered", "deliveries.unsettled"), [3, 3])
        yield* Stream.runDrain(Stream.take(consumer.stream, 1))
        assert.deepStrictEqual(metrics.values("deliveries.buffered", "deliveries.unsettled"), [0, 3])
      })
    ))
  })

  it.effect("count messages from basic.get", () => {
    const metrics = registry()
    return metrics.kept(connected((peer) =>
      Effect.gen(function*() {
        const fiber = yield* fork(AmqpChannel.run(AmqpQueue.get("q", () => AmqpChannel.succeed(AmqpDelivery.ack))))
        yield* peer.openChannel()
        yield* peer.expect("basic.get")
        yield* peer.push(getOkBytes(1, "m"))
        yield* peer.expect("basic.ack")
        yield* peer.closeChannel()
        yield* resultOf(fiber)
        assert.strictEqual(metrics.value("messaging.client.consumed.messages"), 1)
        assert.deepStrictEqual(metrics.values("deliveries.acknowledged"), [1])
      })
    ))
  })
})
