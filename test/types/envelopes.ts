/**
 * Envelopes and compressed messages are encoded and decoded like schemas of bodies, and have only the parts of a message.
 */
import type { AmqpError } from "@effect-amqp/core"
import { AmqpCompression, AmqpConsumer, AmqpDelivery, AmqpEnvelope, AmqpMessage, AmqpQueue } from "@effect-amqp/core"
import type { AmqpChannel, AmqpConnection } from "@effect-amqp/core"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import { typeOf } from "./support.ts"

declare const delivery: AmqpDelivery.AmqpDelivery

class Reading extends Context.Service<Reading, string>()("test/Reading") {}
class Writing extends Context.Service<Writing, string>()("test/Writing") {}

const Tenant = Schema.String.pipe(Schema.decodeTo(Schema.String, {
  decode: SchemaGetter.transformEffect((text: string) => Effect.map(Reading, (prefix) => prefix + text)),
  encode: SchemaGetter.transformEffect((text: string) => Effect.map(Writing, (prefix) => prefix + text))
}))

const OrderPlaced = AmqpEnvelope.make({
  properties: Schema.Struct({ type: Schema.Literal("placed"), timestamp: Schema.Date }),
  headers: Schema.Struct({ tenant: Tenant, attempt: Schema.optional(Schema.Int) }),
  body: Schema.Struct({ id: Schema.Int, placedAt: Schema.Date })
})

interface Placed {
  readonly properties: { readonly type: "placed"; readonly timestamp: Date }
  readonly headers: { readonly tenant: string; readonly attempt?: number | undefined }
  readonly body: { readonly id: number; readonly placedAt: Date }
}

declare const placed: Placed

// -----------------------------------------------------------------------------
// values
// -----------------------------------------------------------------------------

typeOf(AmqpMessage.schema(OrderPlaced, { priority: 1 })(placed, { messageId: "a" }))
  .is<Effect.Effect<AmqpMessage.AmqpMessage, Schema.SchemaError, Writing>>()
const decoded = AmqpMessage.decode(OrderPlaced)(delivery)
const placedAgain: Effect.Effect<Placed, AmqpError.AmqpDecodeError, Reading> = decoded
Effect.map(placedAgain, ({ headers }) => typeOf(headers.attempt).is<number | undefined>())
// @ts-expect-error the value must have headers
AmqpMessage.schema(OrderPlaced)({ properties: placed.properties, body: placed.body })
// @ts-expect-error the value has another type
AmqpMessage.schema(OrderPlaced)({ ...placed, properties: { type: "cancelled", timestamp: new Date() } })

const Headers = AmqpEnvelope.make({ headers: Schema.Struct({ tenant: Schema.String }) })
typeOf(AmqpMessage.decode(Headers)(delivery))
  .is<Effect.Effect<{ readonly headers: { readonly tenant: string } }, AmqpError.AmqpDecodeError>>()

const OrderEvent = AmqpEnvelope.fromSchema(Schema.Union([OrderPlaced.schema, Headers.schema]))
Effect.map(AmqpMessage.decode(OrderEvent)(delivery), (event) => typeOf(event.headers.tenant).is<string>())

// -----------------------------------------------------------------------------
// what is not part of a message
// -----------------------------------------------------------------------------

// @ts-expect-error a message has no such part
AmqpEnvelope.make({ header: Schema.Struct({ tenant: Schema.String }) })
// @ts-expect-error the property is misspelled
AmqpEnvelope.make({ properties: Schema.Struct({ type: Schema.String, mesageId: Schema.String }) })
// @ts-expect-error headers are not a property
AmqpEnvelope.make({ properties: Schema.Struct({ type: Schema.String, headers: Schema.Struct({}) }) })
// @ts-expect-error a priority is a number
AmqpEnvelope.make({ properties: Schema.Struct({ priority: Schema.String }) })
AmqpEnvelope.make({ properties: Schema.Struct({ priority: Schema.Int, expiration: Schema.Duration }) })
AmqpEnvelope.make({ properties: Schema.Struct({ messageId: Schema.FiniteFromString }) })
// @ts-expect-error a header can't be a URL
AmqpEnvelope.make({ headers: Schema.Struct({ link: Schema.URL }) })
AmqpEnvelope.make({ headers: Schema.Struct({ link: Schema.URLFromString }) })
// @ts-expect-error headers are a table
AmqpEnvelope.make({ headers: Schema.String })
// @ts-expect-error a Date is not JSON
AmqpEnvelope.fromSchema(Schema.Struct({ body: Schema.Date }))
AmqpEnvelope.fromSchema(Schema.Struct({ body: Schema.toCodecJson(Schema.Date) }))
// @ts-expect-error a schema of a body is not a schema of a message
AmqpEnvelope.fromSchema(Schema.String)
// @ts-expect-error an envelope is not a schema
Schema.Array(OrderPlaced)

// -----------------------------------------------------------------------------
// handlers
// -----------------------------------------------------------------------------

const handler = AmqpDelivery.handleDecoded(
  OrderPlaced,
  ({ body }, delivery) => Effect.succeed(AmqpDelivery.as(AmqpDelivery.ack, [body.id, delivery.routingKey] as const)),
  { decompress: true, maxDecompressedSize: 1000, onDecodeError: "fail" }
)
typeOf(handler(delivery)).is<
  Effect.Effect<AmqpDelivery.Settlement<readonly [number, string], "Ack">, AmqpError.AmqpDecodeError, Reading>
>()
typeOf(AmqpQueue.get("q", handler)).is<
  AmqpChannel.AmqpChannel<
    Option.Option<readonly [number, string]>,
    AmqpError.AmqpDecodeError | AmqpError.AmqpChannelError,
    Reading
  >
>()
typeOf(AmqpConsumer.serve(
  "q",
  AmqpDelivery.handleDecoded(OrderPlaced, ({ headers }) => Effect.as(Effect.log(headers.tenant), AmqpDelivery.ack))
)).is<
  Effect.Effect<
    never,
    AmqpConsumer.ServeError,
    AmqpConnection.AmqpConnection | Reading
  >
>()

// -----------------------------------------------------------------------------
// encodings
// -----------------------------------------------------------------------------

typeOf(AmqpCompression.compress("gzip")(AmqpMessage.text("a")))
  .is<Effect.Effect<AmqpMessage.AmqpMessage, AmqpError.AmqpCompressionError>>()
typeOf(AmqpCompression.decompress()(delivery))
  .is<Effect.Effect<AmqpMessage.AmqpMessage, AmqpError.AmqpDecodeError>>()
// @ts-expect-error no platform supports br
AmqpCompression.compress("br")
// @ts-expect-error the limit is a number of bytes
AmqpCompression.decompress({ maxDecompressedSize: "1 MiB" })
