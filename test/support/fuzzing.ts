/**
 * Streams of nearly valid frames, for fuzzing: golden and generated frames with some faults.
 *
 * Faults are values, so that a run depends on its seed alone, and a failure can be shrunk to the faults that cause it. Their
 * positions are arbitrary numbers, taken modulo the length.
 */
import { encodeProperties } from "@effect-amqp/core/protocol/BasicProperties"
import { heartbeatFrame } from "@effect-amqp/core/protocol/frames"
import { encodeMethod, hasContent } from "@effect-amqp/core/protocol/methods.generated"
import type { Method } from "@effect-amqp/core/protocol/methods.generated"
import * as Arbitrary from "effect/Arbitrary"
import * as golden from "../fixtures/golden.ts"
import { wire } from "../fixtures/wire.ts"
import { anyMethod, basicProperties, bytes, concat, integer, oneOf, written } from "../unit/protocol/support.ts"

/**
 * The options of a fuzz test: by default this number of runs with the seed 1. `npm run fuzz` sets both, and removes the timeout.
 */
export const fuzzOptions = (runs: number) => {
  const { FUZZ_RUNS, FUZZ_SEED } = process.env
  return {
    timeout: FUZZ_RUNS === undefined ? 120_000 : 0,
    arbitrary: { runs: Number(FUZZ_RUNS ?? runs), seed: Number(FUZZ_SEED ?? 1) }
  }
}

const anyOf = <const A>(...values: ReadonlyArray<A>): Arbitrary.Arbitrary<A> =>
  oneOf(...values.map((value) => Arbitrary.Constant(value)))

/** A value of a union: its tag, and arbitrary values for its other fields. */
const tagged = <const Tag extends string, const Fields extends Record<string, Arbitrary.Arbitrary<unknown>>>(
  _tag: Tag,
  fields: Fields
) => Arbitrary.all({ _tag: Arbitrary.Constant(_tag), ...fields })

// -----------------------------------------------------------------------------
// tables
// -----------------------------------------------------------------------------

/** The field types of a fixed size, and their sizes: any bytes are a value. */
const fixedFields = Object.entries({
  b: 1,
  B: 1,
  D: 5,
  d: 8,
  f: 4,
  I: 4,
  i: 4,
  L: 8,
  l: 8,
  s: 2,
  T: 8,
  t: 1,
  U: 2,
  u: 2,
  V: 0
})

const withLetter = (letter: string, value: Uint8Array): Uint8Array => concat([new TextEncoder().encode(letter), value])

const sized = (value: Uint8Array): Uint8Array => written((writer) => writer.longString(value))

const key = Arbitrary.map(
  Arbitrary.array(integer(0, 255), { maxLength: 3 }),
  (key) => Uint8Array.of(key.length, ...key)
)

const flatField: Arbitrary.Arbitrary<Uint8Array> = oneOf(
  Arbitrary.map(
    Arbitrary.all([anyOf(...fixedFields), Arbitrary.array(integer(0, 255), { minLength: 8, maxLength: 8 })]),
    ([[letter, size], value]) => withLetter(letter, Uint8Array.from(value.slice(0, size)))
  ),
  Arbitrary.map(Arbitrary.all([anyOf("S", "x"), bytes]), ([letter, value]) => withLetter(letter, sized(value)))
)

const tableOf = (field: Arbitrary.Arbitrary<Uint8Array>): Arbitrary.Arbitrary<Uint8Array> =>
  Arbitrary.map(
    Arbitrary.array(Arbitrary.all([key, field]), { maxLength: 6 }),
    (entries) => sized(concat(entries.flat()))
  )

const fieldOfDepth = (depth: number): Arbitrary.Arbitrary<Uint8Array> =>
  depth === 0
    ? flatField
    : oneOf(
      flatField,
      Arbitrary.map(tableOf(fieldOfDepth(depth - 1)), (table) => withLetter("F", table)),
      Arbitrary.map(
        Arbitrary.array(fieldOfDepth(depth - 1), { maxLength: 6 }),
        (items) => withLetter("A", sized(concat(items)))
      )
    )

/** Nested tables and arrays, around the limit of depth. */
const deepTable = Arbitrary.map(
  Arbitrary.all([flatField, Arbitrary.array(anyOf("F", "A"), { minLength: 20, maxLength: 40 })]),
  ([field, letters]) => {
    const inTable = (field: Uint8Array) => concat([Uint8Array.of(0), field])
    return sized(inTable(letters.reduce(
      (field, letter) => withLetter(letter, sized(letter === "F" ? inTable(field) : field)),
      field
    )))
  }
)

/** Encoded tables of all field types, with arbitrary bytes as values. */
export const encodedTable: Arbitrary.Arbitrary<Uint8Array> = oneOf(tableOf(fieldOfDepth(2)), deepTable)

// -----------------------------------------------------------------------------
// frames
// -----------------------------------------------------------------------------

/** The bytes of a complete frame of any type. */
export const frame = (type: number, channel: number, payload: Uint8Array): Uint8Array =>
  written((writer) => {
    writer.octet(type)
    writer.short(channel)
    writer.longString(payload)
    writer.octet(206)
  })

/** Channel numbers that a client uses, and others. */
const channel = oneOf(integer(0, 15), integer(0, 15), integer(0, 15), Arbitrary.Constant(65535))

/** A method and, if it has content, its header and its body in pieces, of which some bytes may be missing. */
const methodFrames = (
  channel: number,
  method: Method,
  properties: Uint8Array,
  pieces: ReadonlyArray<Uint8Array>,
  missing: number
): ReadonlyArray<Uint8Array> => {
  const methodFrame = frame(1, channel, written((writer) => encodeMethod(writer, method)))
  if (!hasContent(method._tag)) return [methodFrame]
  const header = written((writer) => {
    writer.long(60 * 65536)
    writer.longLong(concat(pieces).length + missing)
    writer.bytes(properties)
  })
  return [methodFrame, frame(2, channel, header), ...pieces.map((piece) => frame(3, channel, piece))]
}

const anyProperties = oneOf(
  Arbitrary.map(encodedTable, (table) => concat([Uint8Array.of(0x20, 0), table])),
  ...golden.properties.map(({ bytes }) => Arbitrary.Constant(bytes)),
  Arbitrary.map(basicProperties, (properties) => written((writer) => encodeProperties(writer, properties)))
)

const missing = anyOf(0, 0, 0, 0, 1, 60_000)

const contentOf = (method: Arbitrary.Arbitrary<Method>) =>
  Arbitrary.map(
    Arbitrary.all([channel, method, anyProperties, Arbitrary.array(bytes, { maxLength: 3 }), missing]),
    (parts) => methodFrames(...parts)
  )

const goldenMethod = Arbitrary.map(
  Arbitrary.all([channel, anyOf(...golden.methods)]),
  ([channel, { payload }]) => [frame(1, channel, payload)]
)

const anyPayload = Arbitrary.map(
  Arbitrary.all([anyOf(1, 2, 3, 8), channel, bytes]),
  ([type, channel, payload]) => [frame(type, channel, payload)]
)

const deliveryTag = integer(0, 4)

const flag = anyOf(true, false)

const name = anyOf("", "q", "nowhere")

/** The tags that this client gives its consumers. */
const consumerTag = Arbitrary.map(
  Arbitrary.all([integer(1, 15), integer(1, 2)]),
  ([channel, count]) => `effect-amqp-${channel}-${count}`
)

const emptyReplies = [
  "channel.open-ok",
  "channel.close-ok",
  "confirm.select-ok",
  "basic.qos-ok",
  "basic.get-empty",
  "tx.commit-ok"
] as const

/** Methods that a broker may send, with plausible values. */
const plausibleMethod: Arbitrary.Arbitrary<Method> = oneOf<Method>(
  ...emptyReplies.map((tag) => tagged(tag, {})),
  tagged("channel.flow", { active: flag }),
  tagged("channel.close", {
    replyCode: anyOf(404, 406, 599),
    replyText: anyOf("NOT_FOUND"),
    classId: anyOf(50),
    methodId: anyOf(10)
  }),
  tagged("connection.close", {
    replyCode: anyOf(320, 501),
    replyText: anyOf("bye"),
    classId: anyOf(0),
    methodId: anyOf(0)
  }),
  tagged("connection.blocked", { reason: anyOf("low on memory") }),
  tagged("basic.ack", { deliveryTag, multiple: flag }),
  tagged("basic.nack", { deliveryTag, multiple: flag, requeue: flag }),
  tagged("basic.cancel", { consumerTag, noWait: flag }),
  tagged("basic.cancel-ok", { consumerTag }),
  tagged("basic.consume-ok", { consumerTag }),
  tagged("queue.declare-ok", { queue: anyOf("q"), messageCount: integer(0, 9), consumerCount: integer(0, 9) })
)

/** The same for methods with content. */
const plausibleContent: Arbitrary.Arbitrary<Method> = oneOf<Method>(
  tagged("basic.deliver", { consumerTag, deliveryTag, redelivered: flag, exchange: name, routingKey: name }),
  tagged("basic.get-ok", {
    deliveryTag,
    redelivered: flag,
    exchange: name,
    routingKey: name,
    messageCount: deliveryTag
  }),
  tagged("basic.return", { replyCode: anyOf(312), replyText: name, exchange: name, routingKey: name })
)

/** A method whose only string has the maximum length and is not UTF-8. */
const longestText = Arbitrary.map(
  Arbitrary.all([channel, anyOf("000a003c", "003c001e", "003c0015", "003c001f")]),
  ([channel, ids]) => [
    // The length, that many bytes, and flags.
    frame(1, channel, concat([wire(ids), new Uint8Array(256).fill(255), Uint8Array.of(0)]))
  ]
)

/** Frames that belong together, well-formed except for their payloads. */
export const someFrames: Arbitrary.Arbitrary<ReadonlyArray<Uint8Array>> = oneOf(
  contentOf(anyMethod),
  contentOf(plausibleMethod),
  contentOf(plausibleContent),
  goldenMethod,
  longestText,
  anyPayload,
  Arbitrary.Constant([heartbeatFrame]),
  Arbitrary.Constant([golden.stream])
)

// -----------------------------------------------------------------------------
// faults
// -----------------------------------------------------------------------------

const anywhere = integer(0, 0xffffffff)

/** Extreme values for a size, a count or a type. */
const extremes = [0, 1, 2, 7, 8, 255, 4096, 65535, 131064, 131065, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1]

const bigEndian = (size: number, value: number): Uint8Array =>
  Uint8Array.from({ length: size }, (_, index) => value / 256 ** (size - 1 - index))

const fieldOf: Record<"type" | "channel" | "size", readonly [at: number, size: number]> = {
  type: [0, 1],
  channel: [1, 2],
  size: [3, 4]
}

/** A fault in the frames of a stream. */
export type FrameFault =
  | { readonly _tag: "Drop"; readonly frame: number }
  | { readonly _tag: "Duplicate"; readonly frame: number }
  | { readonly _tag: "Swap"; readonly frame: number; readonly other: number }
  | { readonly _tag: "Insert"; readonly frame: number; readonly frames: ReadonlyArray<Uint8Array> }
  | { readonly _tag: "Field"; readonly frame: number; readonly field: keyof typeof fieldOf; readonly value: number }
  | { readonly _tag: "End"; readonly frame: number; readonly value: number }

/** A fault in the bytes of a stream. A `Splice` to a later position removes bytes, to an earlier one it repeats them. */
export type ByteFault =
  | { readonly _tag: "Flip"; readonly at: number; readonly bit: number }
  | { readonly _tag: "Overwrite"; readonly at: number; readonly bytes: Uint8Array }
  | { readonly _tag: "Add"; readonly at: number; readonly bytes: Uint8Array }
  | { readonly _tag: "Splice"; readonly at: number; readonly to: number }
  | { readonly _tag: "Cut"; readonly at: number }

/** Faults in frames are applied first, then those in bytes, each in order. */
export interface Faults {
  readonly frames: ReadonlyArray<FrameFault>
  readonly bytes: ReadonlyArray<ByteFault>
}

const frameFault: Arbitrary.Arbitrary<FrameFault> = oneOf<FrameFault>(
  tagged("Drop", { frame: anywhere }),
  tagged("Duplicate", { frame: anywhere }),
  tagged("Swap", { frame: anywhere, other: anywhere }),
  tagged("Insert", { frame: anywhere, frames: someFrames }),
  tagged("Field", { frame: anywhere, field: anyOf("type", "channel", "size", "size"), value: anyOf(...extremes) }),
  tagged("End", { frame: anywhere, value: integer(0, 255) })
)

const patch = oneOf(
  Arbitrary.map(integer(0, 255), (value) => Uint8Array.of(value)),
  Arbitrary.map(
    anyOf(...fixedFields.map(([letter]) => letter), "A", "F", "S", "x"),
    (letter) => new TextEncoder().encode(letter)
  ),
  ...[2, 4, 8].map((size) => Arbitrary.map(anyOf(...extremes), (value) => bigEndian(size, value)))
)

/** Arbitrary faults in bytes. */
export const byteFault: Arbitrary.Arbitrary<ByteFault> = oneOf<ByteFault>(
  tagged("Flip", { at: anywhere, bit: integer(0, 7) }),
  tagged("Overwrite", { at: anywhere, bytes: patch }),
  tagged("Add", { at: anywhere, bytes: oneOf(patch, bytes) }),
  tagged("Splice", { at: anywhere, to: anywhere }),
  tagged("Cut", { at: anywhere })
)

/** Arbitrary faults: none, or several of each kind. */
export const faults: Arbitrary.Arbitrary<Faults> = Arbitrary.all({
  frames: Arbitrary.array(frameFault, { maxLength: 3 }),
  bytes: Arbitrary.array(byteFault, { maxLength: 3 })
})

const overwritten = (stream: Uint8Array, at: number, bytes: Uint8Array): Uint8Array => {
  const copy = stream.slice()
  if (at < copy.length) copy.set(bytes.subarray(0, copy.length - at), at)
  return copy
}

const withFrameFault = (frames: ReadonlyArray<Uint8Array>, fault: FrameFault): ReadonlyArray<Uint8Array> => {
  if (frames.length === 0) return frames
  const index = fault.frame % frames.length
  const found = frames[index]
  switch (fault._tag) {
    case "Drop":
      return frames.toSpliced(index, 1)
    case "Duplicate":
      return frames.toSpliced(index, 0, found)
    case "Swap": {
      const other = fault.other % frames.length
      return frames.with(index, frames[other]).with(other, found)
    }
    case "Insert":
      return frames.toSpliced(index, 0, ...fault.frames)
    case "Field": {
      const [at, size] = fieldOf[fault.field]
      return frames.with(index, overwritten(found, at, bigEndian(size, fault.value)))
    }
    case "End":
      return frames.with(index, overwritten(found, found.length - 1, Uint8Array.of(fault.value)))
  }
}

/** The bytes of a stream with a fault. */
export const withByteFault = (stream: Uint8Array, fault: ByteFault): Uint8Array => {
  if (stream.length === 0) return stream
  const at = fault.at % stream.length
  switch (fault._tag) {
    case "Flip":
      return overwritten(stream, at, Uint8Array.of(stream[at] ^ 1 << fault.bit))
    case "Overwrite":
      return overwritten(stream, at, fault.bytes)
    case "Add":
      return concat([stream.subarray(0, at), fault.bytes, stream.subarray(at)])
    case "Splice":
      return concat([stream.subarray(0, at), stream.subarray(fault.to % stream.length)])
    case "Cut":
      return stream.slice(0, at)
  }
}

/** The bytes of frames with faults. */
export const withFaults = (frames: ReadonlyArray<Uint8Array>, faults: Faults): Uint8Array =>
  faults.bytes.reduce(withByteFault, concat(faults.frames.reduce(withFrameFault, frames)))

/** Streams of arbitrary frames with faults, or with none. */
export const faultyStream: Arbitrary.Arbitrary<Uint8Array> = Arbitrary.map(
  Arbitrary.all([Arbitrary.array(someFrames, { minLength: 1, maxLength: 6 }), faults]),
  ([frames, faults]) => withFaults(frames.flat(), faults)
)

/** A stream in chunks of these sizes, repeated. */
export const chunksOf = (stream: Uint8Array, sizes: ReadonlyArray<number>): ReadonlyArray<Uint8Array> => {
  const chunks: Array<Uint8Array> = []
  for (let at = 0; at < stream.length;) {
    const end = at + sizes[chunks.length % sizes.length]
    chunks.push(stream.slice(at, end))
    at = end
  }
  return chunks
}
