/**
 * Envelopes: schemas of whole messages, that is, of properties, headers and body together.
 *
 * An envelope can be used wherever a schema of a body can: in `AmqpMessage.schema`, `AmqpMessage.decode` and
 * `AmqpDelivery.handleDecoded`.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import type { Properties } from "./AmqpMessage.ts"
import type { FieldTable } from "./protocol/fieldTable.ts"

const TypeId = "~@effect-amqp/core/AmqpEnvelope"

/**
 * A schema of whole messages, made by {@link make} or {@link fromSchema}.
 *
 * @category models
 * @since 0.1.0
 */
export interface AmqpEnvelope<out S extends Schema.Constraint> {
  readonly [TypeId]: typeof TypeId
  /** Decodes the {@link Parts} of a message to the value, and encodes the value to them. */
  readonly schema: S
  /** Whether the schema includes the body. If not, the body of a message is ignored. */
  readonly hasBody: boolean
  /** The type of the value. It exists only as a type, like the two below. */
  readonly Type: S["Type"]
  /** The services that decoding needs. */
  readonly DecodingServices: S["DecodingServices"]
  /** The services that encoding needs. */
  readonly EncodingServices: S["EncodingServices"]
}

/**
 * The parts of a message that a schema decodes: properties that are not set are absent, missing headers are `{}`, and
 * the body is its JSON.
 *
 * @category models
 * @since 0.1.0
 */
export interface Parts {
  readonly properties?: PropertyParts
  readonly headers?: FieldTable
  readonly body?: Schema.Json
}

/**
 * The properties of a message without its headers, which are a separate part.
 *
 * @category models
 * @since 0.1.0
 */
export interface PropertyParts extends Omit<Properties, "headers"> {}

/**
 * A schema whose encoded side is a part of a message.
 *
 * @category models
 * @since 0.1.0
 */
export type SchemaOf<Encoded> = Schema.Constraint & { readonly Encoded: Encoded }

/**
 * The schemas of the given parts, as the fields of a struct. That of the body is its JSON codec.
 *
 * @category models
 * @since 0.1.0
 */
export type Fields<Given extends Readonly<Record<string, Schema.Constraint>>> = {
  readonly [Part in keyof Given as [Given[Part]] extends [never] ? never : Part]: Part extends "body"
    ? Schema.toCodecJson<Given[Part]>
    : Given[Part]
}

class Envelope<out S extends Schema.Constraint> implements AmqpEnvelope<S> {
  declare readonly Type: S["Type"]
  declare readonly DecodingServices: S["DecodingServices"]
  declare readonly EncodingServices: S["EncodingServices"]
  readonly schema: S
  readonly hasBody: boolean

  constructor(schema: S) {
    this.schema = schema
    this.hasBody = hasBody(SchemaAST.toEncoded(schema.ast))
  }

  get [TypeId](): typeof TypeId {
    return TypeId
  }
}

const hasBody = (ast: SchemaAST.AST): boolean => {
  if (SchemaAST.isUnion(ast)) return ast.types.some(hasBody)
  return !SchemaAST.isObjects(ast) || ast.propertySignatures.some(({ name }) => name === "body")
}

/**
 * Makes an envelope from schemas of the parts. The value is an object with a property for each given part.
 *
 * **Details**
 *
 * - `properties` encodes to `AmqpMessage.Properties` without the headers: a `timestamp` is a `Date`, an `expiration` a
 *   `Duration`.
 * - `headers` encodes to values of `AmqpMessage.FieldTable`: numbers, strings, dates and so on.
 * - `body` encodes to the JSON of `Schema.toCodecJson`, as with `AmqpMessage.schema`. Without it, the body is ignored
 *   when a message is decoded, and empty when one is encoded.
 *
 * A message may have more headers and properties than the schemas name.
 *
 * **Gotchas**
 *
 * A bigint header is decoded as a number if it is a safe integer, and a date in whole seconds, as AMQP stores no
 * fractions.
 *
 * **Example** (Orders of a tenant)
 *
 * ```ts
 * import { AmqpConsumer, AmqpDelivery, AmqpEnvelope, AmqpMessage } from "@effect-amqp/core"
 * import * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 *
 * const OrderPlaced = AmqpEnvelope.make({
 *   properties: Schema.Struct({ type: Schema.Literal("order.placed"), messageId: Schema.String }),
 *   headers: Schema.Struct({ tenant: Schema.String, attempt: Schema.optional(Schema.Int) }),
 *   body: Schema.Struct({ id: Schema.Int, placedAt: Schema.Date })
 * })
 *
 * const message = AmqpMessage.schema(OrderPlaced, { deliveryMode: "persistent" })({
 *   properties: { type: "order.placed", messageId: "a" },
 *   headers: { tenant: "acme" },
 *   body: { id: 1, placedAt: new Date() }
 * })
 *
 * const worker = AmqpConsumer.serve(
 *   "orders",
 *   AmqpDelivery.handleDecoded(
 *     OrderPlaced,
 *     ({ body, headers }) => Effect.as(Effect.log(headers.tenant, body.id), AmqpDelivery.ack)
 *   )
 * )
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <
  P extends SchemaOf<PropertyParts> = never,
  H extends SchemaOf<FieldTable> = never,
  B extends Schema.Constraint = never
>(parts: {
  readonly properties?: P & NamesOnly<P>
  readonly headers?: H
  readonly body?: B
}): AmqpEnvelope<Schema.Struct<Fields<{ properties: P; headers: H; body: B }>>> => {
  const { body, headers, properties } = parts
  const fields = {
    ...(properties && { properties }),
    ...(headers && { headers }),
    ...(body && { body: Schema.toCodecJson(body) })
  }
  // The compiler can't see that these are the fields that the type computes.
  return new Envelope(Schema.Struct(fields as unknown as Fields<{ properties: P; headers: H; body: B }>))
}

/** Requires names of properties: to the compiler, unknown ones would just be excess. */
type NamesOnly<P extends Schema.Constraint> = Exclude<keyof P["Encoded"], keyof PropertyParts> extends never ? unknown
  : { readonly NoPropertyHasThisName: Exclude<keyof P["Encoded"], keyof PropertyParts> }

/**
 * Makes an envelope from one schema, whose encoded side is {@link Parts}. In this way envelopes are combined as schemas
 * are: `Schema.decodeTo` makes a flat value of the parts, `Schema.Union` accepts several types of messages.
 *
 * **Details**
 *
 * The `schema` of an envelope made by {@link make} has that encoded side. In other schemas, use `Schema.toCodecJson`
 * for a body whose encoded side is not JSON. The body is decoded, and has to be JSON, if any member of a union includes
 * it.
 *
 * **Example** (Two types of events in a queue)
 *
 * ```ts
 * import { AmqpDelivery, AmqpEnvelope } from "@effect-amqp/core"
 * import * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 *
 * const Placed = AmqpEnvelope.make({
 *   properties: Schema.Struct({ type: Schema.Literal("placed") }),
 *   body: Schema.Struct({ id: Schema.Int })
 * })
 * const Cancelled = AmqpEnvelope.make({
 *   properties: Schema.Struct({ type: Schema.Literal("cancelled") }),
 *   body: Schema.Struct({ reason: Schema.String })
 * })
 *
 * const OrderEvent = AmqpEnvelope.fromSchema(Schema.Union([Placed.schema, Cancelled.schema]))
 *
 * const handle = AmqpDelivery.handleDecoded(
 *   OrderEvent,
 *   (event) => Effect.as(Effect.log(event.properties.type, event.body), AmqpDelivery.ack)
 * )
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromSchema = <S extends SchemaOf<Parts>>(schema: S): AmqpEnvelope<S> => new Envelope(schema)

/**
 * Whether a value is an envelope, and not a schema of a body.
 *
 * @category guards
 * @since 0.1.0
 */
export const isEnvelope = (value: unknown): value is AmqpEnvelope<Schema.Constraint> =>
  Predicate.hasProperty(value, TypeId)
