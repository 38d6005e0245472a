/**
 * Messages of other clients, forwarded by programs and by the broker, with field types that this client would not choose.
 */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpFailurePolicy from "@effect-amqp/core/AmqpFailurePolicy"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { writeProperties } from "@effect-amqp/core/internal/message/properties"
import { decodeProperties } from "@effect-amqp/core/protocol/BasicProperties"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import { hex, wire } from "../../fixtures/wire.ts"
import {
  awaitMessages,
  connected,
  declaredQueue,
  failsWith,
  infoOf,
  queueName,
  take,
  toQueue
} from "../../support/broker.ts"
import { brokerUrl, is4, isEmbedded } from "../../support/brokerUnderTest.ts"
import { RawConnection } from "../../support/rawConnection.ts"
import { concat, written } from "../../unit/protocol/support.ts"

/** Entries of headers in an order and with types that encoding their decoded values would change. */
const entries = [
  `02"10" "b" 01`,
  `01"9" "I" 00000005`,
  `04"long" "l" 0000000000000005`,
  `06"double" "d" 4014000000000000`,
  `05"float" "f" 3fc00000`,
  `08"unsigned" "i" 00000005`,
  `07"decimal" "D" 02 000003e7`,
  `04"text" "S" 00000002 ff80`,
  `05"bytes" "x" 00000002 ff80`,
  `04"time" "T" ffffffffffffffff`,
  `05"table" "F" 0000000c 01"a" "I" 00000005 01"b" "s" 0005`,
  `05"array" "A" 00000008 "I" 00000005 "s" 0005`
].map((entry) => wire(entry))

/** The entries as the broker delivers them: RabbitMQ 4.x sorts them by key, without the length of the key. */
const delivered = (entries: ReadonlyArray<Uint8Array>): Uint8Array =>
  concat(
    is4 && !isEmbedded ? entries.toSorted((one, other) => hex(one.slice(1)) < hex(other.slice(1)) ? -1 : 1) : entries
  )

const sized = (bytes: Uint8Array): Uint8Array => written((writer) => writer.longString(bytes))

/** Headers, a priority, and a correlation id that is not UTF-8. */
const propertiesWith = (headers: Uint8Array): Uint8Array =>
  concat([wire("2c00"), sized(headers), wire("05 04 ff0080c3")])

const original = propertiesWith(concat(entries))

const encodedHex = (properties: AmqpMessage.Properties): string =>
  hex(written((writer) => writeProperties(writer, properties)))

/** Publishes a message with these headers and no body, as another client would. */
const publishOriginal = (routingKey: string) =>
  Effect.promise(async () => {
    const raw = await RawConnection.open(brokerUrl)
    const method = { _tag: "basic.publish", exchange: "", routingKey, mandatory: true, immediate: false } as const
    assert.strictEqual(await raw.call({ method, properties: decodeProperties(original) }), "routed")
    await raw.close()
  })

/** Asserts that the entries are unchanged, in any order: RabbitMQ sorts headers by key when it adds some. */
const assertUnchanged = ({ properties }: AmqpDelivery.ReceivedMessage) => {
  for (const entry of entries) assert.include(encodedHex(properties), hex(entry))
}

/** Gets a message that must exist, and settles it. */
const getAndSettle = (queue: string, settlement: AmqpDelivery.Settlement) =>
  Effect.map(
    AmqpChannel.run(AmqpQueue.get(queue, (delivery) => Effect.succeed(AmqpDelivery.as(settlement, delivery)))),
    (found) => found._tag === "Some" ? found.value : assert.fail(`there is no message in ${queue}`)
  )

const declare = (queue: AmqpQueue.AmqpQueue) => AmqpChannel.run(AmqpQueue.declare(queue))

describe("a message of another client", () => {
  it.live("is forwarded byte for byte, with what a program adds", () =>
    connected(Effect.gen(function*() {
      const [from, to] = [yield* declaredQueue(), yield* declaredQueue()]
      yield* publishOriginal(from)
      const publisher = yield* AmqpPublisher.make()
      const received = yield* take(from)
      assert.strictEqual(received.properties.headers?.["long"], 5)
      assert.isString(received.properties.correlationId)
      yield* publisher.publish(yield* AmqpMessage.fromDelivery(received), toQueue(to))
      const forwarded = yield* take(to)
      assert.strictEqual(encodedHex(forwarded.properties), hex(propertiesWith(delivered(entries))))
      const headers = { ...forwarded.properties.headers, extra: 1 }
      yield* publisher.publish(AmqpMessage.make(forwarded.body, { ...forwarded.properties, headers, appId: "a" }), {
        ...toQueue(to),
        mandatory: true
      })
      const extended = concat([
        wire("2c08"),
        sized(delivered([...entries, wire(`05"extra" "b" 01`)])),
        wire(`05 04 ff0080c3 01"a"`)
      ])
      assert.strictEqual(encodedHex((yield* take(to)).properties), hex(extended))
    })))

  it.live("keeps the types of its headers when it is retried and forwarded", () =>
    connected(Effect.gen(function*() {
      const [from, to] = [yield* declaredQueue(), yield* declaredQueue()]
      const publisher = yield* AmqpPublisher.make()
      const seen: Array<AmqpDelivery.ReceivedMessage> = []
      const onFailure = AmqpFailurePolicy.retry({
        delays: [0],
        otherwise: AmqpFailurePolicy.forward(AmqpQueue.route(to))
      })
      yield* AmqpConsumer.startServing(from, (delivery) => {
        seen.push(delivery)
        return Effect.fail("again")
      }, { onFailure }).pipe(
        Effect.provideService(AmqpPublisher.AmqpPublisher, publisher),
        Effect.provide(Logger.layer([]))
      )
      yield* publishOriginal(from)
      yield* awaitMessages(to, 1)
      seen.push(yield* take(to))
      assert.lengthOf(seen, 3)
      seen.forEach(assertUnchanged)
      for (const { properties } of seen) assert.strictEqual(properties.correlationId, seen[0].properties.correlationId)
    })))

  it.live("keeps the types of its headers when the broker dead-letters it", () =>
    connected(Effect.gen(function*() {
      const [dead, again] = [yield* declaredQueue(), yield* queueName]
      const from = AmqpQueue.classic(yield* queueName, { deadLetterExchange: "", deadLetterRoutingKey: dead })
      yield* declare(from)
      yield* publishOriginal(from.name)
      yield* getAndSettle(from.name, AmqpDelivery.reject)
      yield* awaitMessages(dead, 1)
      const letter = yield* take(dead)
      assertUnchanged(letter)
      // Dead-lettered again: the broker changes headers that it wrote before.
      yield* declare(AmqpQueue.classic(again, { deadLetterExchange: "", deadLetterRoutingKey: dead }))
      const publisher = yield* AmqpPublisher.make()
      yield* publisher.publish(yield* AmqpMessage.fromDelivery(letter), toQueue(again))
      yield* getAndSettle(again, AmqpDelivery.reject)
      yield* awaitMessages(dead, 1)
      assertUnchanged(yield* take(dead))
    })))

  it.live("keeps the types of its headers when a quorum queue counts its deliveries", () =>
    connected(Effect.gen(function*() {
      const queue = AmqpQueue.quorum(yield* queueName)
      yield* declare(queue)
      yield* publishOriginal(queue.name)
      assertUnchanged(yield* getAndSettle(queue.name, AmqpDelivery.requeue))
      const again = yield* getAndSettle(queue.name, AmqpDelivery.ack)
      assertUnchanged(again)
      assert.strictEqual(again.properties.headers?.["x-delivery-count"], 1)
    })))
})

describe("a forwarded message", () => {
  it.live("is not refused because another user published it first", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      // As received by another user than its publisher.
      const delivery = { body: new Uint8Array(), properties: { userId: "another user", type: "t" } }
      const forward = (message: AmqpMessage.AmqpMessage) =>
        AmqpChannel.run(AmqpChannel.publish(message, toQueue(queue)))
      yield* failsWith(forward(AmqpMessage.make(delivery.body, delivery.properties)), "PreconditionFailed")
      yield* forward(yield* AmqpMessage.fromDelivery(delivery))
      assert.strictEqual((yield* infoOf(queue)).messageCount, 1)
      const { properties } = yield* take(queue)
      assert.strictEqual(properties.type, "t")
      assert.isUndefined(properties.userId)
    })))
})
