import { encodeBodyFrames, encodeHeaderFrame, encodeMethodFrame } from "@effect-amqp/core/protocol/frames"
import type { Method } from "@effect-amqp/core/protocol/methods.generated"
import { assert, describe, it } from "@effect/vitest"
import { encodeFields, Reader } from "../../comparison/fields.ts"
import type { Field } from "../../comparison/fields.ts"
import { decodeHeader, decodeMethod, encodeContent, encodeMethod } from "../../comparison/wire.ts"
import type { Arguments } from "../../comparison/wire.ts"
import { written } from "../protocol/support.ts"

const methods: ReadonlyArray<readonly [Arguments, Method]> = [
  [{}, { _tag: "channel.open" }],
  [{ active: true }, { _tag: "channel.flow", active: true }],
  [{ queue: "é", durable: true, autoDelete: true, arguments: { "x-overflow": "drop-head" } }, {
    _tag: "queue.declare",
    queue: "é",
    passive: false,
    durable: true,
    exclusive: false,
    autoDelete: true,
    noWait: false,
    arguments: { "x-overflow": "drop-head" }
  }],
  [{ exchange: "e", routingKey: "k", mandatory: true }, {
    _tag: "basic.publish",
    exchange: "e",
    routingKey: "k",
    mandatory: true,
    immediate: false
  }],
  [{ deliveryTag: 5_000_000_000, multiple: true, requeue: true }, {
    _tag: "basic.nack",
    deliveryTag: 5_000_000_000,
    multiple: true,
    requeue: true
  }],
  [{ prefetchCount: 300, global: true }, { _tag: "basic.qos", prefetchSize: 0, prefetchCount: 300, global: true }],
  [{ replyCode: 200, replyText: "bye" }, {
    _tag: "connection.close",
    replyCode: 200,
    replyText: "bye",
    classId: 0,
    methodId: 0
  }]
]

/** The payload of a frame. */
const payloadOf = (frame: Buffer): Buffer => frame.subarray(7, -1)

describe("the client of a comparison", () => {
  it.each(methods.map(([values, method]) => [method._tag, values, method] as const))(
    "encodes %s as this project does",
    (name, values, method) => {
      const expected = written((writer) => encodeMethodFrame(writer, 258, method))
      assert.deepStrictEqual(new Uint8Array(encodeMethod(258, name, values)), expected)
    }
  )

  it("encodes a message as this project does", () => {
    const body = Buffer.from("hello")
    const properties = {
      contentType: "text/plain",
      headers: { name: "value" },
      deliveryMode: 2,
      correlationId: "c",
      clusterId: "cluster"
    } as const
    const expected = written((writer) => {
      encodeHeaderFrame(writer, 1, body.length, properties)
      encodeBodyFrames(writer, 1, body, 4096)
    })
    assert.deepStrictEqual(new Uint8Array(encodeContent(1, properties, body)), expected)
  })

  it("refuses a method and an argument that do not exist", () => {
    assert.throws(() => encodeMethod(1, "queue.none"), "no method queue.none")
    assert.throws(() => encodeMethod(1, "queue.purge", { durable: true }), "queue.purge has no durable")
  })

  it("sends names and keys that are not UTF-8", () => {
    const frame = encodeMethod(1, "basic.publish", { routingKey: { bytes: "ff61" } })
    assert.strictEqual(decodeMethod(payloadOf(frame)).shown.get("routingKey"), "0xff61")
  })

  it("shows every argument of a method", () => {
    const { bit, name, number, shown, text } = decodeMethod(payloadOf(
      encodeMethod(1, "queue.declare", { queue: "q", exclusive: true, arguments: { a: true } })
    ))
    assert.strictEqual(name, "queue.declare")
    assert.deepStrictEqual([...shown], [
      ["ticket", "0"],
      ["queue", "\"q\""],
      ["passive", "false"],
      ["durable", "false"],
      ["exclusive", "true"],
      ["autoDelete", "false"],
      ["nowait", "false"],
      ["arguments", "{a=t:true}"]
    ])
    assert.deepStrictEqual([text("queue"), bit("exclusive"), bit("passive"), number("ticket")], ["q", true, false, 0])
  })

  it("distinguishes empty from missing properties", () => {
    const shownOf = (properties: Arguments) =>
      decodeHeader(payloadOf(encodeContent(1, properties, Buffer.alloc(0)))).properties
    assert.strictEqual(shownOf({}), "")
    assert.strictEqual(
      shownOf({ headers: {}, correlationId: "", priority: 0, timestamp: 5 }),
      "headers={} priority=0 correlationId=\"\" timestamp=5"
    )
  })
})

describe("a value of a table", () => {
  const shown = (field: Field): string => new Reader(encodeFields({ name: field })).table().slice("{name=".length, -1)

  it.each<[Field, string]>([
    ["text", "S:\"text\""],
    [5, "I:5"],
    [-5, "I:-5"],
    [1.5, "d:1.5"],
    [true, "t:true"],
    [null, "V"],
    [{ type: "b", value: -128 }, "b:-128"],
    [{ type: "B", value: 255 }, "B:255"],
    [{ type: "s", value: -5 }, "s:-5"],
    [{ type: "u", value: 65_535 }, "u:65535"],
    [{ type: "i", value: 4_294_967_295 }, "i:4294967295"],
    [{ type: "l", value: "-9223372036854775808" }, "l:-9223372036854775808"],
    [{ type: "f", value: 1.5 }, "f:1.5"],
    [{ type: "d", value: 1 }, "d:1"],
    [{ type: "T", value: 5 }, "T:5"],
    [{ type: "D", value: 314 }, "D:2,314"],
    [{ type: "S", value: "ff" }, "S:0xff"],
    [{ type: "x", value: "6162" }, "x:\"ab\""],
    [[1, "a", { type: "s", value: 2 }], "[I:1 S:\"a\" s:2]"],
    [[], "[]"],
    [{ b: 1, a: { type: "l", value: 1 } }, "{a=l:1 b=I:1}"],
    [{}, "{}"]
  ])("keeps its type: %j", (field, expected) => assert.strictEqual(shown(field), expected))

  it("that is the current time is shown as now", () => {
    assert.strictEqual(shown({ type: "T", value: Math.floor(Date.now() / 1000) }), "T:now")
  })

  it("that is truncated is an error", () => {
    assert.throws(() => new Reader(Buffer.of(0, 0, 0, 9, 1)).table(), "truncated")
  })
})
