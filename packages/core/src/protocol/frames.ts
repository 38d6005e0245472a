/**
 * Writes frames (section 4.2.3 of the specification) into a {@link ByteWriter}.
 *
 * These functions do not commit, so that a message whose properties fail to encode leaves no method frame behind: write
 * method, header and body, then commit, or roll back on an error. The exception is {@link encodeBodyFrames}.
 *
 * @since 0.1.0
 */
import { encodeProperties } from "./BasicProperties.ts"
import type { BasicProperties } from "./BasicProperties.ts"
import type { ByteWriter } from "./ByteWriter.ts"
import { basicClassId, frameEnd, frameOverhead, FrameType } from "./constants.ts"
import { draft } from "./draft.ts"
import { encodeMethod } from "./methods.generated.ts"
import type { Method } from "./methods.generated.ts"

/**
 * From this size on, in bytes, a piece of a body is passed by reference and not copied.
 *
 * @category constants
 * @since 0.1.0
 */
export const referenceSize = 16384

/** The maximum of a frame's size field. */
const maxPayload = 0xffffffff

/**
 * The only heartbeat frame: type 8, channel 0, no payload.
 *
 * @category constants
 * @since 0.1.0
 */
export const heartbeatFrame: Uint8Array = Uint8Array.of(FrameType.heartbeat, 0, 0, 0, 0, 0, 0, frameEnd)

/**
 * Writes a method frame. `channel` is from 0 to 65535. Throws an `EncodeError` for an argument out of its range.
 *
 * **Gotchas**
 *
 * The size of the frame is not limited. A caller with a `frame-max` compares it with the written size.
 *
 * @category encoding
 * @since 0.1.0
 */
export const encodeMethodFrame = (writer: ByteWriter, channel: number, method: Method): void => {
  if ("arguments" in method || "clientProperties" in method || "serverProperties" in method) {
    return encodeDraftedMethod(writer, channel, method)
  }
  encodeMethodFrameAlone(writer, channel, method)
}

/**
 * Like {@link encodeMethodFrame}, for a writer that nothing else writes to: tables are written to it directly, so that no other buffer
 * has their bytes.
 *
 * @category encoding
 * @since 0.1.0
 */
export const encodeMethodFrameAlone = (writer: ByteWriter, channel: number, method: Method): void => {
  writer.octet(FrameType.method)
  writer.short(channel, "channel")
  const mark = writer.reserve(4)
  encodeMethod(writer, method)
  writer.patchSize(mark)
  writer.octet(frameEnd)
}

/** A method with a table, possibly a user's: it is read completely before anything is written. */
const encodeDraftedMethod = (writer: ByteWriter, channel: number, method: Method): void => {
  const start = draft.provisionalBytes
  try {
    encodeMethod(draft, method)
    writer.octet(FrameType.method)
    writer.short(channel, "channel")
    writer.long(draft.provisionalBytes - start)
    writer.copySince(draft, start)
    writer.octet(frameEnd)
  } finally {
    draft.truncate(start)
  }
}

/**
 * Writes a content header frame. `bodySize` is in bytes. Throws an `EncodeError` for a property out of its range.
 *
 * @category encoding
 * @since 0.1.0
 */
export const encodeHeaderFrame = (
  writer: ByteWriter,
  channel: number,
  bodySize: number,
  properties: BasicProperties
): void => {
  const mark = beginHeader(writer, channel, bodySize)
  encodeProperties(writer, properties)
  writer.patchSize(mark)
  writer.octet(frameEnd)
}

/**
 * Writes a content header frame with the properties that `encodeProperties` wrote into `source` since its `provisionalBytes` was
 * `start`.
 *
 * @category encoding
 * @since 0.1.0
 */
export const encodeDraftedHeaderFrame = (
  writer: ByteWriter,
  channel: number,
  bodySize: number,
  source: ByteWriter,
  start: number
): void => {
  const mark = beginHeader(writer, channel, bodySize)
  writer.copySince(source, start)
  writer.patchSize(mark)
  writer.octet(frameEnd)
}

/**
 * Writes a content header frame with properties that are already encoded, by a peer or by
 * `encodeProperties`.
 *
 * @category encoding
 * @since 0.1.0
 */
export const encodeRawHeaderFrame = (
  writer: ByteWriter,
  channel: number,
  bodySize: number,
  properties: Uint8Array
): void => {
  const mark = beginHeader(writer, channel, bodySize)
  writer.bytes(properties)
  writer.patchSize(mark)
  writer.octet(frameEnd)
}

/**
 * Writes a body as frames of at most `frameMax` bytes each, overhead included; `frameMax` 0 sets no limit, and an empty
 * body has no frame.
 *
 * **Gotchas**
 *
 * Pieces of 16 KiB or more are not copied: they must not change until the socket has sent them. Each of them commits what was
 * written before it, so write the body last, when nothing else can fail. The caller's own `commit` adds the rest.
 *
 * @category encoding
 * @since 0.1.0
 */
export const encodeBodyFrames = (writer: ByteWriter, channel: number, body: Uint8Array, frameMax: number): void => {
  const length = body.length
  const limit = frameMax === 0 ? maxPayload : frameMax - frameOverhead
  // A limit without room for payload would never end.
  if (limit <= 0) throw new RangeError(`frameMax ${frameMax} leaves no room for a payload`)
  for (let start = 0; start < length; start += limit) {
    const end = Math.min(start + limit, length)
    writer.octet(FrameType.body)
    writer.short(channel, "channel")
    writer.long(end - start)
    if (end - start < referenceSize) {
      writer.bytes(body, start, end)
    } else {
      writer.commit()
      writer.appendReference(new Uint8Array(body.buffer, body.byteOffset + start, end - start))
    }
    writer.octet(frameEnd)
  }
}

const beginHeader = (writer: ByteWriter, channel: number, bodySize: number): number => {
  writer.octet(FrameType.header)
  writer.short(channel, "channel")
  const mark = writer.reserve(4)
  // The weight, unused since 0-9, is the low half.
  writer.long(basicClassId * 65536)
  writer.longLong(bodySize, "body size")
  return mark
}
