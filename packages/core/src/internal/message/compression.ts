/**
 * Bodies through the compression streams of the platform (WHATWG, "Compression Standard"). They are asynchronous everywhere, and know
 * the content encodings by the same names.
 */
import * as Effect from "effect/Effect"
import type { ContentEncoding } from "../../AmqpCompression.ts"

/** Why there are no bytes: the platform can't, the stream refused its input, or its output is larger than the limit. */
export type Failure = "unsupported" | "failed" | "tooLarge"

export const compress = (body: Uint8Array, encoding: ContentEncoding): Effect.Effect<Uint8Array, Failure> =>
  through(() => new CompressionStream(encoding), body, Infinity)

/** Fails with `tooLarge` as soon as more than `maxSize` bytes come out. A limit that is no number lets none pass. */
export const decompress = (
  body: Uint8Array,
  encoding: ContentEncoding,
  maxSize: number
): Effect.Effect<Uint8Array, Failure> =>
  through(() => new DecompressionStream(encoding), body, Number.isNaN(maxSize) ? 0 : maxSize)

// Some platforms, as Deno, inflate what they are given at once, however large it gets. So they are given no more at once than can
// become what is left of the limit, or a mebibyte: in smaller pieces a large body would take long.
const largestPiece = 16_384
const smallestPiece = 1024
/** The most that deflate makes of a byte (zlib, "Technical Details"). */
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
      // The platform has no such class, or the class knows no such format.
      return resume(Effect.fail("unsupported"))
    }
    const writer = stream.writable.getWriter()
    const reader = stream.readable.getReader()
    const output: Array<Uint8Array> = []
    let size = 0

    const write = async (): Promise<void> => {
      let offset = 0
      while (offset < input.length) {
        // What the piece before became has been read, so the rest of the limit is for this one.
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

/** Each promise of a stream that failed is rejected; the first one is told. */
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
