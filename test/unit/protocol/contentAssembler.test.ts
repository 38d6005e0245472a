import { ContentAssembler } from "@effect-amqp/core/protocol/ContentAssembler"
import type { BasicDeliver, BasicPublish } from "@effect-amqp/core/protocol/methods.generated"
import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import { wire } from "../../fixtures/wire.ts"
import { assertProtocolError, bytes, concat } from "./support.ts"

const deliver: BasicDeliver = {
  _tag: "basic.deliver",
  consumerTag: "c",
  deliveryTag: 1,
  redelivered: false,
  exchange: "",
  routingKey: "q"
}
const properties = wire("1000 02")

const started = (bodySize: number, maxBodySize = 1_000_000): ContentAssembler => {
  const assembler = new ContentAssembler(maxBodySize)
  assembler.start(deliver)
  assembler.header({ bodySize, properties })
  return assembler
}

describe("ContentAssembler", () => {
  it("completes an empty body at its header", () => {
    const assembler = new ContentAssembler(100)
    assembler.start(deliver)
    assert.isFalse(assembler.idle)
    assert.deepStrictEqual(assembler.header({ bodySize: 0, properties }), {
      method: deliver,
      properties,
      body: new Uint8Array(0),
      bodySize: 0,
      oversized: false
    })
    assert.isTrue(assembler.idle)
  })

  it("returns the body of a single frame without copying it", () => {
    const assembler = started(3)
    const payload = wire(`"abc"`)
    assert.strictEqual(assembler.body(payload)?.body, payload)
    assert.isTrue(assembler.idle)
  })

  it.prop(
    "joins any number of body frames, one content after another",
    [Arbitrary.array(Arbitrary.array(bytes, { maxLength: 12 }), { maxLength: 4 })],
    ([contents]) => {
      const assembler = new ContentAssembler(1_000_000)
      for (const payloads of contents) {
        const body = concat(payloads)
        if (body.length === 0) continue
        assembler.start(deliver)
        let content = assembler.header({ bodySize: body.length, properties })
        for (const payload of payloads) {
          if (content !== undefined) break
          content = assembler.body(payload)
        }
        assert.deepStrictEqual(content, { method: deliver, properties, body, bodySize: body.length, oversized: false })
        assert.strictEqual(content?.body.byteLength, content?.body.buffer.byteLength)
        assert.isTrue(assembler.idle)
      }
    }
  )

  it("also accepts the methods that a client sends", () => {
    const publish: BasicPublish = {
      _tag: "basic.publish",
      exchange: "x",
      routingKey: "k",
      mandatory: false,
      immediate: false
    }
    const assembler = new ContentAssembler<BasicPublish>(100)
    assembler.start(publish)
    assert.strictEqual(assembler.header({ bodySize: 0, properties })?.method, publish)
  })

  it("allocates memory for received bytes, not for the size in the header", () => {
    const before = process.memoryUsage().arrayBuffers
    const assemblers = Array.from({ length: 50 }, () => {
      const assembler = started(100_000_000, 100_000_000)
      assembler.body(new Uint8Array(10))
      return assembler
    })
    assert.isBelow(process.memoryUsage().arrayBuffers - before, 1_000_000)
    assert.isFalse(assemblers.some((assembler) => assembler.idle))
  })

  it("C12: drops a body over the limit as it arrives, and accepts the next one", () => {
    const assembler = started(11, 10)
    assert.isUndefined(assembler.body(new Uint8Array(10)))
    assert.deepStrictEqual(assembler.body(new Uint8Array(1)), {
      method: deliver,
      properties,
      body: new Uint8Array(0),
      bodySize: 11,
      oversized: true
    })
    assembler.start(deliver)
    assembler.header({ bodySize: 10, properties })
    assert.strictEqual(assembler.body(new Uint8Array(10))?.oversized, false)
  })

  it("C12: uses no memory for a body over the limit", () => {
    const payload = new Uint8Array(1_000_000)
    const before = process.memoryUsage().arrayBuffers
    const assembler = started(100_000_000, 10)
    for (let count = 0; count < 20; count++) assert.isUndefined(assembler.body(payload))
    assert.isBelow(process.memoryUsage().arrayBuffers - before, 1_000_000)
  })

  it("C13: refuses a body beyond the announced size with 501", () => {
    assertProtocolError(501, () => started(3).body(new Uint8Array(4)))
    const assembler = started(3)
    assembler.body(new Uint8Array(2))
    assertProtocolError(501, () => assembler.body(new Uint8Array(2)))
    assertProtocolError(501, () => started(20, 10).body(new Uint8Array(21)))
  })

  it("C14: refuses a frame out of sequence with 505", () => {
    const idle = new ContentAssembler(100)
    assertProtocolError(505, () => idle.header({ bodySize: 1, properties }))
    assertProtocolError(505, () => idle.body(new Uint8Array(1)))
    assertProtocolError(505, () => started(3).start(deliver))
    assertProtocolError(505, () => started(3).header({ bodySize: 1, properties }))
    const waiting = new ContentAssembler(100)
    waiting.start(deliver)
    assertProtocolError(505, () => waiting.body(new Uint8Array(1)))
    assertProtocolError(505, () => waiting.start(deliver))
    const complete = started(1)
    complete.body(new Uint8Array(1))
    assertProtocolError(505, () => complete.body(new Uint8Array(0)))
  })
})
