/** Checks that a received message is what its properties describe. The functions throw an `AmqpDecodeError`. */
import * as Effect from "effect/Effect"
import type { ContentEncoding } from "../../AmqpCompression.ts"
import { AmqpDecodeError } from "../../AmqpError.ts"
import type { Content, DecompressOptions, Properties } from "../../AmqpMessage.ts"
import { ProtocolError } from "../../protocol/ProtocolError.ts"
import * as Compression from "./compression.ts"

type Problem = AmqpDecodeError["problem"]

export const failure = (problem: Problem, part: AmqpDecodeError["part"], description: string): AmqpDecodeError =>
  new AmqpDecodeError({ problem, part, description })

/** The effect that `body` returns, or a failure with the `AmqpDecodeError` that it throws. */
export const attempt = <A, E, R>(body: () => Effect.Effect<A, E, R>): Effect.Effect<A, E | AmqpDecodeError, R> =>
  Effect.suspend<A, E | AmqpDecodeError, R>(() => {
    try {
      return body()
    } catch (thrown) {
      if (thrown instanceof AmqpDecodeError) return Effect.fail(thrown)
      throw thrown
    }
  })

export const propertiesOf = (message: Content): Properties => {
  try {
    return message.properties
  } catch (thrown) {
    if (thrown instanceof ProtocolError) throw failure("Properties", "properties", thrown.message)
    throw thrown
  }
}

// -----------------------------------------------------------------------------
// content types
// -----------------------------------------------------------------------------

const jsonType = /^(?:(?:application|text)\/json|[^;\s/]+\/[^;\s/]+\+json)\s*(?:;|$)/i
const charset = /;\s*charset\s*=\s*"?([^";\s]*)/i
/** Some publishers, such as Python's kombu, send the charset as the encoding. */
const plainEncodings: ReadonlySet<string> = new Set(["", "identity", "utf-8", "utf8", "us-ascii", "ascii"])

export const checkIsJson = ({ contentType }: Properties): void => {
  if (contentType === undefined || contentType === "") return
  const encoding = charset.exec(contentType)?.[1] ?? ""
  if (!jsonType.test(contentType) || !plainEncodings.has(encoding.toLowerCase())) {
    const description = `the content type is ${JSON.stringify(contentType)}, not JSON in UTF-8`
    throw failure("ContentType", "properties", description)
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true })

export const parseJson = (body: Uint8Array): unknown => {
  let text: string
  try {
    text = utf8.decode(body)
  } catch {
    throw failure("Text", "body", `the body of ${body.length} bytes is not valid UTF-8`)
  }
  try {
    return JSON.parse(text)
  } catch {
    // The engine's message would quote the text.
    const description = body.length === 0 ? "the body is empty" : `the body of ${body.length} bytes is not valid JSON`
    throw failure("Json", "body", description)
  }
}

// -----------------------------------------------------------------------------
// content encodings
// -----------------------------------------------------------------------------

export const isPlain = ({ contentEncoding }: Properties): boolean =>
  contentEncoding === undefined || plainEncodings.has(contentEncoding.toLowerCase())

export const checkIsPlain = (properties: Properties): void => {
  if (isPlain(properties)) return
  throw failure(
    "ContentEncoding",
    "properties",
    `the body has the content encoding ${JSON.stringify(properties.contentEncoding)}`
  )
}

/** `x-gzip` is another name of `gzip` (RFC 9110, section 8.4.1.3). */
const compressions: ReadonlyMap<string, ContentEncoding> = new Map([
  ["gzip", "gzip"],
  ["x-gzip", "gzip"],
  ["deflate", "deflate"]
])

/** The compression of the body, `undefined` if it has none. */
export const compressionOf = (properties: Properties): ContentEncoding | undefined => {
  if (isPlain(properties)) return undefined
  const { contentEncoding = "" } = properties
  const compression = compressions.get(contentEncoding.toLowerCase())
  if (compression !== undefined) return compression
  const description = `the body has the content encoding ${
    JSON.stringify(contentEncoding)
  }, which is neither gzip nor deflate`
  throw failure("ContentEncoding", "properties", description)
}

export const decompress = (
  body: Uint8Array,
  compression: ContentEncoding,
  { maxDecompressedSize = 16 * 1024 * 1024 }: DecompressOptions
): Effect.Effect<Uint8Array, AmqpDecodeError> =>
  Effect.mapError(Compression.decompress(body, compression, maxDecompressedSize), (reason) => {
    switch (reason) {
      case "tooLarge":
        return failure(
          "Size",
          "body",
          `the body of ${body.length} bytes decompresses to more than ${maxDecompressedSize}`
        )
      case "failed":
        return failure(
          "Compression",
          "body",
          `the body of ${body.length} bytes is not valid ${compression}, or is followed by other bytes`
        )
      case "unsupported":
        return failure("ContentEncoding", "properties", `this platform can't decompress ${compression}`)
    }
  })
