/**
 * Compresses bodies with the streams of the platform (WHATWG, "Compression Standard"), which are asynchronous
 * everywhere and have the same names for the content encodings.
 */
import * as Effect from "effect/Effect"
import type { ContentEncoding } from "../../AmqpCompression.ts"

/** Why it failed: the platform lacks the encoding, the stream refused its input, or the output exceeds the limit. */
export type Failure = "unsupported" | "failed" | "tooLarge"

export const compress = (body: Uint8Array, encoding: ContentEncoding): Effect.Effect<Uint8Array, Failure> =>
  through(() => new CompressionStream(encoding), body, Infinity)

/** Fails with `tooLarge` as soon as the output exceeds `maxSize` bytes. NaN allows no output. */
export const decompress = (
  body: Uint8Array,
  encoding: ContentEncoding,
  maxSize: number
): Effect.Effect<Uint8Array, Failure> =>
  through(() => new DecompressionStream(encoding), body, Number.isNaN(maxSize) ? 0 : maxSize)

// Some platforms, such as Deno, inflate a piece entirely, however large it gets. A piece is therefore at most what can
// become the rest of the limit, or a mebibyte: smaller pieces would make large bodies slow.
const largestPiece = 16_384
const smallestPiece = 1024
/** The highest compression ratio of deflate (zlib, "Technical Details"). */
const highestRatio = 1032

const through = (
  open: () => CompressionStream | DecompressionStream,
  input: Uint8Array,
  maxSize: number
): Effect.Effect<Uint8Array, Failure> =>
  Effect.callback<Uint8Array, Failure>((resume) => {
    let stream: CompressionStream | DecompressionStream
    try {
      stream = open()
    } catch {
      // The platform has no such class, or the class does not support the format.
      return resume(Effect.fail("unsupported"))
    }
    const writer = stream.writable.getWriter()
    const reader = stream.readable.getReader()
    const output: Array<Uint8Array> = []
    let size = 0

    const write = async (): Promise<void> => {
      let offset = 0
      while (offset < input.length) {
        // The output of the previous piece has been read, so that the rest of the limit is for this one.
        const piece = Math.min(largestPiece, Math.max(smallestPiece, Math.floor((maxSize - size) / highestRatio)))
        await writer.write(input.subarray(offset, offset + piece))
        offset += piece
      }
      await writer.close()
    }

    const read = async (): Promise<void> => {
      for (;;) {
        const { done, value } = await reader.read()
        if (done) return
        size += value.length
        if (size > maxSize) throw new TooLarge()
        output.push(value)
      }
    }

    const stop = (): void => {
      writer.abort().catch(ignore)
      reader.cancel().catch(ignore)
    }

    writer.closed.catch(ignore)
    Promise.all([write(), read()]).then(
      () => resume(Effect.succeed(concat(output, size))),
      (reason: unknown) => {
        stop()
        resume(Effect.fail(reason instanceof TooLarge ? "tooLarge" : "failed"))
      }
    )
    return Effect.sync(stop)
  })

class TooLarge extends Error {}

/** All promises of a failed stream are rejected; only the first is reported. */
const ignore = (): void => {}

const concat = (pieces: ReadonlyArray<Uint8Array>, size: number): Uint8Array => {
  if (pieces.length === 1) return pieces[0]
  const whole = new Uint8Array(size)
  let offset = 0
  for (const piece of pieces) {
    whole.set(piece, offset)
    offset += piece.length
  }
  return whole
}
