import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import type { Acknowledgements } from "@effect-amqp/core/internal/channel/acknowledgements"
import type { Channel } from "@effect-amqp/core/internal/channel/channel"
import { CurrentProgram, RunningProgram } from "@effect-amqp/core/internal/channel/program"
import { Delivery } from "@effect-amqp/core/internal/consuming/delivery"
import type { ConsumerSource } from "@effect-amqp/core/internal/consuming/delivery"
import { QueueKind } from "@effect-amqp/core/internal/consuming/queueKind"
import { writeProperties } from "@effect-amqp/core/internal/message/properties"
import { encodeProperties } from "@effect-amqp/core/protocol/BasicProperties"
import type { BasicProperties } from "@effect-amqp/core/protocol/BasicProperties"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Schema from "effect/Schema"
import { inspect } from "node:util"
import { written } from "./protocol/support.ts"

const acknowledgements = (): Acknowledgements => {
  const acknowledgements: object = { password: "s3cret" }
  // These tests do not settle a delivery.
  return acknowledgements as Acknowledgements
}

const source = (queue: string, acknowledgements: Acknowledgements): ConsumerSource => ({
  queue,
  consumerTag: "c",
  hasEnded: false,
  acknowledgements,
  kind: new QueueKind(false, Effect.succeed(false)),
  description: undefined
})

const delivery = (
  body: string,
  properties: BasicProperties | Uint8Array = {},
  { exchange = "", redelivered = false }: { readonly exchange?: string; readonly redelivered?: boolean } = {},
  from: ConsumerSource = source("orders", acknowledgements())
): AmqpDelivery.AmqpDelivery => {
  const bytes = new TextEncoder().encode(body)
  return new Delivery(
    {
      method: { _tag: "basic.deliver", consumerTag: "c", deliveryTag: 3, redelivered, exchange, routingKey: "orders" },
      properties: properties instanceof Uint8Array
        ? properties
        : written((writer) => encodeProperties(writer, properties)),
      body: bytes,
      bodySize: bytes.length,
      oversized: false
    },
    from
  )
}

const Order = Schema.Struct({ id: Schema.Int })

const handleOrder = ({ id }: typeof Order.Type) => Effect.succeed(AmqpDelivery.as(AmqpDelivery.ack, id))

describe("the options of a decoding handler", () => {
  for (
    const [options, text] of [
      [{ onDecodeErorr: "reject" }, /there is no "onDecodeErorr"; did you mean "onDecodeError"/],
      [{ onDecodeError: "requeue" }, /onDecodeError: must be "fail" or "reject"/],
      [{ redelivered: true }, /there is no "redelivered"/]
    ] as const
  ) {
    it(`are validated: ${JSON.stringify(options)}`, () => {
      // JavaScript, or a variable of another type, may pass this.
      const given: object = options
      assert.throws(() => AmqpDelivery.handleDecoded(Order, handleOrder, given), text)
    })
  }
})

/** The log lines of an effect. */
const logged = (effect: Effect.Effect<unknown>): Effect.Effect<ReadonlyArray<string>> => {
  const lines: Array<string> = []
  const logger = Logger.map(Logger.formatSimple, (line) => void lines.push(line))
  return Effect.as(Effect.provide(effect, Logger.layer([logger])), lines)
}

describe("a decoding handler", () => {
  it.effect("receives the value and its delivery, and returns the settlement", () =>
    Effect.gen(function*() {
      const given = delivery("{\"id\":1}")
      const handler = AmqpDelivery.handleDecoded(
        Order,
        ({ id }, delivery) => Effect.succeed(AmqpDelivery.as(AmqpDelivery.requeue, { id, delivery }))
      )
      assert.deepStrictEqual(yield* handler(given), { _tag: "Requeue", value: { id: 1, delivery: given } })
    }))

  for (const body of ["{\"id\":\"x\"}", "{\"id\":1", ""]) {
    it.effect(`with onDecodeError "reject" rejects ${JSON.stringify(body)} and logs a warning without the body`, () =>
      Effect.gen(function*() {
        const handler = AmqpDelivery.handleDecoded(Order, () => Effect.die("it was called"), {
          onDecodeError: "reject"
        })
        let settlement: AmqpDelivery.Settlement<unknown> = AmqpDelivery.ack
        const lines = yield* logged(Effect.map(handler(delivery(body)), (settled) => (settlement = settled)))
        assert.strictEqual(settlement._tag, "Reject")
        assert.isUndefined(settlement.value)
        assert.lengthOf(lines, 1)
        assert.include(lines[0], "level=WARN")
        assert.include(lines[0], "could not be decoded and is rejected")
        assert.notInclude(lines[0], "dead-letter")
        assert.include(lines[0], "orders")
        if (body !== "") assert.notInclude(lines[0], body)
      }))
  }

  it.effect("fails with the decode error and logs nothing, so that the failure policy decides", () =>
    Effect.gen(function*() {
      const handler = AmqpDelivery.handleDecoded(Order, handleOrder)
      assert.isEmpty(yield* logged(Effect.exit(handler(delivery("?")))))
      assert.strictEqual((yield* Effect.flip(handler(delivery("?")))).problem, "Json")
      assert.deepStrictEqual(yield* handler(delivery("{\"id\":1}")), { _tag: "Ack", value: 1 })
    }))

  it.effect("fails with the handler's own error unchanged", () =>
    Effect.gen(function*() {
      const handler = AmqpDelivery.handleDecoded(Order, () => Effect.fail("mine"))
      assert.strictEqual(yield* Effect.flip(handler(delivery("{\"id\":1}"))), "mine")
    }))

  it.effect("ignores the content type when checkContentType is false", () =>
    Effect.gen(function*() {
      const text = delivery("{\"id\":1}", { contentType: "text/plain" })
      assert.strictEqual(
        (yield* Effect.flip(AmqpDelivery.handleDecoded(Order, handleOrder)(text))).problem,
        "ContentType"
      )
      const handler = AmqpDelivery.handleDecoded(Order, handleOrder, { checkContentType: false })
      assert.deepStrictEqual(yield* handler(text), { _tag: "Ack", value: 1 })
    }))
})

describe("a delivery within a channel program", () => {
  const openDelivery = () => {
    const settled: Array<string> = []
    const own: object = {
      ack: () => settled.push("ack") > 0,
      nack: () => settled.push("nack") > 0,
      reject: () => settled.push("reject") > 0
    }
    // A delivery calls nothing else.
    const acknowledgements = own as Acknowledgements
    const content = {
      method: {
        _tag: "basic.deliver",
        consumerTag: "c",
        deliveryTag: 1,
        redelivered: false,
        exchange: "",
        routingKey: "q"
      },
      properties: new Uint8Array(2),
      body: new Uint8Array(0),
      bodySize: 0,
      oversized: false
    } as const
    return {
      settled,
      acknowledgements,
      delivery: new Delivery(content, source("q", acknowledgements))
    }
  }
  const within = (acknowledgements: object, isRunning: boolean) => {
    const channel: object = { acknowledgements }
    // Nothing else of the channel is used.
    const running = new RunningProgram("transaction", channel as Channel)
    running.isRunning = isRunning
    return Effect.provideService(CurrentProgram, running)
  }
  const ways = [
    ["ack", (delivery: AmqpDelivery.AmqpDelivery) => delivery.ack],
    ["nack", (delivery: AmqpDelivery.AmqpDelivery) => delivery.nack()],
    ["reject", (delivery: AmqpDelivery.AmqpDelivery) => delivery.reject({ requeue: true })]
  ] as const

  for (const [name, settle] of ways) {
    it.effect(`can be settled with ${name} only on its own channel`, () =>
      Effect.gen(function*() {
        const { acknowledgements, delivery, settled } = openDelivery()
        const exit = yield* Effect.exit(within({}, true)(settle(delivery)))
        assert.include(String(exit), "A delivery of another channel can't be settled within AmqpChannel.transaction")
        assert.deepStrictEqual(settled, [])
        // On the program's channel, after the program, and without a program.
        yield* within(acknowledgements, true)(settle(delivery))
        yield* within({}, false)(settle(delivery))
        yield* settle(delivery)
        assert.deepStrictEqual(settled, [name, name, name])
      }))
  }

  it.effect("is not settled when the options are invalid", () =>
    Effect.gen(function*() {
      const { delivery, settled } = openDelivery()
      for (const options of [{ requeu: false }, { requeue: "no" }, { multiple: true }]) {
        // JavaScript, or a variable of another type, may pass this.
        const given: object = options
        for (const settle of [delivery.nack, delivery.reject]) {
          const exit = yield* Effect.exit(settle(given))
          assert.match(String(exit), /there is no "(?:requeu|multiple)"|requeue: must be true or false/)
        }
      }
      assert.deepStrictEqual(settled, [])
    }))
})

describe("the text of a delivery", () => {
  const given = delivery("hello", {
    contentType: "text/plain",
    deliveryMode: 2,
    headers: { a: { b: { c: { d: 1 } } } }
  }, {
    exchange: "events",
    redelivered: true
  })
  const shown = [
    "AmqpDelivery 3 to exchange \"events\" with routing key \"orders\", redelivered",
    "  contentType: \"text/plain\"",
    "  headers:",
    "    a:",
    "      b:",
    "        c:",
    "          d: 1",
    "  deliveryMode: \"persistent\"",
    "  body of 5 bytes:",
    "    hello"
  ].join("\n")

  it("shows the exchange, the routing key, the properties and the body", () => {
    assert.strictEqual(AmqpMessage.pretty(given), shown)
    assert.include(
      AmqpMessage.pretty(delivery("")),
      "AmqpDelivery 3 to the default exchange with routing key \"orders\"\n"
    )
  })

  it("is what console.log and String() print, without the channel", () => {
    assert.strictEqual(inspect(given), shown)
    assert.strictEqual(String(given), shown)
    assert.notInclude(inspect({ given }, { depth: 10, showHidden: true }), "s3cret")
  })

  it.effect("is what Effect's loggers print", () =>
    Effect.gen(function*() {
      const [simple] = yield* logged(Effect.log(given))
      for (const word of ["AmqpDelivery 3", "persistent", "hello"]) assert.include(simple, word)
      assert.notInclude(simple, "s3cret")

      const lines: Array<string> = []
      const json = Logger.layer([Logger.map(Logger.formatJson, (line) => void lines.push(line))])
      yield* Effect.provide(Effect.log(given), json)
      assert.deepStrictEqual(JSON.parse(lines[0]).message, {
        _tag: "AmqpDelivery",
        exchange: "events",
        routingKey: "orders",
        deliveryTag: 3,
        redelivered: true,
        properties: {
          contentType: "text/plain",
          headers: { a: { b: { c: { d: 1 } } } },
          deliveryMode: "persistent"
        },
        bodySize: 5,
        body: "hello"
      })
    }))

  it("reports malformed properties instead of failing", () => {
    const malformed = delivery("hello", Uint8Array.of(0, 1))
    assert.include(String(malformed), "malformed: \"a value of 2 bytes is announced where only 0 are left\"")
    assert.include(String(malformed), "hello")
  })
})

describe("the properties of consecutive deliveries", () => {
  const bytesOf = (type: string) => written((writer) => encodeProperties(writer, { type }))

  it("are their own, whether or not the one before had the same and was read", () => {
    const first = bytesOf("first")
    const second = bytesOf("second")
    for (const isRead of [true, false]) {
      const from = source("orders", acknowledgements())
      const deliveries = [first, first, first, second, first, second, second, bytesOf("second")].map((bytes) => {
        const one = delivery("hello", bytes, {}, from)
        if (isRead) assert.isString(one.properties.type)
        return one
      })
      assert.deepStrictEqual(
        deliveries.map(({ properties }) => properties.type),
        ["first", "first", "first", "second", "first", "second", "second", "second"]
      )
      for (const one of deliveries) assert.isTrue(Object.isFrozen(one.properties))
    }
  })

  it("fail each time they are read if they are malformed, and not before", () => {
    const from = source("orders", acknowledgements())
    const malformed = Uint8Array.of(0, 1)
    for (let index = 0; index < 3; index++) {
      const one = delivery("hello", malformed, {}, from)
      assert.strictEqual(one.text, "hello")
      assert.throws(() => one.properties, /a value of 2 bytes is announced/)
      assert.throws(() => one.properties, /a value of 2 bytes is announced/)
    }
  })
})

describe("a delivery that is published again", () => {
  it.effect("keeps its body, properties and headers", () =>
    Effect.gen(function*() {
      const properties: BasicProperties = {
        contentType: "text/plain",
        contentEncoding: "identity",
        headers: { a: 1, CC: ["other"] },
        deliveryMode: 3,
        priority: 0,
        correlationId: "c",
        replyTo: "replies",
        expiration: "soon",
        messageId: "m",
        timestamp: 2n ** 60n,
        type: "t",
        appId: "a",
        clusterId: "c"
      }
      const given = delivery("hello", properties)
      const message = yield* AmqpMessage.fromDelivery(given)
      assert.strictEqual(message.body, given.body)
      assert.deepStrictEqual(
        written((writer) => writeProperties(writer, message.properties)),
        written((writer) => encodeProperties(writer, properties))
      )
      const stamped = yield* AmqpMessage.stamp({ messageId: true })(message)
      assert.strictEqual(stamped.properties, message.properties)
      assert.include(String(message), "AmqpMessage\n")
    }))

  it.effect("loses its userId, which the broker would refuse, unless one is given", () =>
    Effect.gen(function*() {
      const given = delivery("hello", { userId: "somebody", type: "t" })
      const userOf = (properties?: AmqpMessage.Properties) =>
        Effect.map(AmqpMessage.fromDelivery(given, properties), ({ properties }) => properties.userId)
      assert.isUndefined(yield* userOf())
      assert.isUndefined(yield* userOf({ appId: "a" }))
      assert.strictEqual(yield* userOf({ userId: "me" }), "me")
      assert.strictEqual(yield* userOf({ userId: given.properties.userId }), "somebody")
    }))

  it.effect("takes given properties instead of its own", () =>
    Effect.gen(function*() {
      const given = delivery("hello", { expiration: "5000", type: "t", headers: { a: 1 } })
      const { properties } = yield* AmqpMessage.fromDelivery(given, { expiration: undefined, headers: { b: 2 } })
      assert.isUndefined(properties.expiration)
      assert.deepStrictEqual(properties.headers, { b: 2 })
      assert.strictEqual(properties.type, "t")
    }))

  it.effect("fails when its properties are malformed", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(AmqpMessage.fromDelivery(delivery("hello", Uint8Array.of(0, 1))))
      assert.strictEqual(error.problem, "Properties")
    }))
})
