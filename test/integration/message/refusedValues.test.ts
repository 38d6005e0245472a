/**
 * Values for which a broker would close the connection, or that cannot be encoded: each fails only the call that has it.
 */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import {
  assertReason,
  connected,
  declaredQueue,
  eventually,
  failsWith,
  queueName,
  take,
  toQueue,
  uniqueName
} from "../../support/broker.ts"

const { TypedField } = AmqpMessage

/** Tables with a value under the key `bad` or in it. */
const badTables: Record<string, AmqpMessage.FieldTable> = {
  NaN: { bad: 0 / 0 },
  infinity: { bad: Infinity },
  "minus infinity": { bad: -Infinity },
  "a number too large for a float": { bad: TypedField.float(1e300) },
  "NaN as a float": { bad: TypedField.float(NaN) },
  "infinity as a double": { bad: TypedField.double(-Infinity) },
  "NaN in an array": { bad: [1, [NaN]] },
  "infinity in a table": { good: 1, deep: { bad: { bad: Infinity } } },
  "NaN in a Map": { deep: new Map([["bad", NaN]]) },
  "an integer that is not exact": { bad: 2 ** 60 },
  "a bigint beyond 64 bits": { bad: 2n ** 63n },
  "a date before 1970": { bad: new Date(-1000) },
  "an invalid date": { bad: new Date(NaN) },
  "bytes of a detached buffer": { bad: detached(10) },
  "a key of 256 bytes": { ["bad".padEnd(256, "d")]: 1 }
}

function detached(length: number): Uint8Array {
  const bytes = new Uint8Array(length).fill(1)
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
  return bytes
}

/** A body as JavaScript, or `any`, may pass it. */
const untyped = (value: unknown): Uint8Array => value as Uint8Array

/** Runs `body`, and asserts that the connection, a publisher and a consumer are unaffected. */
const withoutEffect = <A, E, R>(body: Effect.Effect<A, E, R>) =>
  connected(Effect.gen(function*() {
    const connection = yield* AmqpConnection.AmqpConnection
    const queue = yield* declaredQueue()
    const publisher = yield* AmqpPublisher.make()
    const seen: Array<string> = []
    yield* AmqpConsumer.startServing(queue, ({ text }) => {
      seen.push(text)
      return Effect.succeed(AmqpDelivery.ack)
    })
    yield* publisher.publish(AmqpMessage.text("before"), toQueue(queue))
    yield* body
    yield* publisher.publish(AmqpMessage.text("after"), toQueue(queue))
    yield* eventually(Effect.sync(() => seen), (seen) => seen.includes("after"))
    assert.strictEqual((yield* connection.state)._tag, "Open")
  }))

describe("an invalid header value", () => {
  for (const [name, headers] of Object.entries(badTables)) {
    it.live(`fails with its key, and nothing is sent: ${name}`, () =>
      withoutEffect(Effect.gen(function*() {
        const queue = yield* declaredQueue()
        const publisher = yield* AmqpPublisher.make()
        const message = AmqpMessage.text("x", { headers })
        const notSent = assertReason(yield* Effect.flip(publisher.publish(message, toQueue(queue))), "NotSent")
        assert.include(assertReason(notSent.cause, "InvalidArgument").message, name.includes("256") ? "key" : "bad")
        yield* failsWith(AmqpChannel.run(AmqpChannel.publish(message, toQueue(queue))), "InvalidArgument")
        yield* publisher.publish(AmqpMessage.text("y"), toQueue(queue))
        assert.strictEqual((yield* take(queue)).text, "y")
      })))
  }
})

/** Tables as JavaScript, or `any`, may pass them. Some would be encoded as empty tables. */
const notTables: Record<string, unknown> = {
  "a Set": new Set(["bad"]),
  "a date": new Date(),
  "an array": ["bad"],
  bytes: new Uint8Array(4),
  "a string": "bad",
  null: null,
  "an instance of a class": new URLSearchParams({ bad: "1" }),
  "an object with toJSON": new (class {
    readonly bad = 1
    toJSON() {
      return {}
    }
  })(),
  "a promise": Promise.resolve({ bad: 1 })
}

const untypedTable = (value: unknown): AmqpMessage.FieldTable => value as AmqpMessage.FieldTable

describe("headers that are not a table", () => {
  for (const [name, value] of Object.entries(notTables)) {
    it.live(`are refused, and nothing is sent: ${name}`, () =>
      withoutEffect(Effect.gen(function*() {
        const queue = yield* declaredQueue()
        const message = AmqpMessage.text("x", { headers: untypedTable(value) })
        for (const options of [{}, { defaults: { headers: { region: "eu" } } }]) {
          const publisher = yield* AmqpPublisher.make(options)
          const notSent = assertReason(yield* Effect.flip(publisher.publish(message, toQueue(queue))), "NotSent")
          assert.include(assertReason(notSent.cause, "InvalidArgument").message, "headers: must be a plain object")
        }
        yield* failsWith(AmqpChannel.run(AmqpChannel.publish(message, toQueue(queue))), "InvalidArgument")
        const make = AmqpPublisher.make({ defaults: { headers: untypedTable(value) } })
        assert.include((yield* failsWith(make, "InvalidArgument")).message, "headers")
        assert.isTrue(Option.isNone(yield* AmqpChannel.run(AmqpQueue.getAutoAck(queue))))
      })))
  }
})

describe("arguments that are not a table", () => {
  for (const [name, value] of Object.entries(notTables)) {
    it.live(`fail that call only: ${name}`, () =>
      withoutEffect(Effect.gen(function*() {
        const queue = yield* declaredQueue()
        const table = untypedTable(value)
        const descriptions = [
          () => AmqpQueue.classic("q", { arguments: table }),
          () => AmqpQueue.quorum("q", { arguments: table }),
          () => AmqpQueue.stream("q", { arguments: table }),
          () => AmqpExchange.direct("e", { arguments: table })
        ]
        // In options, `null` means no arguments.
        if (value !== null) {
          for (const describe of descriptions) assert.throws(describe, "arguments: must be a plain object")
        }
        const binding = { exchange: "amq.headers", arguments: table }
        yield* failsWith(AmqpChannel.run(AmqpQueue.bind(queue, binding)), "InvalidArgument")
        yield* failsWith(AmqpChannel.run(AmqpQueue.unbind(queue, binding)), "InvalidArgument")
        if (value === null) return
        const error = yield* Effect.flip(connected(Effect.void, { clientProperties: table }))
        if (error._tag !== "AmqpConnectionError") return assert.fail(error._tag)
        assertReason(error, "InvalidArgument")
      })))
  }
})

describe("a boolean option with another value", () => {
  for (const value of ["false", "true", 0, 1, null, {}]) {
    it.live(`is refused: ${JSON.stringify(value)}`, () =>
      withoutEffect(Effect.gen(function*() {
        const queue = yield* declaredQueue()
        // As JavaScript may pass it, from a configuration.
        const flag = (name: string) => ({ [name]: value })
        const descriptions = [
          ...["durable", "exclusive", "autoDelete", "singleActiveConsumer"]
            .map((name) => () => AmqpQueue.classic("q", flag(name))),
          ...["durable", "autoDelete", "internal"].map((name) => () => AmqpExchange.direct("e", flag(name)))
        ]
        for (const describe of descriptions) assert.throws(describe, "must be true or false")
        const refused = [
          AmqpChannel.run(AmqpQueue.delete(queue, flag("ifEmpty"))),
          AmqpChannel.run(AmqpQueue.delete(queue, flag("ifUnused"))),
          AmqpChannel.run(AmqpExchange.delete(uniqueName("exchange"), flag("ifUnused"))),
          AmqpChannel.run(AmqpChannel.qos({ prefetchCount: 1, ...flag("global") })),
          AmqpQueue.move(queue, "amq.rabbitmq.reply-to.x", flag("dryRun")),
          AmqpQueue.move(queue, "amq.rabbitmq.reply-to.x", flag("resetFailures")),
          AmqpPublisher.make({ stamp: flag("messageId") }),
          AmqpPublisher.make({ defaults: flag("mandatory") })
        ]
        for (const each of refused) {
          assert.include((yield* failsWith(each, "InvalidArgument")).message, "must be true or false")
        }
      })))
  }
})

describe("a name that is not a string", () => {
  const notNames: Record<string, unknown> = {
    undefined: undefined,
    null: null,
    "a number": 5,
    "an object": {},
    "an array": ["q"],
    "a name that is a number": { name: 5 },
    "a symbol": Symbol("q"),
    "a function": () => "q"
  }
  for (const [what, value] of Object.entries(notNames)) {
    it.live(`fails that call only: ${what}`, () =>
      withoutEffect(Effect.gen(function*() {
        const queue = yield* declaredQueue()
        const name = value as string
        assert.throws(() => AmqpQueue.classic(name), "queue: must be a string")
        assert.throws(() => AmqpExchange.direct(name), "exchange: must be a string")
        const refused = [
          AmqpChannel.run(AmqpQueue.declare(name)),
          AmqpChannel.run(AmqpQueue.declarePassive(name)),
          AmqpChannel.run(AmqpQueue.purge(name)),
          AmqpChannel.run(AmqpQueue.delete(name)),
          AmqpChannel.run(AmqpQueue.getAutoAck(name)),
          AmqpChannel.run(AmqpQueue.bind(name, { exchange: "amq.topic" })),
          AmqpChannel.run(AmqpQueue.bind(queue, { exchange: name })),
          AmqpChannel.run(AmqpExchange.declare(name)),
          AmqpChannel.run(AmqpExchange.delete(name)),
          AmqpChannel.run(AmqpExchange.bind(name, { source: "amq.topic" })),
          AmqpChannel.run(AmqpExchange.bind("amq.topic", { source: name })),
          AmqpQueue.move(name, queue),
          AmqpQueue.move(queue, { exchange: name, routingKey: "" })
        ]
        for (const each of refused) yield* failsWith(each, "InvalidArgument")
      })))
  }
})

describe("an invalid argument value", () => {
  for (const [name, table] of Object.entries(badTables)) {
    it.live(`fails that call only: ${name}`, () =>
      withoutEffect(Effect.gen(function*() {
        const queue = yield* declaredQueue()
        const refused = [
          AmqpChannel.run(AmqpQueue.declare(AmqpQueue.classic(yield* queueName, { arguments: table }))),
          AmqpChannel.run(AmqpExchange.declare(AmqpExchange.direct(uniqueName("exchange"), { arguments: table }))),
          AmqpChannel.run(AmqpQueue.bind(queue, { exchange: "amq.headers", routingKey: "", arguments: table })),
          Stream.runDrain(AmqpConsumer.stream(queue, { arguments: table }))
        ]
        for (const each of refused) yield* failsWith(each, "InvalidArgument")
      })))
  }
})

describe("an invalid client property", () => {
  for (const [name, clientProperties] of Object.entries(badTables)) {
    it.live(`fails the connection that is made with it: ${name}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(connected(Effect.void, { clientProperties }))
        if (error._tag !== "AmqpConnectionError") return assert.fail(error._tag)
        assertReason(error, "InvalidArgument")
      }))
  }
})

describe("a value that is not a list of SASL mechanisms", () => {
  for (const mechanisms of [[], ["PLAIN"], "PLAIN", [null], [{ name: "PLAIN" }], {}]) {
    it.live(`fails the connection that is made with it: ${JSON.stringify(mechanisms)}`, () =>
      Effect.gen(function*() {
        // As JavaScript may pass it, from a configuration.
        const options = { mechanisms: mechanisms as unknown as AmqpConnection.Options["mechanisms"] }
        const error = yield* Effect.flip(connected(Effect.void, options))
        if (error._tag !== "AmqpConnectionError") return assert.fail(error._tag)
        assert.include(assertReason(error, "InvalidArgument").message, "mechanisms: must be a list")
      }))
  }
})

describe("a body that is not a Uint8Array", () => {
  const bodies: Record<string, unknown> = {
    "a string": "hello",
    "an array": [1, 2, 3],
    null: null,
    undefined: undefined,
    "a number": 5,
    "an ArrayBuffer": new ArrayBuffer(4),
    "a DataView": new DataView(new ArrayBuffer(4)),
    "a Uint16Array": new Uint16Array(4),
    "a Uint8ClampedArray": new Uint8ClampedArray(4),
    "a proxy of bytes": new Proxy(new Uint8Array(4), {}),
    "an object with its prototype": Object.setPrototypeOf({ length: 4 }, Uint8Array.prototype),
    "bytes of a detached buffer": detached(10),
    "large bytes of a detached buffer": detached(1_000_000)
  }
  for (const [name, body] of Object.entries(bodies)) {
    it.live(`is refused, and nothing is sent: ${name}`, () =>
      withoutEffect(Effect.gen(function*() {
        const queue = yield* declaredQueue()
        const publisher = yield* AmqpPublisher.make()
        const message = AmqpMessage.make(untyped(body))
        const notSent = assertReason(yield* Effect.flip(publisher.publish(message, toQueue(queue))), "NotSent")
        assert.include(assertReason(notSent.cause, "InvalidArgument").message, "body")
        yield* failsWith(AmqpChannel.run(AmqpChannel.publish(message, toQueue(queue))), "InvalidArgument")
        const failed = yield* Effect.flip(publisher.publishAll([message, AmqpMessage.text("y")], toQueue(queue)))
        assert.deepStrictEqual(failed.failures.map(({ index }) => index), [0])
        assert.strictEqual((yield* take(queue)).text, "y")
      })))
  }
})

describe("a body of an unusual Uint8Array", () => {
  it.live("is sent with its true length", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const publisher = yield* AmqpPublisher.make()
      class Odd extends Uint8Array {
        override get length(): number {
          return 2
        }
      }
      const shared = new Uint8Array(new SharedArrayBuffer(20_000)).fill(1)
      const cases: ReadonlyArray<readonly [Uint8Array, number]> = [
        [Buffer.from("buffer"), 6],
        [Odd.from([1, 2, 3, 4]), 4],
        [Object.defineProperty(new Uint8Array(5), "length", { value: 3 }), 5],
        [shared, 20_000],
        [new Uint8Array(0), 0]
      ]
      for (const [body, length] of cases) {
        yield* publisher.publish(AmqpMessage.make(body), toQueue(queue))
        assert.strictEqual((yield* take(queue)).body.length, length)
      }
    })))
})

describe("a name that is not UTF-8", () => {
  const name = "half \ud83d"

  it.live("fails that call only", () =>
    withoutEffect(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      const message = AmqpMessage.text("x")
      const refused: ReadonlyArray<
        Effect.Effect<unknown, { readonly message: string }, AmqpConnection.AmqpConnection>
      > = [
        AmqpChannel.run(AmqpQueue.declare(name)),
        AmqpChannel.run(AmqpQueue.declare("byte \udcff")),
        AmqpChannel.run(AmqpQueue.declarePassive(name)),
        AmqpChannel.run(AmqpQueue.delete(name)),
        AmqpChannel.run(AmqpQueue.purge(name)),
        AmqpChannel.run(AmqpQueue.bind(queue, { exchange: "amq.topic", routingKey: name })),
        AmqpChannel.run(AmqpQueue.bind(queue, { exchange: name, routingKey: "k" })),
        AmqpChannel.run(AmqpExchange.declare(AmqpExchange.direct(name))),
        AmqpChannel.run(AmqpChannel.publish(message, { exchange: name, routingKey: "k" })),
        Stream.runDrain(AmqpConsumer.stream(name)),
        AmqpChannel.run(AmqpQueue.get(name, () => Effect.succeed(AmqpDelivery.ack)))
      ]
      for (const each of refused) {
        const { message } = yield* Effect.flip(each)
        assert.include(message, "lone surrogate")
      }
    })))

  it.live("can be a received routing key, which is passed on unchanged", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* AmqpChannel.run(AmqpQueue.bind(queue, { exchange: "amq.fanout", routingKey: "" }))
      const publisher = yield* AmqpPublisher.make()
      yield* publisher.publish(AmqpMessage.text("x"), { exchange: "amq.fanout", routingKey: "a\udcff\udc80" })
      assert.strictEqual((yield* take(queue)).routingKey, "a\udcff\udc80")
    })))
})
