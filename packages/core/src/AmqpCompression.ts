/**
 * Compression of bodies with the content encodings `gzip` and `deflate`, the format of zlib (RFC 9110, section 8.4.1).
 * {@link compress} compresses a message, {@link decompress} decompresses it, and so does the option `decompress` of
 * `AmqpMessage.decode` and `AmqpDelivery.handleDecoded`.
 *
 * Uses the `CompressionStream` and `DecompressionStream` of the platform, which Node.js, Deno, Bun and browsers have.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { AmqpCompressionError } from "./AmqpError.ts"
import type { AmqpDecodeError } from "./AmqpError.ts"
import * as AmqpMessage from "./AmqpMessage.ts"
import * as Compression from "./internal/message/compression.ts"
import * as Decoding from "./internal/message/contentChecks.ts"
import * as Validation from "./internal/options/validation.ts"

/**
 * A content encoding that compresses.
 *
 * @category models
 * @since 0.1.0
 */
export type ContentEncoding = "gzip" | "deflate"

/**
 * Compresses the body of a message and sets its content encoding. The content type is kept.
 *
 * **Details**
 *
 * Fails with an `AmqpCompressionError` if the message already has a content encoding other than `identity` or the name
 * of a charset, or if the platform lacks the compression.
 *
 * **Gotchas**
 *
 * Do not change the body meanwhile. Each run compresses again: to publish a message more than once, publish the result.
 *
 * **Example** (Publishing a large report)
 *
 * ```ts
 * import { AmqpCompression, AmqpMessage, AmqpPublisher } from "@effect-amqp/core"
 * import * as Effect from "effect/Effect"
 *
 * const publishReport = Effect.fnUntraced(function*(rows: ReadonlyArray<string>) {
 *   const publisher = yield* AmqpPublisher.AmqpPublisher
 *   const message = yield* AmqpCompression.compress("gzip")(AmqpMessage.json(rows))
 *   yield* publisher.publish(message, { exchange: "", routingKey: "reports" })
 * })
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const compress =
  (encoding: ContentEncoding) =>
  (message: AmqpMessage.AmqpMessage): Effect.Effect<AmqpMessage.AmqpMessage, AmqpCompressionError> =>
    Effect.suspend(() => {
      const { body, properties } = message
      if (!Decoding.isPlain(properties)) {
        return failure(
          "ContentEncoding",
          `the body already has the content encoding ${JSON.stringify(properties.contentEncoding)}`
        )
      }
      return Effect.matchEffect(Compression.compress(body, encoding), {
        onSuccess: (body) => Effect.succeed(AmqpMessage.make(body, { ...properties, contentEncoding: encoding })),
        onFailure: () => failure("Platform", `this platform can't compress as ${JSON.stringify(encoding)}`)
      })
    })

const failure = (
  problem: AmqpCompressionError["problem"],
  description: string
): Effect.Effect<never, AmqpCompressionError> => Effect.fail(new AmqpCompressionError({ problem, description }))

/**
 * Decompresses the body of a message and removes its content encoding. A message that is not compressed is returned as
 * it is. Throws an `InvalidArgument` for unknown options and for a limit that is not a number from 0.
 *
 * **Details**
 *
 * Fails with an `AmqpDecodeError` with the problem
 *
 * - `ContentEncoding` for any other encoding, and for several, such as `"deflate, gzip"`;
 * - `Compression` for a body that is corrupt, truncated, or followed by other bytes;
 * - `Size` for a body that decompresses to more than the limit: decompression stops there;
 * - `Properties` for malformed properties.
 *
 * **Gotchas**
 *
 * On some platforms a gzip body of several members fails as one that is followed by other bytes, as the Compression
 * Standard requires.
 *
 * **Example** (Reading a compressed text)
 *
 * ```ts
 * import { AmqpConsumer, AmqpDelivery, AmqpCompression } from "@effect-amqp/core"
 * import * as Effect from "effect/Effect"
 *
 * const decompress = AmqpCompression.decompress({ maxDecompressedSize: 1024 * 1024 })
 *
 * const worker = AmqpConsumer.serve("texts", (delivery) =>
 *   decompress(delivery).pipe(
 *     Effect.flatMap(({ body }) => Effect.log(new TextDecoder().decode(body))),
 *     Effect.as(AmqpDelivery.ack),
 *     Effect.catchTag("AmqpDecodeError", () => Effect.succeed(AmqpDelivery.reject))
 *   ))
 * ```
 *
 * @category decoding
 * @since 0.1.0
 */
export const decompress = (
  options: AmqpMessage.DecompressOptions = {}
): (message: AmqpMessage.Content) => Effect.Effect<AmqpMessage.AmqpMessage, AmqpDecodeError> => {
  const { maxDecompressedSize } = Validation.knownKeys(options, ["maxDecompressedSize"], "options of decompress")
  Validation.limit("maxDecompressedSize", maxDecompressedSize)
  return (message) =>
    Decoding.attempt(() => {
      const properties = Decoding.propertiesOf(message)
      const compression = Decoding.compressionOf(properties)
      if (compression === undefined) return Effect.succeed(message)
      return Effect.map(
        Decoding.decompress(message.body, compression, options),
        (body) => AmqpMessage.make(body, { ...properties, contentEncoding: undefined })
      )
    })
}
