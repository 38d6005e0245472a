/** Decodes received messages with schemas: their bodies, or all their parts. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as SchemaIssue from "effect/SchemaIssue"
import type { AmqpDecodeError } from "../../AmqpError.ts"
import type { Content, DecodeOptions } from "../../AmqpMessage.ts"
import * as Decoding from "./contentChecks.ts"

type Decoder<S extends Schema.Constraint> = (
  message: Content
) => Effect.Effect<S["Type"], AmqpDecodeError, S["DecodingServices"]>

export const ofBody = <S extends Schema.Constraint>(schema: S, options: DecodeOptions): Decoder<S> => {
  const decode = Schema.decodeUnknownEffect(Schema.toCodecJson(schema))
  const decodeBody = (body: Uint8Array) =>
    Effect.mapError(
      decode(Decoding.parseJson(body)),
      ({ message }) => Decoding.failure("Schema", "body", message)
    )
  return (message) => Decoding.attempt(() => withBody(message, options, decodeBody))
}

/** The schema of an envelope decodes an object of properties, headers and, if it includes the body, its JSON. */
export const ofParts = <S extends Schema.Constraint>(
  { hasBody, schema }: { readonly hasBody: boolean; readonly schema: S },
  options: DecodeOptions
): Decoder<S> => {
  const decode = Schema.decodeUnknownEffect(schema)
  const decodeParts = (parts: object) =>
    Effect.mapError(
      decode(parts),
      ({ issue, message }) => Decoding.failure("Schema", partOf(issue) ?? "message", message)
    )
  return (message) =>
    Decoding.attempt(() => {
      const { headers = {}, ...properties } = Decoding.propertiesOf(message)
      const parts = { properties: present(properties), headers }
      return hasBody
        ? withBody(message, options, (body) => decodeParts({ ...parts, body: Decoding.parseJson(body) }))
        : decodeParts(parts)
    })
}

/** Checks that the properties describe JSON, decompresses the body if requested and needed, and decodes it. */
const withBody = <A, R>(
  message: Content,
  options: DecodeOptions,
  decode: (body: Uint8Array) => Effect.Effect<A, AmqpDecodeError, R>
): Effect.Effect<A, AmqpDecodeError, R> => {
  const { checkContentType = true, decompress = false } = options
  if (checkContentType) Decoding.checkIsJson(Decoding.propertiesOf(message))
  if (decompress) {
    const compression = Decoding.compressionOf(Decoding.propertiesOf(message))
    if (compression !== undefined) {
      return Effect.flatMap(
        Decoding.decompress(message.body, compression, options),
        (body) => Decoding.attempt(() => decode(body))
      )
    }
  } else if (checkContentType) Decoding.checkIsPlain(Decoding.propertiesOf(message))
  return decode(message.body)
}

/** To a schema, a key that is `undefined` is not absent. */
const present = (properties: object): object =>
  Object.fromEntries(Object.entries(properties).filter(([, value]) => value !== undefined))

type Part = AmqpDecodeError["part"]

const parts: ReadonlySet<PropertyKey> = new Set<Part>(["properties", "headers", "body"])

const isPart = (key: PropertyKey): key is Part => parts.has(key)

/** The part that an issue is about, if it is only one. */
const partOf = (issue: SchemaIssue.Issue): Part | undefined => {
  switch (issue._tag) {
    case "Pointer":
      return isPart(issue.path[0]) ? issue.path[0] : undefined
    case "Filter":
    case "Encoding":
      return partOf(issue.issue)
    case "Composite":
    case "AnyOf": {
      const [first, ...others] = issue.issues.map(partOf)
      return others.every((part) => part === first) ? first : undefined
    }
    default:
      return undefined
  }
}
