import * as AmqpCompression from "@effect-amqp/core/AmqpCompression"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import { decodeProperties } from "@effect-amqp/core/internal/message/properties"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import { inspect } from "node:util"
import * as zlib from "node:zlib"
import { afterEach, vi } from "vitest"
import { concat } from "./protocol/support.ts"

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)

/** Node.js's zlib, as another implementation. */
const peers = {
  gzip: { write: (bytes: Uint8Array): Uint8Array => zlib.gzipSync(bytes), read: zlib.gunzipSync },
  deflate: { write: (bytes: Uint8Array): Uint8Array => zlib.deflateSync(bytes), read: zlib.inflateSync }
} as const

const encodings = ["gzip", "deflate"] as const

const compressed = (contentEncoding: string, body: Uint8Array): AmqpMessage.AmqpMessage =>
  AmqpMessage.make(body, { contentType: "application/json", contentEncoding })

const decompress = AmqpCompression.decompress()

/** Plain bytes to compare, also of a Buffer. */
const bytes = (body: Uint8Array): Uint8Array => Uint8Array.from(body)

afterEach(() => {
  vi.unstubAllGlobals()
})

describe.each(encodings)("a body compressed with %s", (encoding) => {
  const { read, write } = peers[encoding]

  it.effect.prop(
    "is decompressed to the same bytes by zlib and by this package",
    [Schema.Uint8Array],
    ([body]) =>
      Effect.gen(function*() {
        const message = yield* AmqpCompression.compress(encoding)(AmqpMessage.make(body, { priority: 1 }))
        assert.deepStrictEqual(message.properties, { priority: 1, contentEncoding: encoding })
        assert.deepStrictEqual(bytes(read(message.body)), body)
        const again = yield* decompress(message)
        assert.deepStrictEqual(bytes(again.body), body)
        assert.deepStrictEqual(again.properties, { priority: 1, contentEncoding: undefined })
      })
  )

  it.effect.prop("is decompressed when zlib compressed it", [Schema.Uint8Array], ([body]) =>
    Effect.gen(function*() {
      assert.deepStrictEqual(bytes((yield* decompress(compressed(encoding, write(body)))).body), body)
    }))

  it.effect("may be large and of any bytes", () =>
    Effect.gen(function*() {
      const body = Uint8Array.from({ length: 1_000_000 }, (_, index) => Math.imul(index, 0x9e3779b1) >>> 24)
      for (const given of [body, new Uint8Array(1_000_000)]) {
        const message = yield* AmqpCompression.compress(encoding)(AmqpMessage.make(given))
        assert.isTrue(Buffer.from((yield* decompress(message)).body).equals(given))
      }
    }))

  it.effect("keeps its content type and all other properties", () =>
    Effect.gen(function*() {
      const message = yield* AmqpCompression.compress(encoding)(AmqpMessage.json({ id: 1 }, { headers: { a: 1 } }))
      assert.deepStrictEqual(message.properties, {
        contentType: "application/json",
        contentEncoding: encoding,
        headers: { a: 1 }
      })
    }))

  it.effect("fails to decompress when it is truncated or empty", () =>
    Effect.gen(function*() {
      const whole = write(utf8("{\"id\":1}"))
      for (let length = 0; length < whole.length; length++) {
        const error = yield* Effect.flip(decompress(compressed(encoding, whole.subarray(0, length))))
        assert.strictEqual(error.problem, "Compression", `cut to ${length} bytes`)
        assert.strictEqual(error.part, "body")
      }
    }))

  it.effect("fails to decompress when other bytes follow it", () =>
    Effect.gen(function*() {
      const whole = write(utf8("s3cret"))
      for (const rest of [Uint8Array.of(0), utf8("more"), new Uint8Array(100_000).fill(7)]) {
        const error = yield* Effect.flip(decompress(compressed(encoding, concat([whole, rest]))))
        assert.strictEqual(error.problem, "Compression")
        assert.notInclude(inspect(error) + error.message, "s3cret")
      }
    }))

  it.effect("fails to decompress when it is corrupt or in another format", () =>
    Effect.gen(function*() {
      const checksum = write(utf8("hello"))
      checksum[checksum.length - 5] ^= 1
      const other = encoding === "gzip" ? peers.deflate : peers.gzip
      for (const body of [checksum, utf8("no compressed body"), other.write(utf8("hello"))]) {
        assert.strictEqual((yield* Effect.flip(decompress(compressed(encoding, body)))).problem, "Compression")
      }
    }))

  it.effect("may decompress to the limit, but not to a byte more", () =>
    Effect.gen(function*() {
      const message = compressed(encoding, write(new Uint8Array(100_000)))
      const limited = (maxDecompressedSize: number) => AmqpCompression.decompress({ maxDecompressedSize })(message)
      assert.lengthOf((yield* limited(100_000)).body, 100_000)
      const error = yield* Effect.flip(limited(99_999))
      assert.strictEqual(error.problem, "Size")
      assert.strictEqual(error.part, "body")
      assert.include(error.description, `the body of ${message.body.length} bytes decompresses to more than 99999`)
      assert.strictEqual((yield* Effect.flip(limited(0))).problem, "Size")
      assert.lengthOf((yield* limited(Infinity)).body, 100_000)
      assert.isEmpty(
        (yield* AmqpCompression.decompress({ maxDecompressedSize: 0 })(compressed(encoding, write(utf8(""))))).body
      )
    }))

  it.effect("may decompress to 16 MiB by default", () =>
    Effect.gen(function*() {
      const most = 16 * 1024 * 1024
      assert.lengthOf((yield* decompress(compressed(encoding, write(new Uint8Array(most))))).body, most)
      const error = yield* Effect.flip(decompress(compressed(encoding, write(new Uint8Array(most + 1)))))
      assert.strictEqual(error.problem, "Size")
    }))
})

it.effect("reference bytes of zlib and gzip are decompressed", () =>
  Effect.gen(function*() {
    const golden = {
      deflate: "789ccb48cdc9c907 00062c0215",
      gzip: "1f8b0800000000000003cb48cdc9c90700 86a61036 05000000"
    }
    for (const encoding of encodings) {
      const body = Buffer.from(golden[encoding].replaceAll(" ", ""), "hex")
      assert.deepStrictEqual(bytes((yield* decompress(compressed(encoding, body))).body), utf8("hello"))
    }
  }))

describe("an encoding", () => {
  const gzipped = peers.gzip.write(utf8("5"))

  it.effect("may be in capitals or have the prefix x-", () =>
    Effect.gen(function*() {
      for (const encoding of ["GZIP", "x-gzip", "X-Gzip"]) {
        assert.deepStrictEqual(bytes((yield* decompress(compressed(encoding, gzipped))).body), utf8("5"))
      }
    }))

  it.effect("that means no compression leaves the message as it is, and opens no stream", () =>
    Effect.gen(function*() {
      vi.stubGlobal("DecompressionStream", undefined)
      for (const contentEncoding of [undefined, "", "identity", "utf-8"]) {
        const message = AmqpMessage.make(gzipped, { contentEncoding })
        assert.strictEqual(yield* decompress(message), message)
        const json = AmqpMessage.json(5, { contentEncoding })
        assert.strictEqual(yield* AmqpMessage.decode(Schema.Int, { decompress: true })(json), 5)
      }
    }))

  for (const encoding of ["br", "zstd", "compress", "gzip, deflate", "deflate, gzip", "gzip,gzip", "gzip;q=1"]) {
    it.effect(`of ${JSON.stringify(encoding)} is refused without being tried`, () =>
      Effect.gen(function*() {
        vi.stubGlobal("DecompressionStream", undefined)
        const message = compressed(encoding, gzipped)
        const attempts = [
          Effect.asVoid(decompress(message)),
          Effect.asVoid(AmqpMessage.decode(Schema.Int, { decompress: true })(message)),
          Effect.asVoid(AmqpMessage.decode(Schema.Int, { decompress: true, checkContentType: false })(message))
        ]
        for (const attempt of attempts) {
          const error = yield* Effect.flip(attempt)
          assert.strictEqual(error.problem, "ContentEncoding")
          assert.strictEqual(error.part, "properties")
          assert.include(error.description, JSON.stringify(encoding))
        }
      }))
  }

  it.effect("is not applied on top of another", () =>
    Effect.gen(function*() {
      for (const contentEncoding of ["gzip", "br", "deflate"]) {
        const error = yield* Effect.flip(
          AmqpCompression.compress("gzip")(AmqpMessage.make(gzipped, { contentEncoding }))
        )
        assert.strictEqual(error._tag, "AmqpCompressionError")
        assert.strictEqual(error.problem, "ContentEncoding")
        assert.include(error.message, JSON.stringify(contentEncoding))
      }
      const plain = AmqpMessage.make(utf8("5"), { contentEncoding: "identity" })
      assert.strictEqual((yield* AmqpCompression.compress("gzip")(plain)).properties.contentEncoding, "gzip")
    }))

  it.effect("that the platform lacks makes compress and decompress fail", () =>
    Effect.gen(function*() {
      vi.stubGlobal("CompressionStream", undefined)
      vi.stubGlobal("DecompressionStream", undefined)
      const written = yield* Effect.flip(AmqpCompression.compress("gzip")(AmqpMessage.text("hello")))
      assert.strictEqual(written.problem, "Platform")
      const read = yield* Effect.flip(decompress(compressed("gzip", gzipped)))
      assert.strictEqual(read.problem, "ContentEncoding")
      assert.include(read.description, "this platform")
    }))

  it.effect("in malformed properties is reported as malformed properties", () =>
    Effect.gen(function*() {
      const malformed = {
        body: gzipped,
        get properties(): AmqpMessage.ReceivedProperties {
          return decodeProperties(Uint8Array.of(0, 1))
        }
      }
      assert.strictEqual((yield* Effect.flip(decompress(malformed))).problem, "Properties")
    }))
})

describe("a compressed value", () => {
  const Order = Schema.Struct({ id: Schema.Int, placedAt: Schema.Date })
  const order = { id: 1, placedAt: new Date(0) }

  for (const encoding of encodings) {
    it.effect(`in ${encoding} is decoded by its schema with the option decompress`, () =>
      Effect.gen(function*() {
        const message = yield* Effect.flatMap(AmqpMessage.schema(Order)(order), AmqpCompression.compress(encoding))
        assert.deepStrictEqual(yield* AmqpMessage.decode(Order, { decompress: true })(message), order)
        assert.strictEqual((yield* Effect.flip(AmqpMessage.decode(Order)(message))).problem, "ContentEncoding")
        const handler = AmqpDelivery.handleDecoded(
          Order,
          (order) => Effect.succeed(AmqpDelivery.as(AmqpDelivery.ack, order)),
          { decompress: true }
        )
        const delivery = { ...received, body: message.body, properties: decodable(message.properties) }
        assert.deepStrictEqual(yield* handler(delivery), { _tag: "Ack", value: order })
      }))
  }

  it.effect("is limited in size, and has the same decode errors as an uncompressed one", () =>
    Effect.gen(function*() {
      const decode = AmqpMessage.decode(Order, { decompress: true, maxDecompressedSize: 100 })
      const problemOf = (body: Uint8Array, contentType = "application/json") =>
        Effect.map(
          Effect.flip(decode(AmqpMessage.make(peers.gzip.write(body), { contentType, contentEncoding: "gzip" }))),
          ({ problem }) => problem
        )
      assert.strictEqual(yield* problemOf(new Uint8Array(101)), "Size")
      assert.strictEqual(yield* problemOf(Uint8Array.of(0xff)), "Text")
      assert.strictEqual(yield* problemOf(utf8("{")), "Json")
      assert.strictEqual(yield* problemOf(utf8("{}")), "Schema")
      assert.strictEqual(yield* problemOf(utf8("{}"), "text/csv"), "ContentType")
    }))
})

const received: Omit<AmqpDelivery.ReceivedMessage, "body" | "properties"> = {
  text: "",
  exchange: "",
  routingKey: "orders",
  redelivered: false,
  deliveryTag: 1,
  queue: "orders",
  consumerTag: undefined
}

/** Without an expiration and a timestamp, in which sent and received properties differ. */
const decodable = (properties: AmqpMessage.Properties): AmqpMessage.ReceivedProperties => {
  const { expiration: _expiration, timestamp: _timestamp, ...others } = properties
  return others
}

describe("a decompression bomb", () => {
  const size = 64 * 1024 * 1024
  const bomb = compressed("gzip", peers.gzip.write(new Uint8Array(size)))

  /** Records the streams that are opened. */
  const openedStreams = (): ReadonlyArray<DecompressionStream> => {
    const opened: Array<DecompressionStream> = []
    vi.stubGlobal(
      "DecompressionStream",
      class extends DecompressionStream {
        constructor(format: "gzip" | "deflate") {
          super(format)
          opened.push(this)
        }
      }
    )
    return opened
  }

  /** A stream that was read to its end is closed, not errored. */
  const isAborted = ({ writable }: DecompressionStream): boolean => inspect(writable).includes("state: 'errored'")

  /** A stream ends a few turns of the event loop after it is cancelled. */
  const areAborted = (opened: ReadonlyArray<DecompressionStream>) =>
    Effect.gen(function*() {
      for (let turn = 0; turn < 1000 && !opened.every(isAborted); turn++) yield* Effect.yieldNow
      assert.deepStrictEqual(opened.map(isAborted), [true])
    })

  it.live("is decompressed no further once it exceeds the limit", () =>
    Effect.gen(function*() {
      const opened = openedStreams()
      assert.strictEqual((yield* Effect.flip(decompress(bomb))).problem, "Size")
      yield* areAborted(opened)
    }))

  it.live("is decompressed no further once the fiber is interrupted", () =>
    Effect.gen(function*() {
      const opened = openedStreams()
      const fiber = yield* Effect.forkChild(
        AmqpCompression.decompress({ maxDecompressedSize: Infinity })(bomb),
        { startImmediately: true }
      )
      yield* Effect.yieldNow
      assert.deepStrictEqual(opened.map(isAborted), [false])
      yield* Fiber.interrupt(fiber)
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
      yield* areAborted(opened)
    }))

  it.live("exceeds the limit by at most one piece on a platform that inflates each piece as a whole", () =>
    Effect.gen(function*() {
      let inflated = 0
      vi.stubGlobal(
        "DecompressionStream",
        // Like Deno's: each piece is inflated as a whole, whatever its size.
        class {
          readonly readable: ReadableStream<Uint8Array>
          readonly writable: WritableStream<Uint8Array>
          constructor() {
            const gunzip = zlib.createGunzip()
            let pieces: Array<Uint8Array> = []
            gunzip.on("data", (piece: Uint8Array) => void pieces.push(piece))
            const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>({
              transform: (piece, controller) =>
                new Promise((resolve) => {
                  gunzip.write(piece, () => {
                    const whole = concat(pieces)
                    pieces = []
                    inflated += whole.length
                    controller.enqueue(whole)
                    resolve()
                  })
                })
            })
            this.readable = readable
            this.writable = writable
          }
        }
      )
      const mebibyte = 1024 * 1024
      for (const maxDecompressedSize of [0, 1000, mebibyte, 16 * mebibyte]) {
        inflated = 0
        assert.strictEqual(
          (yield* Effect.flip(AmqpCompression.decompress({ maxDecompressedSize })(bomb))).problem,
          "Size"
        )
        assert.isAbove(inflated, maxDecompressedSize)
        assert.isBelow(inflated, maxDecompressedSize + 1.1 * mebibyte)
      }
    }))
})
