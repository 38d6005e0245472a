/**
 * Encodes messages for publishing.
 */
import { bytesOf, isUnstable } from "../../protocol/bytes.ts"
import type { ByteWriter } from "../../protocol/ByteWriter.ts"
import { frameOverhead } from "../../protocol/constants.ts"
import { draft } from "../../protocol/draft.ts"
import {
  encodeDraftedHeaderFrame,
  encodeMethodFrame,
  encodeRawHeaderFrame,
  referenceSize
} from "../../protocol/frames.ts"
import { EncodeError } from "../../protocol/ProtocolError.ts"
import type { Route } from "../message/route.ts"
import { checkFrameSize } from "../wire/frameSize.ts"

/** The size of a header frame without properties, in bytes: class, weight, body size and flags. */
const emptyHeaderSize = frameOverhead + 14

/**
 * Encodes the method frame and the header frame of a message, without committing them. `properties` are encoded already, or are in the draft
 * from `draftStart` on (`undefined`). Returns the size of the encoded properties in bytes. If it throws an `EncodeError`, it leaves nothing
 * in the writer.
 */
export const encodePublish = (
  writer: ByteWriter,
  channel: number,
  { exchange, mandatory = false, routingKey }: Route,
  properties: Uint8Array | undefined,
  draftStart: number,
  bodySize: number,
  frameMax: number
): number => {
  try {
    encodeMethodFrame(writer, channel, { _tag: "basic.publish", exchange, routingKey, mandatory, immediate: false })
    const methodSize = writer.provisionalBytes
    if (properties === undefined) encodeDraftedHeaderFrame(writer, channel, bodySize, draft, draftStart)
    else encodeRawHeaderFrame(writer, channel, bodySize, properties)
    const headerSize = writer.provisionalBytes - methodSize
    checkFrameSize("The properties", headerSize, frameMax)
    return headerSize - emptyHeaderSize
  } catch (error) {
    writer.rollback()
    throw error
  }
}

/** The bytes of a body. They are copied if their number may change before they are sent. Throws an `EncodeError`. */
export const encodeBody = (body: unknown, maxSize: number): Uint8Array => {
  const bytes = bytesOf("The body", body)
  if (bytes.length > maxSize) {
    throw new EncodeError({ message: `The body: ${bytes.length} bytes are more than the limit of ${maxSize}` })
  }
  return bytes.length >= referenceSize && isUnstable(bytes) ? bytes.slice() : bytes
}
