import { ByteWriter } from "@effect-amqp/core/protocol/ByteWriter"
import { protocolHeader, ReplyCode, replyName } from "@effect-amqp/core/protocol/constants"
import {
  encodeBodyFrames,
  encodeHeaderFrame,
  encodeMethodFrame,
  encodeRawHeaderFrame,
  heartbeatFrame
} from "@effect-amqp/core/protocol/frames"
import type { Method } from "@effect-amqp/core/protocol/methods.generated"
import { assert, describe, it } from "@effect/vitest"
import { hex, wire } from "../../fixtures/wire.ts"
import { anyMethod, assertEncodeError, basicProperties, concat, parse, written } from "./support.ts"

const publish: Method = { _tag: "basic.publish", exchange: "x", routingKey: "k", mandatory: false, immediate: false }

const payloadSizes = (length: number, frameMax: number): ReadonlyArray<number> => {
  const body = Uint8Array.from({ length }, (_, index) => index)
  const frames = parse([written((writer) => encodeBodyFrames(writer, 1, body, frameMax))], 0)
  const payloads = frames.flatMap((frame) => frame._tag === "body" ? [frame.payload] : [])
  assert.strictEqual(payloads.length, frames.length)
  assert.deepStrictEqual(concat(payloads), body)
  return payloads.map((payload) => payload.length)
}

describe("the frame encoder", () => {
  it("encodes a whole message as the specification says", () => {
    const bytes = written((writer) => {
      encodeMethodFrame(writer, 1, publish)
      encodeHeaderFrame(writer, 1, 2, { deliveryMode: 2 })
      encodeBodyFrames(writer, 1, wire(`"hi"`), 4096)
    })
    assert.strictEqual(
      hex(bytes),
      hex(wire(`
        01 0001 0000000b 003c 0028 0000 01"x" 01"k" 00 ce
        02 0001 0000000f 003c 0000 0000000000000002 1000 02 ce
        03 0001 00000002 "hi" ce
      `))
    )
  })

  it("has the heartbeat, the protocol header and the reply codes of 0-9-1", () => {
    assert.deepStrictEqual(heartbeatFrame, wire("08 0000 00000000 ce"))
    assert.deepStrictEqual(protocolHeader, wire(`"AMQP" 00 00 09 01`))
    assert.strictEqual(replyName(ReplyCode.preconditionFailed), "precondition-failed")
    assert.strictEqual(replyName(311), "content-too-large")
    assert.isUndefined(replyName(999))
  })

  it("encodes raw properties like the decoded ones", () => {
    assert.deepStrictEqual(
      written((writer) => encodeRawHeaderFrame(writer, 3, 70000, wire("1000 02"))),
      written((writer) => encodeHeaderFrame(writer, 3, 70000, { deliveryMode: 2 }))
    )
  })

  it("C17: splits bodies of 0, frame_max - 8 ± 1 and multiples into payloads of at most frame_max - 8", () => {
    assert.deepStrictEqual(payloadSizes(0, 4096), [])
    assert.deepStrictEqual(payloadSizes(1, 4096), [1])
    assert.deepStrictEqual(payloadSizes(4087, 4096), [4087])
    assert.deepStrictEqual(payloadSizes(4088, 4096), [4088])
    assert.deepStrictEqual(payloadSizes(4089, 4096), [4088, 1])
    assert.deepStrictEqual(payloadSizes(8175, 4096), [4088, 4087])
    assert.deepStrictEqual(payloadSizes(8176, 4096), [4088, 4088])
    assert.deepStrictEqual(payloadSizes(8177, 4096), [4088, 4088, 1])
    assert.deepStrictEqual(payloadSizes(20_000, 4096), [4088, 4088, 4088, 4088, 3648])
    assert.deepStrictEqual(payloadSizes(300_000, 131072), [131064, 131064, 37872])
  })

  it("C17: takes a frame_max of 0 as no limit", () => {
    assert.deepStrictEqual(payloadSizes(0, 0), [])
    assert.deepStrictEqual(payloadSizes(1_000_000, 0), [1_000_000])
  })

  it("C17: refuses a frame_max without room for a payload instead of looping", () => {
    assert.throws(() => payloadSizes(1, 8), RangeError)
  })

  it("references large pieces of a body and copies small ones", () => {
    const large = new Uint8Array(40_000)
    const writer = new ByteWriter()
    encodeBodyFrames(writer, 1, large, 20_008)
    writer.commit()
    assert.strictEqual(writer.take().filter((chunk) => chunk.buffer === large.buffer).length, 2)
    const small = new Uint8Array(16_383)
    encodeBodyFrames(writer, 1, small, 0)
    writer.commit()
    assert.isFalse(writer.take().some((chunk) => chunk.buffer === small.buffer))
  })

  it("splits a body that is itself a view", () => {
    const body = new Uint8Array(100_000).map((_, index) => index).subarray(500, 90_500)
    const frames = parse([written((writer) => encodeBodyFrames(writer, 1, body, 50_000))])
    assert.deepStrictEqual(concat(frames.flatMap((frame) => frame._tag === "body" ? [frame.payload] : [])), body)
  })

  it("C19: leaves nothing behind when a message that failed to encode is rolled back", () => {
    const writer = new ByteWriter(64)
    const send = (headers: Record<string, number>) => {
      encodeMethodFrame(writer, 1, publish)
      encodeHeaderFrame(writer, 1, 0, { headers })
      writer.commit()
    }
    send({ fine: 1 })
    const before = writer.pendingBytes
    assertEncodeError(() => send({ fine: 1, more: 2, unsafe: 2 ** 60 }))
    writer.rollback()
    assert.strictEqual(writer.pendingBytes, before)
    send({ fine: 2 })
    const frames = parse(writer.take())
    assert.deepStrictEqual(frames.map((frame) => frame._tag), ["method", "header", "method", "header"])
  })

  it("refuses an invalid channel number", () => {
    assert.include(assertEncodeError(() => written((writer) => encodeMethodFrame(writer, 65536, publish))), "channel")
  })

  it.prop("round-trips any message through the parser", [anyMethod, basicProperties], ([method, properties]) => {
    const bytes = written((writer) => {
      encodeMethodFrame(writer, 7, method)
      encodeHeaderFrame(writer, 7, 123, properties)
    }, 100)
    const frames = parse([bytes], 0)
    assert.deepStrictEqual(frames[0], { _tag: "method", channel: 7, method })
    assert.strictEqual(frames[1]?._tag, "header")
    assert.strictEqual(frames.length, 2)
  })
})
