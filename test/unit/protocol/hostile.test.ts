/**
 * What a broken or hostile peer could send: whatever it is, the parser ends with frames or with one of its own errors, in
 * bounded time, and a stack overflow, a `TypeError` or a hang is none of these.
 */
import { decodeProperties } from "@effect-amqp/core/protocol/BasicProperties"
import { ContentAssembler } from "@effect-amqp/core/protocol/ContentAssembler"
import { FrameParser } from "@effect-amqp/core/protocol/FrameParser"
import { hasContent } from "@effect-amqp/core/protocol/methods.generated"
import { ProtocolError, ProtocolMismatch } from "@effect-amqp/core/protocol/ProtocolError"
import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Schema from "effect/Schema"
import * as golden from "../../fixtures/golden.ts"
import { bytes, concat, written } from "./support.ts"

/** Feeds a stream to parser, assembler and property decoder, and answers the error it ended with, if any. */
const endOf = (stream: Uint8Array): unknown => {
  const assembler = new ContentAssembler(100_000)
  const parser = new FrameParser({
    onMethod: (_, method) => {
      if (method._tag === "basic.deliver") assembler.start(method)
    },
    onHeader: (_, header) => {
      decodeProperties(header.properties)
      assembler.header(header)
    },
    onBody: (_, payload) => void assembler.body(payload),
    onHeartbeat: () => {}
  }, { maxFrameSize: 131072 })
  try {
    for (let at = 0; at < stream.length; at += 50) parser.push(stream.slice(at, at + 50))
  } catch (error) {
    return error
  }
  return undefined
}

const assertOrderlyEnd = (stream: Uint8Array): void => {
  const error = endOf(stream)
  if (error === undefined || error instanceof ProtocolMismatch) return
  assert.instanceOf(error, ProtocolError)
  assert.include([501, 502, 503, 504, 505], error.replyCode)
}

const frame = (type: number, payload: Uint8Array): Uint8Array =>
  written((writer) => {
    writer.octet(type)
    writer.short(1)
    writer.longString(payload)
    writer.octet(206)
  })

// A method with content would leave the assembler waiting, and what comes after it unread.
const methods = golden.methods.filter(({ method }) => !hasContent(method._tag)).map(({ payload }) => frame(1, payload))
const stream = concat([golden.stream, ...methods, golden.stream])

const byte = Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 })))
const position = Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: stream.length - 1 })))

describe("hostile streams", () => {
  it("a well-formed stream ends without error, so that the others say something", () => {
    assert.isUndefined(endOf(golden.stream))
    assert.isUndefined(endOf(stream))
  })

  it.prop("random bytes end in an orderly way", [bytes], ([random]) => assertOrderlyEnd(random))

  it.prop("random bytes within frames end in an orderly way", [byte, bytes], ([type, random]) => {
    assertOrderlyEnd(frame([1, 2, 3, 8][type % 4], random))
    for (const { payload } of golden.methods) assertOrderlyEnd(frame(1, concat([payload.subarray(0, 4), random])))
  }, { arbitrary: { runs: 50 } })

  it.prop(
    "a stream with some bytes changed ends in an orderly way",
    [Arbitrary.array(Arbitrary.all([position, byte]), { minLength: 1, maxLength: 4 })],
    ([changes]) => {
      const mutated = stream.slice()
      for (const [at, value] of changes) mutated[at] = value
      assertOrderlyEnd(mutated)
    },
    { arbitrary: { runs: 300 } }
  )

  it("every byte of a stream set to 0, 127, 128 and 255 ends in an orderly way", () => {
    for (let at = 0; at < stream.length; at++) {
      for (const value of [0, 127, 128, 255]) {
        const mutated = stream.slice()
        mutated[at] = value
        assertOrderlyEnd(mutated)
      }
    }
  })
})
