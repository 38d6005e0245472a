/**
 * Envelopes: schemas of whole messages, which say what properties, headers and body a message has, and make one value of them.
 *
 * An envelope stands wherever a schema of a body does: in `AmqpMessage.schema`, `AmqpMessage.decode` and `AmqpDelivery.handleDecoded`,
 * and so in whatever handles messages.
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
 * A schema of whole messages; {@link make} and {@link fromSchema} make one.
 *
 * @category models
 * @since 0.1.0
 */
export interface AmqpEnvelope<out S extends Schema.Constraint> {
  readonly [TypeId]: typeof TypeId
  /** From the {@link Parts} of a message to the value, and back. */
  readonly schema: S
  /** Whether the schema is about the body too. If not, the body of a message is not looked at. */
  readonly hasBody: boolean
  /** The type of the value. It is only a type, as those below. */
  readonly Type: S["Type"]
  /** What decoding needs. */
  readonly DecodingServices: S["DecodingServices"]
  /** What encoding needs. */
  readonly EncodingServices: S["EncodingServices"]
}

/**
 * The parts of a message as a schema sees them: what is not set is absent, no headers are `{}`, and the body is its JSON.
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
 * The properties of a message without its headers, which are a part of their own.
 *
 * @category models
 * @since 0.1.0
 */
export interface PropertyParts extends Omit<Properties, "headers"> {}

/**
 * A schema whose encoded side is part of a message.
 *
 * @category models
 * @since 0.1.0
 */
export type SchemaOf<Encoded> = Schema.Constraint & { readonly Encoded: Encoded }

/**
 * The schemas of the parts that are given, as the fields of a struct. That of the body is its JSON codec.
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
 * An envelope of schemas of the parts: the value is an object with a value for each part that is given.
 *
 * **Details**
 *
 * - `properties` sees `AmqpMessage.Properties` without the headers: a `timestamp` is a `Date`, an `expiration` a `Duration`.
 * - `headers` sees the values as they are in `AmqpMessage.FieldTable`: numbers, texts, dates and so on.
 * - `body` is the JSON of `Schema.toCodecJson`, as with `AmqpMessage.schema`. Without it the body is not looked at when a message
 *   is read, and empty when one is made.
 *
 * A message may have more headers and properties than the schemas name.
 *
 * **Gotchas**
 *
 * A header that is a bigint comes back as a number when it is a safe integer, and a date in whole seconds, as AMQP keeps no more.
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
  // These are the fields that the type computes, which the compiler can't see.
  return new Envelope(Schema.Struct(fields as unknown as Fields<{ properties: P; headers: H; body: B }>))
}

/** Whether what a schema calls properties are some: to the compiler, others are just more than is needed. */
type NamesOnly<P extends Schema.Constraint> = Exclude<keyof P["Encoded"], keyof PropertyParts> extends never ? unknown
  : { readonly NoPropertyHasThisName: Exclude<keyof P["Encoded"], keyof PropertyParts> }

/**
 * An envelope of one schema, whose encoded side are the {@link Parts} of a message. So what combines schemas combines envelopes:
 * `Schema.decodeTo` makes a flat value of the parts, `Schema.Union` takes messages of several types.
 *
 * **Details**
 *
 * The `schema` of an envelope that {@link make} made is one to begin with. In others, `Schema.toCodecJson` gives the body of a
 * schema that has more than JSON on its encoded side. The body is looked at, and has to be JSON, when any member has one.
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
 * Whether it is an envelope, and no schema of a body.
 *
 * @category guards
 * @since 0.1.0
 */
export const isEnvelope = (value: unknown): value is AmqpEnvelope<Schema.Constraint> =>
  Predicate.hasProperty(value, TypeId)
