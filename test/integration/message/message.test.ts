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

/** Bytes of every value, including the frame end. */
const bytes = (length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, index) => (index * 7 + (index >> 8)) & 255)

const assertBytes = (body: Uint8Array, expected: Uint8Array) => {
  assert.strictEqual(body.length, expected.length)
  assert.isTrue(Buffer.from(body).equals(expected), "the bytes are not those that were published")
}

/** Publishes a message to a queue, and takes it from there. */
const roundTrip = (message: AmqpMessage.AmqpMessage) =>
  Effect.gen(function*() {
    const queue = yield* declaredQueue()
    yield* fill(queue, message)
    return yield* take(queue)
  })

/** Has the broker decode and encode the headers, as it does when it dead-letters a message. */
const deadLetterRoundTrip = (message: AmqpMessage.AmqpMessage) =>
  Effect.gen(function*() {
    const dead = yield* declaredQueue()
    const queue = yield* declaredQueue({ deadLetterExchange: "", deadLetterRoutingKey: dead })
    yield* fill(queue, message)
    yield* AmqpChannel.run(AmqpQueue.get(queue, () => Effect.succeed(AmqpDelivery.reject)))
    yield* awaitMessages(dead, 1)
    return yield* take(dead)
  })

/** A value of each field type, by its letter. */
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

/** The same fields as received: typed numbers become plain ones. */
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

/** Integers at and beyond the limit of a double (C18). */
const largeIntegers = {
  safe: Number.MAX_SAFE_INTEGER,
  unsafe: 9007199254740993n,
  largest: 2n ** 63n - 1n,
  smallest: -(2n ** 63n)
}

/** Received bytes may be of a subclass, such as Buffer. */
const comparable = (value: unknown): unknown => value instanceof Uint8Array ? Uint8Array.from(value) : value

const headersOf = ({ properties }: AmqpDelivery.ReceivedMessage, ...names: ReadonlyArray<string>) =>
  Object.fromEntries(names.map((name) => [name, comparable(properties.headers?.[name])]))

describe("a message", () => {
  it.live("arrives with all its properties", () =>
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

  it.live("arrives with properties that are empty or zero", () =>
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

  it.live("arrives without properties when it has none", () =>
    connected(Effect.gen(function*() {
      const { body, properties } = yield* roundTrip(AmqpMessage.make(bytes(3)))
      assert.isTrue(Object.values(properties).every((value) => value === undefined))
      assertBytes(body, bytes(3))
    })))

  it.live("is refused when its user id is not the connection's user", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const publish = AmqpChannel.publish(AmqpMessage.text("hello", { userId: "another user" }), toQueue(queue))
      const reason = yield* failsWith(AmqpChannel.run(publish), "PreconditionFailed")
      assert.include(reason.message, "user_id property set to 'another user'")
    })))

  it.live("C9: arrives with headers of each field type", () =>
    connected(Effect.gen(function*() {
      const delivery = yield* roundTrip(AmqpMessage.text("hello", { headers: fields }))
      assert.deepStrictEqual(headersOf(delivery, ...Object.keys(fields)), receivedFields)
    })))

  it.live("C9: has headers of each field type that the broker decodes correctly", () =>
    connected(Effect.gen(function*() {
      const delivery = yield* deadLetterRoundTrip(AmqpMessage.text("hello", { headers: fields }))
      assert.deepStrictEqual(headersOf(delivery, ...Object.keys(fields)), receivedFields)
    })))

  it.live("C18: arrives with exact 64-bit integers, also after the broker has decoded them", () =>
    connected(Effect.gen(function*() {
      for (const trip of [roundTrip, deadLetterRoundTrip]) {
        const delivery = yield* trip(AmqpMessage.text("hello", { headers: largeIntegers }))
        assert.deepStrictEqual(headersOf(delivery, ...Object.keys(largeIntegers)), largeIntegers)
      }
    })))

  it.live("has an x-death header when it is dead-lettered", () =>
    connected(Effect.gen(function*() {
      const { properties: { headers = {} } } = yield* deadLetterRoundTrip(AmqpMessage.text("hello"))
      assert.strictEqual(headers["x-first-death-reason"], "rejected")
      const deaths = headers["x-death"]
      if (!Array.isArray(deaths)) return assert.fail("x-death is not an array")
      const [death] = deaths
      assert.include(death, { count: 1, reason: "rejected", exchange: "" })
      assert.instanceOf(death.time, Date)
    })))
})

describe("a body", () => {
  const frameMax = 8192
  const payload = frameMax - 8

  it.live("C17: arrives whole at every size around that of a frame", () =>
    connected(
      Effect.gen(function*() {
        const queue = yield* declaredQueue()
        const sizes = [0, 1, payload - 1, payload, payload + 1, 2 * payload - 1, 2 * payload, 2 * payload + 1]
        yield* fill(queue, ...sizes.map((size) => AmqpMessage.make(bytes(size))))
        for (const size of sizes) assertBytes((yield* take(queue)).body, bytes(size))
      }),
      { frameMax }
    ))

  it.live("of 300,000 bytes arrives in many frames", () =>
    connected(
      Effect.gen(function*() {
        const { body } = yield* roundTrip(AmqpMessage.make(bytes(300_000)))
        assertBytes(body, bytes(300_000))
      }),
      { frameMax }
    ))

  it.live("P11: is not mixed with the bodies of concurrent publishes", () =>
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
          assertBytes(body, new Uint8Array(20_000).fill(body[0]))
          values.set(body[0], (values.get(body[0]) ?? 0) + 1)
        }
        assert.deepStrictEqual([...values.values()], Array<number>(40).fill(2))
      }),
      { frameMax }
    ))

  it.live("larger than maxPublishSize is refused before anything is sent", () =>
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
