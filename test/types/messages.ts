/**
 * How messages are made and decoded, and how that can fail.
 */
import type { AmqpError } from "@effect-amqp/core"
import { AmqpChannel, AmqpConsumer, AmqpDelivery, AmqpMessage, AmqpQueue } from "@effect-amqp/core"
import type { AmqpConnection } from "@effect-amqp/core"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import { typeOf } from "./support.ts"

// -----------------------------------------------------------------------------
// properties
// -----------------------------------------------------------------------------

declare const dateTime: DateTime.DateTime
declare const duration: Duration.Duration
declare const delivery: AmqpDelivery.AmqpDelivery

AmqpMessage.text("a", { timestamp: new Date(), expiration: "5 seconds", priority: 0 })
AmqpMessage.text("a", { timestamp: dateTime, expiration: duration, deliveryMode: "persistent" })
AmqpMessage.text("a", { headers: { count: AmqpMessage.TypedField.int64(1n), nested: { list: [1, null, new Date()] } } })
// @ts-expect-error a number could be seconds or milliseconds
AmqpMessage.text("a", { timestamp: 1_770_000_000 })
// @ts-expect-error a delivery mode is a word, not the number on the wire
AmqpMessage.text("a", { deliveryMode: 2 })
// @ts-expect-error the property is misspelled
AmqpMessage.text("a", { prority: 1 })
// @ts-expect-error a header can't be a function
AmqpMessage.text("a", { headers: { f: () => 1 } })

typeOf(delivery.properties.timestamp).is<Date | undefined>()
typeOf(delivery.properties.expiration).is<Duration.Duration | undefined>()
typeOf(delivery.properties.deliveryMode).is<"transient" | "persistent" | undefined>()
typeOf(delivery.properties.headers).is<AmqpMessage.FieldTable | undefined>()

// A delivery can be published again, and any object with a body and properties is a message.
const again: AmqpMessage.AmqpMessage = AmqpMessage.make(delivery.body, delivery.properties)
AmqpChannel.publish(again, { exchange: "", routingKey: "a" })
AmqpChannel.publish({ body: new Uint8Array(), properties: {} }, { exchange: "", routingKey: "a" })
typeOf(AmqpMessage.fromDelivery(delivery)).is<Effect.Effect<AmqpMessage.AmqpMessage, AmqpError.AmqpDecodeError>>()

// -----------------------------------------------------------------------------
// schemas
// -----------------------------------------------------------------------------

class Reading extends Context.Service<Reading, string>()("test/Reading") {}
class Writing extends Context.Service<Writing, string>()("test/Writing") {}
class Handling extends Context.Service<Handling, string>()("test/Handling") {}

const Order = Schema.Struct({ id: Schema.Int, placedAt: Schema.Date })
const Name = Schema.String.pipe(Schema.decodeTo(Schema.String, {
  decode: SchemaGetter.transformEffect((text: string) => Effect.map(Reading, (prefix) => prefix + text)),
  encode: SchemaGetter.transformEffect((text: string) => Effect.map(Writing, (prefix) => prefix + text))
}))

typeOf(AmqpMessage.schema(Order)({ id: 1, placedAt: new Date() }))
  .is<Effect.Effect<AmqpMessage.AmqpMessage, Schema.SchemaError>>()
typeOf(AmqpMessage.schema(Name, { type: "name" })("ann", { priority: 0 }))
  .is<Effect.Effect<AmqpMessage.AmqpMessage, Schema.SchemaError, Writing>>()
// @ts-expect-error schema takes the value, not its JSON
AmqpMessage.schema(Order)({ id: 1, placedAt: "1970-01-01T00:00:00.000Z" })

typeOf(AmqpMessage.decode(Order)(delivery))
  .is<Effect.Effect<{ readonly id: number; readonly placedAt: Date }, AmqpError.AmqpDecodeError>>()
typeOf(AmqpMessage.decode(Name)(delivery)).is<Effect.Effect<string, AmqpError.AmqpDecodeError, Reading>>()
typeOf(AmqpMessage.decodeJson(delivery)).is<Effect.Effect<Schema.Json, AmqpError.AmqpDecodeError>>()
typeOf(AmqpMessage.decode(Order)(AmqpMessage.text("a")))
  .is<Effect.Effect<{ readonly id: number; readonly placedAt: Date }, AmqpError.AmqpDecodeError>>()

declare const autoAcked: AmqpDelivery.ReceivedMessage
typeOf(AmqpMessage.decode(Name)(autoAcked)).is<Effect.Effect<string, AmqpError.AmqpDecodeError, Reading>>()

// -----------------------------------------------------------------------------
// handlers of decoded values
// -----------------------------------------------------------------------------

declare const handle: (name: string) => Effect.Effect<AmqpDelivery.Settlement, "E", Handling>
declare const measure: (name: string) => Effect.Effect<AmqpDelivery.Settlement<number>, "E", Handling>

const rejecting = AmqpDelivery.handleDecoded(Name, measure, { onDecodeError: "reject", checkContentType: false })
typeOf(rejecting(delivery)).is<Effect.Effect<AmqpDelivery.Settlement<number | undefined>, "E", Handling | Reading>>()
type Failing = Effect.Effect<AmqpDelivery.Settlement<number>, "E" | AmqpError.AmqpDecodeError, Handling | Reading>
typeOf(AmqpDelivery.handleDecoded(Name, measure)(delivery)).is<Failing>()
typeOf(AmqpDelivery.handleDecoded(Name, measure, { onDecodeError: "fail" })(delivery)).is<Failing>()
// @ts-expect-error onDecodeError has no value requeue
AmqpDelivery.handleDecoded(Name, measure, { onDecodeError: "requeue" })

type ConsumerServices = AmqpConnection.AmqpConnection | Handling | Reading
type ConsumerError = AmqpConsumer.ServeError

typeOf(AmqpConsumer.serve("q", AmqpDelivery.handleDecoded(Name, handle)))
  .is<Effect.Effect<never, ConsumerError, ConsumerServices>>()
typeOf(AmqpConsumer.serve("q", AmqpDelivery.handleDecoded(Name, handle, { onDecodeError: "fail" })))
  .is<Effect.Effect<never, ConsumerError, ConsumerServices>>()
AmqpConsumer.serve("q", AmqpDelivery.handleDecoded(Order, ({ id }) => Effect.as(Effect.log(id), AmqpDelivery.ack)))
typeOf(AmqpQueue.get("q", AmqpDelivery.handleDecoded(Name, measure))).is<
  AmqpChannel.AmqpChannel<
    Option.Option<number>,
    "E" | AmqpError.AmqpChannelError | AmqpError.AmqpDecodeError,
    Handling | Reading
  >
>()

// @ts-expect-error the handler returns no settlement
AmqpConsumer.serve("q", AmqpDelivery.handleDecoded(Order, ({ id }) => Effect.log(id)))
// @ts-expect-error onDecodeError has no value ignore
AmqpDelivery.handleDecoded(Order, () => Effect.succeed(AmqpDelivery.ack), { onDecodeError: "ignore" })
declare const policy: "reject" | "fail"
// @ts-expect-error onDecodeError must be known, because the error type depends on it
AmqpDelivery.handleDecoded(Order, () => Effect.succeed(AmqpDelivery.ack), { onDecodeError: policy })

// -----------------------------------------------------------------------------
// stamps
// -----------------------------------------------------------------------------

typeOf(AmqpMessage.stamp({ messageId: true, timestamp: true })(AmqpMessage.text("a")))
  .is<Effect.Effect<AmqpMessage.AmqpMessage>>()

// -----------------------------------------------------------------------------
// errors
// -----------------------------------------------------------------------------

declare const channelReason: AmqpError.AmqpChannelError["reason"]
typeOf(channelReason).is<AmqpError.ChannelErrorReason>()
declare const connectionReason: AmqpError.AmqpConnectionError["reason"]
typeOf(connectionReason).is<AmqpError.ConnectionErrorReason>()
declare const publishReason: AmqpError.AmqpPublishError["reason"]
typeOf(publishReason).is<AmqpError.PublishErrorReason>()
declare const reply: ReturnType<typeof AmqpError.replyReason>
typeOf(reply).is<AmqpError.ReplyReason>()
typeOf(reply.replyCode).is<number>()
typeOf(reply.isRetryable).is<boolean>()

declare const declared: Effect.Effect<number, AmqpError.AmqpChannelError>
typeOf(declared.pipe(
  Effect.catchReasons("AmqpChannelError", {
    NotFound: ({ method }) => Effect.succeed(method),
    Returned: ({ routingKey }) => Effect.succeed(routingKey),
    ConnectionBlocked: ({ description }) => Effect.succeed(description)
  })
)).is<Effect.Effect<string | number, AmqpError.AmqpChannelError>>()
// @ts-expect-error a channel error has no such reason
declared.pipe(Effect.catchReason("AmqpChannelError", "Nonsense", () => Effect.succeed(1)))

declare const published: Effect.Effect<void, AmqpError.AmqpPublishError>
published.pipe(
  Effect.catchReason(
    "AmqpPublishError",
    "Returned",
    (reason) => Effect.sync(() => typeOf(reason).is<AmqpError.Returned>())
  )
)

// -----------------------------------------------------------------------------
// the defaults of a publisher
// -----------------------------------------------------------------------------

AmqpPublisher.make({ defaults: { deliveryMode: "persistent", mandatory: true, headers: { source: "orders" } } })
// @ts-expect-error a default delivery mode is a word
AmqpPublisher.make({ defaults: { deliveryMode: 2 } })
// @ts-expect-error a message id can't be a default
AmqpPublisher.make({ defaults: { messageId: "1" } })
// @ts-expect-error no property has this name
AmqpPublisher.make({ defaults: { delivery_mode: "persistent" } })
