/**
 * Frames that hold a password or token: each in a buffer of its own, which is wiped when the broker has replied to it, or the
 * session has ended.
 *
 * The buffer that all other frames are encoded into lives as long as its session, and what was sent stays in it.
 */
import { ByteWriter } from "../../protocol/ByteWriter.ts"
import { encodeMethodFrameAlone } from "../../protocol/frames.ts"
import type { Method } from "../../protocol/methods.generated.ts"

/** Most secrets and all first frames fit in, in bytes. */
const bufferSize = 8192

export class SecretFrames {
  /** Those that the broker has not replied to. It replies to each, in their order. */
  readonly #sent: Array<Uint8Array> = []

  /** A method of channel 0 as a frame. Throws an `EncodeError`. */
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

  /** The broker has replied to the oldest frame: it has read it, and no socket needs its bytes any more. */
  replied(): void {
    this.#sent.shift()?.fill(0)
  }

  /** The session has ended: nothing depends on these frames any more. */
  wipe(): void {
    for (const frame of this.#sent.splice(0)) frame.fill(0)
  }
}
