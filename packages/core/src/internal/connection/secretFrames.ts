/**
 * Frames that contain a password or token. Each has its own buffer, which is overwritten when the broker has replied, or when the session
 * has ended.
 *
 * All other frames share a buffer that lives as long as the session, and keeps the bytes that were sent.
 */
import { ByteWriter } from "../../protocol/ByteWriter.ts"
import { encodeMethodFrameAlone } from "../../protocol/frames.ts"
import type { Method } from "../../protocol/methods.generated.ts"

/** Enough for most secrets, and for every frame before the tuning, in bytes. */
const bufferSize = 8192

export class SecretFrames {
  /** The frames that the broker has not replied to. It replies in their order. */
  readonly #sent: Array<Uint8Array> = []

  /** Encodes a method of channel 0. Throws an `EncodeError`. */
  encode(method: Method): Uint8Array {
    const writer = new ByteWriter(bufferSize)
    encodeMethodFrameAlone(writer, 0, method)
    writer.commit()
    const [frame] = writer.take()
    return frame
  }

  /** The frame is about to be sent. */
  sent(frame: Uint8Array): void {
    this.#sent.push(frame)
  }

  /** The broker has replied to the oldest frame, so the socket no longer needs its bytes. */
  replied(): void {
    this.#sent.shift()?.fill(0)
  }

  /** The session has ended, so no frame is needed any longer. */
  wipe(): void {
    for (const frame of this.#sent.splice(0)) frame.fill(0)
  }
}
