import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import { TypedField } from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpUri from "@effect-amqp/core/AmqpUri"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import {
  awaitMessages,
  connected,
  declaredQueue,
  failsWith,
  fill,
  infoOf,
  take,
  toQueue
} from "../../support/broker.ts"
import { brokerUrl } from "../../support/brokerUnderTest.ts"

const { username } = Result.getOrThrow(AmqpUri.parse(brokerUrl))

/** Bytes of every value, those that end a frame among them. */
const bytes = (length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, index) => (index * 7 + (index >> 8)) & 255)

const hasBytes = (body: Uint8Array, expected: Uint8Array) => {
  assert.strictEqual(body.length, expected.length)
  assert.isTrue(Buffer.from(body).equals(expected), "the bytes are not those that were published")
}

/** Sends a message to a queue and back. */
const roundTrip = (message: AmqpMessage.AmqpMessage) =>
  Effect.gen(function*() {
    const queue = yield* declaredQueue()
    yield* fill(queue, message)
    return yield* take(queue)
  })

/** Has the broker take the headers apart and put them together again, as it does when it dead-letters a message. */
const deadLetterTrip = (message: AmqpMessage.AmqpMessage) =>
  Effect.gen(function*() {
    const dead = yield* declaredQueue()
    const queue = yield* declaredQueue({ deadLetterExchange: "", deadLetterRoutingKey: dead })
    yield* fill(queue, message)
    yield* AmqpChannel.run(AmqpQueue.get(queue, () => Effect.succeed(AmqpDelivery.reject)))
    yield* awaitMessages(dead, 1)
    return yield* take(dead)
  })

/** A value of each field type, by its letter, and what it is when it is received, where that is another value. */
const fields = {
  t: true,
  b: TypedField.int8(-128),
  B: TypedField.uint8(255),
  s: TypedField.int16(-32768),
  u: TypedField.uint16(65535),
  I: TypedField.int32(-2147483648),
  i: TypedField.uint32(4294967295),
  l: TypedField.int64(5),
  f: TypedField.float(0.5),
  d: 0.1,
  D: TypedField.decimal(2, 314),
  S: "text, naïve 日本 🐇",
  T: new Date("2024-02-29T12:34:56Z"),
  A: [1, "two", [true, null], { three: 3 }],
  F: { nested: { empty: {}, list: [] } },
  V: null,
  x: Uint8Array.of(0, 206, 255)
} as const

const receivedFields = {
  ...fields,
  b: -128,
  B: 255,
  s: -32768,
  u: 65535,
  I: -2147483648,
  i: 4294967295,
  l: 5,
  f: 0.5
}

/** Integers that no double holds, or just so (C18). */
const largeIntegers = {
  safe: Number.MAX_SAFE_INTEGER,
  unsafe: 9007199254740993n,
  largest: 2n ** 63n - 1n,
  smallest: -(2n ** 63n)
}

/** Received bytes are a view of what the socket read, of whatever class that is. */
const comparable = (value: unknown): unknown => value instanceof Uint8Array ? Uint8Array.from(value) : value

const headersOf = ({ properties }: AmqpDelivery.ReceivedMessage, ...names: ReadonlyArray<string>) =>
  Object.fromEntries(names.map((name) => [name, comparable(properties.headers?.[name])]))

describe("a message", () => {
  it.live("comes back with all its properties", () =>
    connected(Effect.gen(function*() {
      const properties: AmqpMessage.Properties = {
        contentType: "text/plain; charset=utf-8",
        contentEncoding: "identity",
        headers: { a: 1 },
        deliveryMode: "persistent",
        priority: 7,
        correlationId: "correlation",
        replyTo: "replies",
        expiration: "1 minute",
        messageId: "message",
        timestamp: new Date("2024-02-29T12:34:56Z"),
        type: "greeting",
        userId: username,
        appId: "tests"
      }
      const delivery = yield* roundTrip(AmqpMessage.text("hello", properties))
      const received = Object.fromEntries(
        Object.entries(delivery.properties).filter(([, value]) => value !== undefined)
      )
      assert.deepStrictEqual(received, { ...properties, expiration: Duration.minutes(1) })
    })))

  it.live("comes back with properties that are empty or zero", () =>
    connected(Effect.gen(function*() {
      const { properties } = yield* roundTrip(AmqpMessage.make(new Uint8Array(), {
        headers: {},
        priority: 0,
        correlationId: "",
        type: "",
        timestamp: new Date(0),
        raw: { clusterId: "cluster" }
      }))
      assert.deepStrictEqual(properties.headers, {})
      assert.strictEqual(properties.priority, 0)
      assert.strictEqual(properties.correlationId, "")
      assert.strictEqual(properties.type, "")
      assert.deepStrictEqual(properties.timestamp, new Date(0))
      assert.strictEqual(properties.raw?.clusterId, "cluster")
      assert.isUndefined(properties.contentType)
    })))

  it.live("comes back without properties when it has none", () =>
    connected(Effect.gen(function*() {
      const { body, properties } = yield* roundTrip(AmqpMessage.make(bytes(3)))
      assert.isTrue(Object.values(properties).every((value) => value === undefined))
      hasBytes(body, bytes(3))
    })))

  it.live("is refused when its user is another than that of the connection", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const publish = AmqpChannel.publish(AmqpMessage.text("hello", { userId: "somebody else" }), toQueue(queue))
      const reason = yield* failsWith(AmqpChannel.run(publish), "PreconditionFailed")
      assert.include(reason.message, "user_id property set to 'somebody else'")
    })))

  it.live("C9: comes back with headers of each field type", () =>
    connected(Effect.gen(function*() {
      const delivery = yield* roundTrip(AmqpMessage.text("hello", { headers: fields }))
      assert.deepStrictEqual(headersOf(delivery, ...Object.keys(fields)), receivedFields)
    })))

  it.live("C9: has headers of each field type that the broker understands as they were meant", () =>
    connected(Effect.gen(function*() {
      const delivery = yield* deadLetterTrip(AmqpMessage.text("hello", { headers: fields }))
      assert.deepStrictEqual(headersOf(delivery, ...Object.keys(fields)), receivedFields)
    })))

  it.live("C18: comes back with integers of 64 bits exactly, also when the broker has read them", () =>
    connected(Effect.gen(function*() {
      for (const trip of [roundTrip, deadLetterTrip]) {
        const delivery = yield* trip(AmqpMessage.text("hello", { headers: largeIntegers }))
        assert.deepStrictEqual(headersOf(delivery, ...Object.keys(largeIntegers)), largeIntegers)
      }
    })))

  it.live("tells where it was dead-lettered and how often", () =>
    connected(Effect.gen(function*() {
      const { properties: { headers = {} } } = yield* deadLetterTrip(AmqpMessage.text("hello"))
      assert.strictEqual(headers["x-first-death-reason"], "rejected")
      const deaths = headers["x-death"]
      if (!Array.isArray(deaths)) return assert.fail("x-death is no array")
      const [death] = deaths
      assert.include(death, { count: 1, reason: "rejected", exchange: "" })
      assert.instanceOf(death.time, Date)
    })))
})

describe("a body", () => {
  const frameMax = 8192
  const payload = frameMax - 8

  it.live("C17: comes back whole, of whatever size next to that of a frame", () =>
    connected(
      Effect.gen(function*() {
        const queue = yield* declaredQueue()
        const sizes = [0, 1, payload - 1, payload, payload + 1, 2 * payload - 1, 2 * payload, 2 * payload + 1]
        yield* fill(queue, ...sizes.map((size) => AmqpMessage.make(bytes(size))))
        for (const size of sizes) hasBytes((yield* take(queue)).body, bytes(size))
      }),
      { frameMax }
    ))

  it.live("of 300,000 bytes goes through many frames", () =>
    connected(
      Effect.gen(function*() {
        const { body } = yield* roundTrip(AmqpMessage.make(bytes(300_000)))
        hasBytes(body, bytes(300_000))
      }),
      { frameMax }
    ))

  it.live("P11: is not mixed with those of others that are published at the same time", () =>
    connected(
      Effect.gen(function*() {
        const queue = yield* declaredQueue()
        const { publish } = yield* AmqpPublisher.make()
        const filled = (value: number) => AmqpMessage.make(new Uint8Array(20_000).fill(value))
        yield* Effect.all(
          [
            Effect.forEach(Array(40).keys(), (value) => publish(filled(value), toQueue(queue)), {
              concurrency: "unbounded"
            }),
            Effect.forEach(Array(40).keys(), (value) => fill(queue, filled(value)), { concurrency: 10 })
          ],
          { concurrency: 2 }
        )
        const values = new Map<number, number>()
        for (let count = 0; count < 80; count++) {
          const { body } = yield* take(queue)
          hasBytes(body, new Uint8Array(20_000).fill(body[0]))
          values.set(body[0], (values.get(body[0]) ?? 0) + 1)
        }
        assert.deepStrictEqual([...values.values()], Array<number>(40).fill(2))
      }),
      { frameMax }
    ))

  it.live("larger than the limit is refused before anything of it is sent", () =>
    connected(
      Effect.gen(function*() {
        const queue = yield* declaredQueue()
        const publish = AmqpChannel.publish(AmqpMessage.make(bytes(1001)), toQueue(queue))
        const reason = yield* failsWith(AmqpChannel.run(publish), "InvalidArgument")
        assert.include(reason.message, "1001 bytes are more than the limit of 1000")
        assert.strictEqual((yield* infoOf(queue)).messageCount, 0)
      }),
      { maxPublishSize: 1000 }
    ))
})
