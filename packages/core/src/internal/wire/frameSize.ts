/**
 * Checks the size of frames.
 */
import { frameOverhead } from "../../protocol/constants.ts"
import { EncodeError } from "../../protocol/ProtocolError.ts"

/**
 * Throws an `EncodeError` if a frame of `size` bytes is larger than `frameMax` bytes; 0 means no limit. The error states the size without the
 * frame around it, as other limits do.
 */
export const checkFrameSize = (what: string, size: number, frameMax: number): void => {
  if (frameMax === 0 || size <= frameMax) return
  throw new EncodeError({
    message: `${what}: ${
      size - frameOverhead
    } bytes do not fit a frame of ${frameMax} bytes, the frame-max of the broker`
  })
}
