/**
 * Compressed bodies, in the content encodings `gzip` and `deflate` (RFC 9110, section 8.4.1), of which `deflate` is the format of
 * zlib. {@link compress} makes a message of one, {@link decompress} gives the message back, and the option `decompress` of
 * `AmqpMessage.decode` and `AmqpDelivery.handleDecoded` does so before the body is read.
 *
 * The work is done by the `CompressionStream` and `DecompressionStream` of the platform, which Node.js, Deno, Bun and browsers have.
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
 * A content encoding that bodies are compressed in.
 *
 * @category models
 * @since 0.1.0
 */
export type ContentEncoding = "gzip" | "deflate"

/**
 * The same message with its body compressed, and with the content encoding that says so. The content type stays.
 *
 * **Details**
 *
 * Fails with an `AmqpCompressionError` for a message that has a content encoding already, other than `identity` or the name of a charset,
 * and where the platform lacks the compression.
 *
 * **Gotchas**
 *
 * The body must not change meanwhile. Each run compresses again: to publish a message more than once, publish the result.
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
          `the body is encoded as ${JSON.stringify(properties.contentEncoding)} already`
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
 * The same message with its body as it was before it was compressed, and without a content encoding. A message that is not
 * compressed is returned as it is. Throws an `InvalidArgument` for unknown options and a limit that is not a number from 0.
 *
 * **Details**
 *
 * Fails with an `AmqpDecodeError`, whose problem is
 *
 * - `ContentEncoding` for any other encoding, and for several, such as `"deflate, gzip"`;
 * - `Compression` for a body that is corrupt or cut, or that something follows;
 * - `Size` for a body that decompresses to more than the limit: no more of it is decompressed, and what was is dropped;
 * - `Properties` for properties that are malformed.
 *
 * **Gotchas**
 *
 * A gzip body of several members is for some platforms a body that something follows, as the Compression Standard has it.
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
