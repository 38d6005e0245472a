/** What the broker says on a connection, until the step ends in which it says it. */
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
  /** The largest frame, in bytes; 0: any. */
  frameMax: number
  private readonly writer = new ByteWriter()
  /** Called when there is something to take. */
  private readonly onBytes: () => void

  constructor(frameMax: number, onBytes: () => void) {
    this.frameMax = frameMax
    this.onBytes = onBytes
  }

  /** How many bytes there are to take. */
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

  /** All that was said since the last call. */
  take(): ReadonlyArray<Uint8Array> {
    return this.writer.take()
  }

  private commit(): void {
    this.writer.commit()
    this.onBytes()
  }
}
