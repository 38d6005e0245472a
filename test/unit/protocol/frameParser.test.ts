import { FrameParser } from "@effect-amqp/core/protocol/FrameParser"
import { encodeBodyFrames, encodeHeaderFrame, encodeMethodFrame } from "@effect-amqp/core/protocol/frames"
import { ProtocolError, ProtocolMismatch } from "@effect-amqp/core/protocol/ProtocolError"
import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Schema from "effect/Schema"
import * as golden from "../../fixtures/golden.ts"
import { wire } from "../../fixtures/wire.ts"
import { assertProtocolError, collecting, concat, parse, thrownBy, written } from "./support.ts"
import type { Emitted } from "./support.ts"

const expected: ReadonlyArray<Emitted> = [
  { _tag: "method", channel: 1, method: { _tag: "channel.open" } },
  { _tag: "heartbeat" },
  {
    _tag: "method",
    channel: 1,
    method: {
      _tag: "basic.deliver",
      consumerTag: "ctag",
      deliveryTag: 1,
      redelivered: false,
      exchange: "",
      routingKey: "q"
    }
  },
  { _tag: "header", channel: 1, bodySize: 5, properties: wire("1000 02") },
  { _tag: "body", channel: 1, payload: wire(`"hel"`) },
  { _tag: "body", channel: 1, payload: wire(`"lo"`) },
  { _tag: "method", channel: 65535, method: { _tag: "basic.ack", deliveryTag: 1, multiple: false } }
]

/** Pushes byte by byte and returns the number of bytes until the error. */
const bytesUntilError = (bytes: Uint8Array, maxFrameSize?: number): number => {
  const { parser } = collecting(maxFrameSize)
  for (let index = 0; index < bytes.length; index++) {
    try {
      parser.push(bytes.slice(index, index + 1))
    } catch {
      return index + 1
    }
  }
  return assert.fail("nothing was thrown")
}

/** With one body for consecutive ones of a channel: a large frame that spans chunks is emitted in parts. */
const withJoinedBodies = (emitted: ReadonlyArray<Emitted>): ReadonlyArray<Emitted> =>
  emitted.reduce<ReadonlyArray<Emitted>>((joined, next) => {
    const last = joined.at(-1)
    if (next._tag !== "body" || last?._tag !== "body" || last.channel !== next.channel) return [...joined, next]
    return [...joined.slice(0, -1), { ...next, payload: concat([last.payload, next.payload]) }]
  }, [])

describe("FrameParser", () => {
  it("C1: parses many frames in one chunk", () => {
    assert.deepStrictEqual(parse([golden.stream]), expected)
  })

  it("C1: parses identical frames from a stream that is cut at any byte", () => {
    for (let cut = 0; cut <= golden.stream.length; cut++) {
      assert.deepStrictEqual(parse([golden.stream.slice(0, cut), golden.stream.slice(cut)]), expected, `cut at ${cut}`)
    }
  })

  it("C1: parses identical frames from chunks of any size", () => {
    for (let size = 1; size < golden.stream.length; size++) {
      const chunks: Array<Uint8Array> = []
      for (let at = 0; at < golden.stream.length; at += size) chunks.push(golden.stream.slice(at, at + size))
      assert.deepStrictEqual(parse(chunks), expected, `chunks of ${size}`)
    }
  })

  it.prop(
    "C1: parses identical frames from large bodies in chunks of arbitrary sizes",
    [Arbitrary.array(Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 9000 }))), {
      minLength: 1
    })],
    ([sizes]) => {
      const body = Uint8Array.from({ length: 30_000 }, (_, index) => index * 7)
      const stream = concat([
        golden.stream,
        written((writer) => encodeBodyFrames(writer, 2, body, 8192)),
        golden.stream
      ])
      const chunks: Array<Uint8Array> = []
      for (let at = 0, turn = 0; at < stream.length; turn++) {
        // Many empty chunks would only take time.
        const size = Math.max(sizes[turn % sizes.length], turn % 2)
        chunks.push(stream.slice(at, at + size))
        at += size
      }
      assert.deepStrictEqual(withJoinedBodies(parse(chunks)), withJoinedBodies(parse([stream])))
    },
    { arbitrary: { runs: 30 } }
  )

  it("passes on the parts of a large body frame as they arrive, and copies none of them", () => {
    const body = Uint8Array.from({ length: 20_000 }, (_, index) => index)
    const frame = written((writer) => encodeBodyFrames(writer, 2, body, 0))
    const parts: Array<readonly [Uint8Array, boolean]> = []
    const parser = new FrameParser({
      onMethod: () => {},
      onHeader: () => {},
      onBody: (_, payload, isPart) => void parts.push([payload, isPart]),
      onHeartbeat: () => {}
    }, { maxFrameSize: 0 })
    const chunks = [frame.slice(0, 5), frame.slice(5, 9000), frame.slice(9000, -1), frame.slice(-1)]
    const areKept = chunks.map((chunk) => parser.push(chunk))
    assert.deepStrictEqual(concat(parts.map(([part]) => part)), body)
    // The last byte is passed on with the end of the frame.
    assert.deepStrictEqual(parts.map(([part, isPart]) => [part.length, isPart]), [
      [8993, true],
      [11_006, true],
      [1, true]
    ])
    assert.deepStrictEqual(
      parts.slice(0, 2).map(([part]) => part.buffer),
      chunks.slice(1, 3).map(({ buffer }) => buffer)
    )
    // Only the handler of whole frames may keep views.
    assert.deepStrictEqual(areKept, [false, false, false, false])
    assert.isTrue(parser.push(golden.stream.slice()))
  })

  it("completes no content before the end of its last frame, at whatever byte a large body is cut", () => {
    const size = 5000
    const frame = written((writer) => encodeBodyFrames(writer, 2, new Uint8Array(size), 0))
    for (let cut = 1; cut < frame.length; cut++) {
      let passed = 0
      const parser = new FrameParser({
        onMethod: () => {},
        onHeader: () => {},
        onBody: (_, payload) => void (passed += payload.length),
        onHeartbeat: () => {}
      }, { maxFrameSize: 0 })
      parser.push(frame.slice(0, cut))
      assert.isBelow(passed, size)
      parser.push(frame.slice(cut))
      assert.strictEqual(passed, size)
    }
  })

  it("refuses a large body frame whose last byte is not 206", () => {
    const frame = written((writer) => encodeBodyFrames(writer, 2, new Uint8Array(20_000), 0))
    frame[frame.length - 1] = 205
    const { parser } = collecting()
    parser.push(frame.slice(0, 10_000))
    assert.throws(() => parser.push(frame.slice(10_000)), "does not end with 206")
  })

  it("emits a frame as soon as its last byte arrives", () => {
    const { emitted, parser } = collecting()
    parser.push(golden.stream.slice(0, 12))
    assert.strictEqual(emitted.length, 0)
    parser.push(golden.stream.slice(12, 13))
    assert.strictEqual(emitted.length, 1)
  })

  it("emits a body that is whole in a chunk as a view, and any other body as a copy", () => {
    const stream = written((writer) => encodeBodyFrames(writer, 1, wire(`"hello"`), 0))
    const payloads: Array<Uint8Array> = []
    const parser = new FrameParser({
      onMethod: () => {},
      onHeader: () => {},
      onBody: (_, payload) => void payloads.push(payload),
      onHeartbeat: () => {}
    }, { maxFrameSize: 4096 })
    const chunk = Buffer.from(stream)
    parser.push(chunk)
    assert.strictEqual(payloads[0]?.buffer, chunk.buffer)
    assert.strictEqual(Object.getPrototypeOf(payloads[0]), Uint8Array.prototype)
    for (let round = 0; round < 2; round++) {
      parser.push(stream.slice(0, 9))
      parser.push(stream.slice(9))
    }
    assert.deepStrictEqual(payloads.slice(1), [wire(`"hello"`), wire(`"hello"`)])
    assert.notStrictEqual(payloads[1]?.buffer, payloads[2]?.buffer)
  })

  it("emits equal properties of consecutive headers as the same array, and others unchanged", () => {
    const properties: Array<Uint8Array> = []
    const parser = new FrameParser({
      onMethod: () => {},
      onHeader: (_, header) => void properties.push(header.properties),
      onBody: () => {},
      onHeartbeat: () => {}
    }, { maxFrameSize: 0 })
    const header = (messageId: string) => written((writer) => encodeHeaderFrame(writer, 1, 1, { messageId }))
    const long = "x".repeat(200)
    for (const id of ["a", "a", "b", "bb", "b", long, long]) parser.push(header(id))
    assert.strictEqual(properties[0], properties[1])
    assert.deepStrictEqual(
      properties.map((bytes) => bytes.length),
      [4, 4, 4, 5, 4, 203, 203]
    )
    assert.deepStrictEqual(properties[2], wire(`0080 01"b"`))
    assert.deepStrictEqual(properties[3], wire(`0080 02"bb"`))
    assert.deepStrictEqual(properties[6], concat([wire("0080 c8"), new Uint8Array(200).fill(120)]))
  })

  it("C2: refuses a wrong frame end with 501", () => {
    assertProtocolError(501, () => parse([wire("01 0001 00000005 0014 000a 00 cd")]))
    assertProtocolError(501, () => parse([wire("08 0000 00000000 00")]))
  })

  it("C3: refuses an unknown frame type with 501, at the start and later", () => {
    for (let type = 0; type < 256; type++) {
      if ([1, 2, 3, 8].includes(type)) continue
      const frame = concat([Uint8Array.of(type), wire("0000 00000000 ce")])
      assertProtocolError(501, () => parse([frame]))
      assertProtocolError(501, () => parse([golden.stream, frame]))
    }
  })

  it("C4: refuses a frame larger than frame_max before buffering it", () => {
    const body = (size: number) => written((writer) => encodeBodyFrames(writer, 1, new Uint8Array(size), 0))
    assert.strictEqual(parse([body(4088)], 4096).length, 1)
    const message = assertProtocolError(501, () => parse([body(4089)], 4096))
    assert.include(message, "4097")
    assert.strictEqual(bytesUntilError(body(4089), 4096), 7)
  })

  it("C4: applies a limit that one frame sets to the next frame of the same chunk", () => {
    const tune = written((writer) =>
      encodeMethodFrame(writer, 0, { _tag: "connection.tune", channelMax: 0, frameMax: 100, heartbeat: 0 })
    )
    const body = written((writer) => encodeBodyFrames(writer, 1, new Uint8Array(93), 0))
    const parser: FrameParser = new FrameParser({
      onMethod: (_, method) => {
        if (method._tag === "connection.tune") parser.maxFrameSize = method.frameMax
      },
      onHeader: () => {},
      onBody: () => {},
      onHeartbeat: () => {}
    }, { maxFrameSize: 4096 })
    parser.push(body)
    assertProtocolError(501, () => parser.push(concat([tune, body])))
  })

  it("C4: allocates memory for the received bytes of a frame, not for its announced size", () => {
    const { parser } = collecting(0)
    const before = process.memoryUsage().arrayBuffers
    parser.push(wire("03 0001 7fffffff 00"))
    parser.push(new Uint8Array(1000))
    assert.isBelow(process.memoryUsage().arrayBuffers - before, 1_000_000)
  })

  it("C5: reads a size of 2^31 or more as unsigned, and refuses it", () => {
    const cases = [["80000000", "2147483656"], ["ffffffff", "4294967303"]] as const
    for (const [size, inMessage] of cases) {
      assert.include(assertProtocolError(501, () => parse([wire(`03 0001 ${size} 00`)])), inMessage)
      assert.strictEqual(bytesUntilError(wire(`03 0001 ${size} 00`)), 7)
    }
  })

  it("C6: refuses a heartbeat with a payload or on a channel with 501", () => {
    assertProtocolError(501, () => parse([wire("08 0000 00000001 00 ce")]))
    assertProtocolError(501, () => parse([wire("08 0001 00000000 ce")]))
    assertProtocolError(501, () => parse([wire("08 0100 00000000 ce")]))
  })

  it("C10: refuses an unknown method with 503", () => {
    assertProtocolError(503, () => parse([wire("01 0001 00000004 0032 00ff ce")]))
  })

  it("C11: refuses a content header of another class with 501", () => {
    assertProtocolError(501, () => parse([wire("02 0001 0000000e 0032 0000 0000000000000001 0000 ce")]))
  })

  it("C11: refuses a body size beyond 2^53 - 1 with 502", () => {
    const header = (size: string) => wire(`02 0001 0000000e 003c 0000 ${size} 0000 ce`)
    assertProtocolError(502, () => parse([header("ffffffffffffffff")]))
    assertProtocolError(502, () => parse([header("0020000000000000")]))
    assert.deepStrictEqual(parse([header("001fffffffffffff")]), [
      { _tag: "header", channel: 1, bodySize: Number.MAX_SAFE_INTEGER, properties: wire("0000") }
    ])
  })

  it("C11: refuses a truncated content header with 501, whatever it begins with", () => {
    for (const payload of [wire("003c 0000 0000000000000000 0000"), wire("0032 ffff ffffffffffffffff ffff")]) {
      for (let length = 0; length < payload.length; length++) {
        const frame = concat([Uint8Array.of(2, 0, 1, 0, 0, 0, length), payload.subarray(0, length), Uint8Array.of(206)])
        assert.include(assertProtocolError(501, () => parse([frame])), `only ${length} bytes`)
      }
    }
  })

  it("C7: refuses a method frame that is too short for the ids of a method with 501", () => {
    for (const channel of [0, 1]) {
      for (let length = 0; length < 4; length++) {
        const frame = concat([
          Uint8Array.of(1, 0, channel, 0, 0, 0, length),
          new Uint8Array(length),
          Uint8Array.of(206)
        ])
        assert.include(assertProtocolError(501, () => parse([frame])), `only ${length} bytes`)
      }
    }
    assertProtocolError(503, () => parse([wire("01 0001 00000004 00000000 ce")]))
  })

  it("C15: refuses content on channel 0 with 504", () => {
    assertProtocolError(504, () => parse([wire("02 0000 0000000e 003c 0000 0000000000000001 0000 ce")]))
    assertProtocolError(504, () => parse([wire(`03 0000 00000001 "a" ce`)]))
  })

  it("H3: reports a protocol header as a mismatch with the server's version, however it is chunked", () => {
    const answer = wire(`"AMQP" 03 01 00 00`)
    for (let cut = 0; cut <= answer.length; cut++) {
      const error = thrownBy(() => parse([answer.slice(0, cut), answer.slice(cut)]))
      assert.instanceOf(error, ProtocolMismatch)
      assert.deepInclude(error, { protocolId: 3, major: 1, minor: 0, revision: 0 })
      assert.include(error.message, "1-0-0")
    }
    assertProtocolError(501, () => parse([golden.stream, answer]))
  })

  it("H4: recognizes TLS and HTTP, and gives a hint without their bytes", () => {
    assert.include(assertProtocolError(501, () => parse([wire("15 0303 0002 0246")])), "TLS")
    assert.include(assertProtocolError(501, () => parse([wire("16 0301 0200 0100")])), "TLS")
    const message = assertProtocolError(501, () => parse([wire(`"HTTP/1.1 400 Bad Request"`)]))
    assert.include(message, "HTTP")
    assert.notInclude(message, "Bad Request")
    assertProtocolError(501, () => parse([wire(`"AMQX" 00000000`)]))
  })

  it("throws the same error again after it has failed", () => {
    const { emitted, parser } = collecting()
    const first = thrownBy(() => parser.push(wire("00 0000 00000000 ce")))
    assert.instanceOf(first, ProtocolError)
    assert.strictEqual(thrownBy(() => parser.push(golden.stream)), first)
    assert.strictEqual(emitted.length, 0)
  })

  it("stops permanently when a handler throws", () => {
    const failure = new Error("of the handler")
    const seen: Array<string> = []
    const parser = new FrameParser({
      onMethod: () => {
        seen.push("method")
        throw failure
      },
      onHeader: () => {},
      onBody: () => {},
      onHeartbeat: () => void seen.push("heartbeat")
    }, { maxFrameSize: 4096 })
    assert.strictEqual(thrownBy(() => parser.push(golden.stream)), failure)
    assert.strictEqual(thrownBy(() => parser.push(wire("08 0000 00000000 ce"))), failure)
    assert.deepStrictEqual(seen, ["method"])
  })
})
