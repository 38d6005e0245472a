/**
 * The size of the frames that a broker accepts.
 */
import { frameOverhead } from "../../protocol/constants.ts"
import { EncodeError } from "../../protocol/ProtocolError.ts"

/**
 * Throws an `EncodeError` when a frame of `size` bytes is larger than `frameMax` bytes; 0 is no limit. What does not fit is a frame as a
 * whole, while the limits of its parts are counted without the frame around them, and so is the size in the error.
 */
export const checkFrameSize = (what: string, size: number, frameMax: number): void => {
  if (frameMax === 0 || size <= frameMax) return
  throw new EncodeError({
    message: `${what}: ${
      size - frameOverhead
    } bytes do not fit a frame of ${frameMax} bytes, the frame-max of the broker`
  })
}
