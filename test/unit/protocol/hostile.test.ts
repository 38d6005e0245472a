/**
 * What a broken or hostile peer could send. The parser must return frames or throw one of its own errors, in bounded time:
 * no stack overflow, no `TypeError` and no hang.
 */
import { decodeProperties } from "@effect-amqp/core/protocol/BasicProperties"
import { ContentAssembler } from "@effect-amqp/core/protocol/ContentAssembler"
import { decodeTable, maxTableDepth } from "@effect-amqp/core/protocol/fieldTable"
import { FrameParser } from "@effect-amqp/core/protocol/FrameParser"
import { hasContent } from "@effect-amqp/core/protocol/methods.generated"
import { ProtocolError, ProtocolMismatch } from "@effect-amqp/core/protocol/ProtocolError"
import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Schema from "effect/Schema"
import * as golden from "../../fixtures/golden.ts"
import { wire } from "../../fixtures/wire.ts"
import { frame } from "../../support/fuzzing.ts"
import { bytes, concat, readerOf, written } from "./support.ts"

/** Feeds a stream to parser, assembler and property decoder, and returns the error, if any. */
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
    onBody: (_, payload, isPart) => void assembler.body(payload, isPart),
    onHeartbeat: () => {}
  }, { maxFrameSize: 131072 })
  try {
    for (let at = 0; at < stream.length; at += 50) parser.push(stream.slice(at, at + 50))
  } catch (error) {
    return error
  }
  return undefined
}

const assertCleanEnd = (stream: Uint8Array): void => {
  const error = endOf(stream)
  if (error === undefined || error instanceof ProtocolMismatch) return
  assert.instanceOf(error, ProtocolError)
  assert.include([501, 502, 503, 504, 505], error.replyCode)
}

// After a method with content the assembler would wait, and the rest would not be read.
const methods = golden.methods.filter(({ method }) => !hasContent(method._tag)).map(({ payload }) =>
  frame(1, 1, payload)
)
const stream = concat([golden.stream, ...methods, golden.stream])

const byte = Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 })))
const position = Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: stream.length - 1 })))

describe("hostile streams", () => {
  it("are derived from a stream that is parsed without an error", () => {
    assert.isUndefined(endOf(golden.stream))
    assert.isUndefined(endOf(stream))
  })

  it.prop("of random bytes give frames or a protocol error", [bytes], ([random]) => assertCleanEnd(random))

  it.prop("of random bytes within frames give frames or a protocol error", [byte, bytes], ([type, random]) => {
    assertCleanEnd(frame([1, 2, 3, 8][type % 4], 1, random))
    for (const { payload } of golden.methods) assertCleanEnd(frame(1, 1, concat([payload.subarray(0, 4), random])))
  }, { arbitrary: { runs: 50 } })

  it.prop(
    "with some bytes changed give frames or a protocol error",
    [Arbitrary.array(Arbitrary.all([position, byte]), { minLength: 1, maxLength: 4 })],
    ([changes]) => {
      const mutated = stream.slice()
      for (const [at, value] of changes) mutated[at] = value
      assertCleanEnd(mutated)
    },
    { arbitrary: { runs: 300 } }
  )

  it("with any byte set to 0, 127, 128 or 255 give frames or a protocol error", () => {
    for (let at = 0; at < stream.length; at++) {
      for (const value of [0, 127, 128, 255]) {
        const mutated = stream.slice()
        mutated[at] = value
        assertCleanEnd(mutated)
      }
    }
  })
})

const megabyte = 2 ** 20

/** An encoded field of a type with a size: a table, an array, a string or bytes. */
const sized = (letter: string, value: Uint8Array): Uint8Array =>
  concat([new TextEncoder().encode(letter), written((writer) => writer.longString(value))])

const repeated = (piece: Uint8Array, size = megabyte): Uint8Array => {
  const all = new Uint8Array(size - size % piece.length)
  for (let at = 0; at < all.length; at += piece.length) all.set(piece, at)
  return all
}

/** Fields with distinct keys. */
const distinctKeys = (key: (index: number) => string): Uint8Array => {
  const entries: Array<Uint8Array> = []
  for (let index = 0, size = 0; size < megabyte; index++) {
    const entry = concat([new TextEncoder().encode(key(index)), wire(`"V"`)])
    entries.push(Uint8Array.of(entry.length - 1), entry)
    size += entry.length + 1
  }
  return concat(entries)
}

/** A megabyte inside the maximum number of nested tables. */
const deepest = Array.from({ length: maxTableDepth - 1 }).reduce<Uint8Array>(
  (field) => concat([Uint8Array.of(0), sized("F", field)]),
  repeated(wire(`00 "V"`))
)

const largeTables: ReadonlyArray<readonly [name: string, entries: Uint8Array]> = [
  ["an array of values without bytes", concat([Uint8Array.of(0), sized("A", repeated(wire(`"V"`)))])],
  ["an array of empty tables", concat([Uint8Array.of(0), sized("A", repeated(wire(`"F" 00000000`)))])],
  ["an array of empty arrays", concat([Uint8Array.of(0), sized("A", repeated(wire(`"A" 00000000`)))])],
  ["equal keys", repeated(wire(`00 "V"`))],
  ["keys that are __proto__", repeated(wire(`09"__proto__" "F" 00000000`))],
  ["short keys that differ", distinctKeys((index) => index.toString(36))],
  ["keys that are sparse numbers", distinctKeys((index) => String(index * 4099))],
  ["long strings of invalid UTF-8", repeated(concat([Uint8Array.of(0), sized("S", new Uint8Array(1000).fill(0xff))]))],
  ["tables at the maximum depth", deepest]
]

describe("large input", () => {
  // In milliseconds. A megabyte takes some hundredths of a second; in quadratic time it would take hours.
  const limit = 10_000

  for (const [name, entries] of largeTables) {
    it(`of a megabyte of ${name} is decoded in linear time`, () => {
      const encoded = written((writer) => writer.longString(entries))
      const before = performance.now()
      decodeTable(readerOf(encoded))
      assert.isBelow(performance.now() - before, limit)
    })
  }

  it("of a megabyte that arrives byte by byte is parsed in linear time", () => {
    const large = concat([golden.stream, frame(3, 1, repeated(Uint8Array.of(1)))])
    let received = 0
    const parser = new FrameParser({
      onMethod: () => {},
      onHeader: () => {},
      onBody: (_, payload) => {
        received += payload.length
      },
      onHeartbeat: () => {}
    }, { maxFrameSize: 0 })
    const before = performance.now()
    for (let at = 0; at < large.length; at++) parser.push(large.subarray(at, at + 1))
    assert.isBelow(performance.now() - before, limit)
    assert.strictEqual(received, megabyte + 5)
  })

  it("of a body in pieces of one byte is assembled in linear time", () => {
    const assembler = new ContentAssembler(megabyte)
    assembler.start({
      _tag: "basic.deliver",
      consumerTag: "c",
      deliveryTag: 1,
      redelivered: false,
      exchange: "",
      routingKey: "q"
    })
    assembler.header({ bodySize: megabyte, properties: wire("0000") })
    const empty = new Uint8Array(0)
    const before = performance.now()
    let content = undefined
    for (let count = 0; count < megabyte; count++) {
      // Empty pieces are allowed.
      assembler.body(empty)
      content = assembler.body(Uint8Array.of(count))
    }
    assert.isBelow(performance.now() - before, limit)
    assert.strictEqual(content?.body.length, megabyte)
  })
})
