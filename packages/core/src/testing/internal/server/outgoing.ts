/** Encodes what the broker sends on a connection, and holds it until the step ends. */
import { ByteWriter } from "../../../protocol/ByteWriter.ts"
import {
  encodeBodyFrames,
  encodeHeaderFrame,
  encodeMethodFrame,
  encodeRawHeaderFrame
} from "../../../protocol/frames.ts"
import type { BasicDeliver, BasicGetOk, BasicReturn, ServerMethod } from "../../../protocol/methods.generated.ts"
import { encodingOf } from "../common/message.ts"
import type { Message } from "../common/message.ts"

export class Outgoing {
  /** The limit of a frame, in bytes; 0 sets none. */
  frameMax: number
  private readonly writer = new ByteWriter()
  /** Called when there are bytes to take. */
  private readonly onBytes: () => void

  constructor(frameMax: number, onBytes: () => void) {
    this.frameMax = frameMax
    this.onBytes = onBytes
  }

  /** The number of bytes to take. */
  get pendingBytes(): number {
    return this.writer.pendingBytes
  }

  method(channel: number, method: ServerMethod): void {
    encodeMethodFrame(this.writer, channel, method)
    this.commit()
  }

  content(channel: number, method: BasicDeliver | BasicGetOk | BasicReturn, { body, properties }: Message): void {
    const { writer } = this
    encodeMethodFrame(writer, channel, method)
    const encoded = encodingOf(properties)
    if (encoded === undefined) encodeHeaderFrame(writer, channel, body.length, properties)
    else encodeRawHeaderFrame(writer, channel, body.length, encoded)
    encodeBodyFrames(writer, channel, body, this.frameMax)
    this.commit()
  }

  bytes(bytes: Uint8Array): void {
    this.writer.bytes(bytes)
    this.commit()
  }

  /** Everything that was encoded since the last call. */
  take(): ReadonlyArray<Uint8Array> {
    return this.writer.take()
  }

  private commit(): void {
    this.writer.commit()
    this.onBytes()
  }
}

/** Shortens a text to the 255 bytes of a short string, as RabbitMQ does. */
export const shortText = (text: string): string => {
  const encoded = new TextEncoder().encode(text)
  return encoded.length <= 255
    ? text
    : new TextDecoder().decode(encoded.subarray(0, 252)).replace(/\uFFFD$/u, "") + "..."
}
