/**
 * Random and faulty streams against the whole protocol layer. `npm run fuzz` runs the same with other seeds and for longer.
 */
import { decodeProperties, encodeProperties } from "@effect-amqp/core/protocol/BasicProperties"
import { ContentAssembler } from "@effect-amqp/core/protocol/ContentAssembler"
import type { Content } from "@effect-amqp/core/protocol/ContentAssembler"
import { decodeTable, encodeTable } from "@effect-amqp/core/protocol/fieldTable"
import type { FieldValue } from "@effect-amqp/core/protocol/fieldTable"
import { FrameParser } from "@effect-amqp/core/protocol/FrameParser"
import { decodeMethod, encodeMethod } from "@effect-amqp/core/protocol/methods.generated"
import type { AnyContentMethod, Method } from "@effect-amqp/core/protocol/methods.generated"
import { EncodeError, ProtocolError, ProtocolMismatch } from "@effect-amqp/core/protocol/ProtocolError"
import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import { isDeepStrictEqual } from "node:util"
import * as golden from "../../fixtures/golden.ts"
import { hex } from "../../fixtures/wire.ts"
import { byteFault, chunksOf, encodedTable, faultyStream, fuzzOptions, withByteFault } from "../../support/fuzzing.ts"
import { bytes, integer, oneOf, readerOf, thrownBy, written } from "./support.ts"

// Faulty streams announce sizes just below and just above these.
const maxFrameSize = 131072
const maxBodySize = 65535

const isContentMethod = (method: Method): method is AnyContentMethod =>
  method._tag === "basic.deliver" || method._tag === "basic.publish" || method._tag === "basic.get-ok" ||
  method._tag === "basic.return"

type Event = Method | Content<AnyContentMethod> | "heartbeat"

interface Outcome {
  /** The events of each channel, in order. */
  readonly events: ReadonlyArray<readonly [channel: number, event: Event]>
  /** The error with which the parser failed, if any. */
  readonly error: unknown
}

/** Parses as a client does: assembles contents, one at a time on each channel, without copying what the parser emits. */
const machine = () => {
  const events: Array<readonly [number, Event]> = []
  const assemblers = new Map<number, ContentAssembler<AnyContentMethod>>()
  const assemblerOf = (channel: number) => {
    const assembler = assemblers.get(channel) ?? new ContentAssembler(maxBodySize)
    assemblers.set(channel, assembler)
    return assembler
  }
  const complete = (channel: number, content: Content<AnyContentMethod> | undefined) => {
    if (content !== undefined) events.push([channel, content])
  }
  const parser = new FrameParser({
    onMethod: (channel, method) => {
      if (isContentMethod(method)) assemblerOf(channel).start(method)
      else events.push([channel, method])
    },
    onHeader: (channel, header) => complete(channel, assemblerOf(channel).header(header)),
    onBody: (channel, payload, isPart) => complete(channel, assemblerOf(channel).body(payload, isPart)),
    onHeartbeat: () => void events.push([0, "heartbeat"])
  }, { maxFrameSize })
  return { events, parser }
}

const replyCodes = [501, 502, 503, 504, 505]

const assertProtocolFailure = (error: unknown): void => {
  if (error instanceof ProtocolMismatch) return
  assert.instanceOf(error, ProtocolError, String(error))
  assert.include(replyCodes, error.replyCode)
}

const outcomeOf = (chunks: ReadonlyArray<Uint8Array>): Outcome => {
  const { events, parser } = machine()
  try {
    for (const chunk of chunks) parser.push(chunk)
  } catch (error) {
    assertProtocolFailure(error)
    for (const more of [golden.stream.slice(), new Uint8Array(0)]) {
      const before = events.length
      assert.strictEqual(thrownBy(() => parser.push(more)), error)
      assert.strictEqual(events.length, before)
    }
    return { events, error }
  }
  return { events, error: undefined }
}

/** The result of `body`, or `undefined` if it throws a `ProtocolError`. It must throw nothing else. */
const decoded = <A>(body: () => A): A | undefined => {
  try {
    return body()
  } catch (error) {
    assert.instanceOf(error, ProtocolError, String(error))
    assert.strictEqual(error.replyCode, 502)
    return undefined
  }
}

/**
 * Asserts that a decoded value encodes to bytes that decode to it again, and to the bytes that it was decoded from. Numbers
 * that no broker accepts are refused.
 */
const assertEncodes = <A>(
  value: A,
  encode: (value: A) => Uint8Array,
  decode: (bytes: Uint8Array) => A,
  from?: Uint8Array
): void => {
  let encoded: Uint8Array
  try {
    encoded = encode(value)
  } catch (error) {
    assert.instanceOf(error, EncodeError)
    assert.match(error.message, /is not a finite number/)
    return
  }
  if (!isDeepStrictEqual(decode(encoded), value)) assert.deepStrictEqual(decode(encoded), value)
  if (from !== undefined) assert.strictEqual(hex(encoded), hex(from))
}

const assertTableEncodes = (table: ReturnType<typeof decodeTable>, from: Uint8Array) =>
  assertEncodes(
    table,
    (table) => written((writer) => encodeTable(writer, table)),
    (bytes) => decodeTable(readerOf(bytes)),
    from
  )

const assertMethodEncodes = (method: Method) =>
  assertEncodes(
    method,
    (method) => written((writer) => encodeMethod(writer, method)),
    (bytes) => decodeMethod(readerOf(bytes))
  )

const assertPropertiesEncode = (bytes: Uint8Array) => {
  const properties = decoded(() => decodeProperties(bytes))
  if (properties === undefined) return
  assertEncodes(
    properties,
    (properties) => written((writer) => encodeProperties(writer, properties)),
    decodeProperties,
    bytes
  )
}

/** The bytes that `body` allocates as `Uint8Array`s: in total, and for the largest one. */
const allocations = (body: () => void) => {
  const made = { total: 0, largest: 0 }
  const original = globalThis.Uint8Array
  globalThis.Uint8Array = new Proxy(original, {
    construct(target, args, newTarget) {
      const [length] = args
      if (typeof length === "number") {
        made.total += length
        made.largest = Math.max(made.largest, length)
      }
      return Reflect.construct(target, args, newTarget)
    }
  })
  try {
    body()
  } finally {
    globalThis.Uint8Array = original
  }
  return made
}

const chunkSizes = Arbitrary.array(integer(1, 40), { minLength: 1, maxLength: 4 })

const anyStream = oneOf(faultyStream, faultyStream, faultyStream, bytes)

describe("fuzzed streams", () => {
  it.prop(
    "give the same frames or protocol error however they are cut, and later pushes repeat the error",
    [anyStream, chunkSizes],
    ([stream, sizes]) => {
      const whole = outcomeOf([stream.slice()])
      for (const chunks of [chunksOf(stream, sizes), chunksOf(stream, [1])]) {
        const cut = outcomeOf(chunks)
        if (!isDeepStrictEqual(cut, whole)) assert.deepStrictEqual(cut, whole, hex(stream))
      }
    },
    fuzzOptions(800)
  )

  it.prop(
    "use memory for received bytes, not for announced sizes",
    [anyStream, chunkSizes],
    ([stream, sizes]) => {
      for (const chunks of [[stream.slice()], chunksOf(stream, sizes), chunksOf(stream, [1])]) {
        const { parser } = machine()
        const { largest, total } = allocations(() => {
          try {
            for (const chunk of chunks) parser.push(chunk)
          } catch (error) {
            assertProtocolFailure(error)
          }
        })
        // A buffer for a partial frame has at least 64 bytes, and a chunk may end one and begin another.
        assert.isAtMost(total, 12 * stream.length + 128 * chunks.length)
        assert.isAtMost(largest, 2 * maxFrameSize)
      }
    },
    fuzzOptions(400)
  )

  it.prop("contain methods and properties that can be sent again unchanged", [anyStream], ([stream]) => {
    for (const [, event] of outcomeOf([stream.slice()]).events) {
      if (event === "heartbeat") continue
      if ("_tag" in event) {
        assertMethodEncodes(event)
      } else {
        assertMethodEncodes(event.method)
        assertPropertiesEncode(event.properties)
        assert.isAtMost(event.body.length, maxBodySize)
      }
    }
  }, fuzzOptions(800))
})

const faultyTable = Arbitrary.map(
  Arbitrary.all([encodedTable, Arbitrary.array(byteFault, { maxLength: 4 })]),
  ([table, faults]) => {
    const faulty = faults.reduce(withByteFault, table)
    // Otherwise nearly every fault would affect only the outermost length.
    return faulty.length < 4 ? faulty : written((writer) => writer.longString(faulty.slice(4)))
  }
)

/** The number of values in a value, including itself. */
const valuesIn = (value: FieldValue | undefined): number => {
  if (Array.isArray(value)) return value.reduce((sum: number, item: FieldValue) => sum + valuesIn(item), 1)
  if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype) return 1
  return Object.values(value).reduce((sum: number, item: FieldValue) => sum + valuesIn(item), 1)
}

describe("fuzzed tables and properties", () => {
  it.prop(
    "give a table that can be sent again unchanged, or a protocol error",
    [oneOf(faultyTable, faultyTable, bytes)],
    ([encoded]) => {
      const reader = readerOf(encoded)
      const table = decoded(() => decodeTable(reader))
      if (table === undefined) return
      // Each value has at least one byte: its type.
      assert.isAtMost(valuesIn(table), encoded.length)
      assertTableEncodes(table, encoded.subarray(0, reader.offset))
    },
    fuzzOptions(1000)
  )

  it.prop("give properties that can be sent again unchanged, or a protocol error", [
    Arbitrary.array(byteFault, { maxLength: 4 }),
    integer(0, golden.properties.length - 1)
  ], ([faults, index]) => {
    assertPropertiesEncode(faults.reduce(withByteFault, golden.properties[index].bytes))
  }, fuzzOptions(1000))
})
