import { encodeBody, MessageEncoder } from "@effect-amqp/core/internal/channel/messageEncoder"
import type { Route } from "@effect-amqp/core/internal/message/route"
import { encodeProperties } from "@effect-amqp/core/protocol/BasicProperties"
import { EncodeError } from "@effect-amqp/core/protocol/ProtocolError"
import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { written } from "../../protocol/support.ts"

const frameMax = 4096

const persistent = written((writer) => encodeProperties(writer, { deliveryMode: 2 }))
const typed = written((writer) => encodeProperties(writer, { type: "order", messageId: "1" }))

interface Message {
  readonly route: Route
  readonly properties: Uint8Array
  readonly bodySize: number
}

const encoded = (encoder: MessageEncoder, { bodySize, properties, route }: Message): Uint8Array =>
  written((writer) => encoder.encode(writer, route, properties, 0, bodySize, frameMax))

describe("MessageEncoder", () => {
  // Few values, so that many messages are like the one before.
  const message = Schema.Struct({
    route: Schema.Struct({
      exchange: Schema.Literals(["", "orders"]),
      routingKey: Schema.Literals(["a", "\u00e4"]),
      mandatory: Schema.UndefinedOr(Schema.Boolean)
    }),
    properties: Schema.Literals(["persistent", "typed"]),
    bodySize: Schema.Literals([0, 16])
  })

  it.prop("encodes each message as if it was the first one", [Schema.Array(message)], ([messages]) => {
    const encoder = new MessageEncoder(1)
    // Each of them several times in a row, too.
    for (const { properties, ...rest } of [...messages, ...messages.flatMap((one) => [one, one, one])]) {
      const message = { ...rest, properties: properties === "typed" ? typed : persistent }
      assert.deepStrictEqual(encoded(encoder, message), encoded(new MessageEncoder(1), message))
    }
  })

  it("returns the size of the properties, also of a message like those before it", () => {
    const encoder = new MessageEncoder(1)
    for (let index = 0; index < 4; index++) {
      written((writer) => {
        const size = encoder.encode(writer, { exchange: "", routingKey: "a" }, typed, 0, 1, frameMax)
        // Without the flags.
        assert.strictEqual(size, typed.length - 2)
      })
    }
  })

  it("refuses each message with properties above the limit, and leaves nothing in the writer", () => {
    const encoder = new MessageEncoder(1)
    const large = written((writer) => encodeProperties(writer, { headers: { text: "x".repeat(frameMax) } }))
    for (let index = 0; index < 4; index++) {
      const bytes = written((writer) => {
        assert.throws(
          () => encoder.encode(writer, { exchange: "", routingKey: "a" }, large, 0, 1, frameMax),
          EncodeError
        )
      })
      assert.strictEqual(bytes.length, 0)
    }
  })
})

describe("encodeBody", () => {
  it("copies a large Buffer on shared memory, which another thread may change", () => {
    const shared = Buffer.from(new SharedArrayBuffer(20_000))
    const body = encodeBody(shared, Infinity)
    shared[0] = 1
    assert.strictEqual(body[0], 0)
    assert.strictEqual(body.length, shared.length)
  })

  it("does not trust the length that a Buffer claims", () => {
    const body = Buffer.from("abc")
    Object.defineProperty(body, "length", { value: 1_000_000 })
    assert.strictEqual(encodeBody(body, 10).length, 3)
  })
})
