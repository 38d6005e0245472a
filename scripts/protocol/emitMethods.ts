/**
 * Generates the module of all methods: a type, an encoder and a decoder for each.
 */
import type { Field, FieldType, Method } from "./model.ts"

export const typeOf: Record<FieldType, string> = {
  bit: "boolean",
  octet: "number",
  short: "number",
  long: "number",
  longlong: "number | bigint",
  shortstr: "string",
  longstr: "Uint8Array",
  text: "string",
  table: "FieldTable"
}

/** Reads a field from `reader`. Bits are read by their octet. */
export const readerOf: Record<Exclude<FieldType, "bit">, string> = {
  octet: "reader.octet()",
  short: "reader.short()",
  long: "reader.long()",
  longlong: "reader.longLong()",
  shortstr: "reader.shortString()",
  longstr: "reader.longString()",
  text: "reader.longText()",
  table: "decodeTable(reader)"
}

/** Writes `value` to `writer`; `name` is its name in errors. */
export const writerOf = (type: Exclude<FieldType, "bit"> | "shorttext", value: string, name: string): string => {
  switch (type) {
    case "octet":
    case "short":
    case "long":
      return `writer.${type}(${value}, "${name}")`
    case "longlong":
      return `writer.longLong(${value}, "${name}")`
    case "shortstr":
      return `writer.shortString(${value}, "${name}")`
    case "shorttext":
      return `writer.shortText(${value}, "${name}")`
    case "longstr":
    case "text":
      return `writer.longString(${value})`
    case "table":
      return `encodeTable(writer, ${value})`
  }
}

const emptyOf: Record<Exclude<FieldType, "bit" | "table">, string> = {
  octet: "writer.octet(0)",
  short: "writer.short(0)",
  long: "writer.long(0)",
  longlong: "writer.longLong(0)",
  shortstr: "writer.octet(0)",
  longstr: "writer.long(0)",
  text: "writer.long(0)"
}

/** In strict mode no variable can be named `arguments`. */
const local = (field: Field): string => field.property === "arguments" ? "table" : field.property

const idOf = (method: Method): string => `0x${(method.classId * 65536 + method.methodId).toString(16).padStart(8, "0")}`

/** Fields in wire order, where each run of bits (at most eight: no method has more) is one element. */
const grouped = (fields: ReadonlyArray<Field>): ReadonlyArray<Field | ReadonlyArray<Field>> => {
  const groups: Array<Field | Array<Field>> = []
  for (const field of fields) {
    const last = groups.at(-1)
    if (field.type !== "bit") groups.push(field)
    else if (Array.isArray(last) && last.length < 8) last.push(field)
    else groups.push([field])
  }
  return groups
}

const isRun = (group: Field | ReadonlyArray<Field>): group is ReadonlyArray<Field> => Array.isArray(group)

const sentence = (method: Method): string => {
  const from = { client: "Client to server", server: "Server to client", both: "Either way" }[method.sender]
  const content = method.content ? ", with content" : ""
  const replies = method.replies.map((tag) => `\`${tag}\``).join(" or ")
  const answered = replies === "" ? "" : `; the reply is ${replies}`
  return `\`${method.tag}\` (${method.classId}.${method.methodId}). ${from}${content}${answered}.`
}

const emitType = (method: Method): string =>
  [
    "/**",
    ` * ${sentence(method)}`,
    " *",
    " * @category models",
    " * @since 0.1.0",
    " */",
    `export interface ${method.typeName} {`,
    `  readonly _tag: "${method.tag}"`,
    ...method.fields.filter((field) => !field.reserved).map((field) =>
      `  readonly ${field.property}: ${typeOf[field.type]}`
    ),
    "}"
  ].join("\n")

const emitEncoder = (method: Method): string => {
  const lines = grouped(method.fields).flatMap((group) => {
    if (!isRun(group)) {
      if (!group.reserved) {
        const type = isAnyText(method, group) ? "shorttext" : nonBit(group.type)
        return [writerOf(type, `method.${group.property}`, group.name)]
      }
      if (group.type === "bit" || group.type === "table") throw new Error(`${method.tag}: no reserved ${group.type}`)
      return [emptyOf[group.type]]
    }
    const bits = group.flatMap((field, index) =>
      field.reserved ? [] : [`(method.${field.property} ? ${1 << index} : 0)`]
    )
    if (bits.length === 0) return ["writer.octet(0)"]
    if (bits.length === 1) return [`writer.octet(${bits[0].slice(1, -1)})`]
    return ["writer.octet(", ...bits.map((bit, index) => `  ${bit}${index === bits.length - 1 ? "" : " |"}`), ")"]
  })
  const parameters = lines.some((line) => line.includes("method."))
    ? `writer: ByteWriter, method: ${method.typeName}`
    : "writer: ByteWriter"
  return [
    `const write${method.typeName} = (${parameters}): void => {`,
    `  writer.long(${idOf(method)})`,
    ...lines.map((line) => `  ${line}`),
    "}"
  ].join("\n")
}

/**
 * Whether a short string may be invalid UTF-8: RabbitMQ accepts any bytes in the routing key of a publish, and closes the connection
 * (501) for other names that a client sends. A server sends what it received from a client.
 */
const isAnyText = (method: Method, { name, type }: Field): boolean =>
  type === "shortstr" && (method.sender !== "client" || (method.tag === "basic.publish" && name === "routing-key"))

const nonBit = (type: FieldType): Exclude<FieldType, "bit"> => {
  if (type === "bit") throw new Error("a bit outside of a run")
  return type
}

const emitDecoder = (method: Method): string => {
  const lines: Array<string> = []
  for (const group of grouped(method.fields)) {
    if (!isRun(group)) {
      const read = readerOf[nonBit(group.type)]
      lines.push(group.reserved ? read : `const ${local(group)} = ${read}`)
    } else if (group.every((field) => field.reserved)) {
      lines.push("reader.octet()")
    } else {
      lines.push("const bits = reader.octet()")
      for (const [index, field] of group.entries()) {
        if (!field.reserved) lines.push(`const ${field.property} = (bits & ${1 << index}) !== 0`)
      }
    }
  }
  const properties = method.fields.filter((field) => !field.reserved).map((field) =>
    local(field) === field.property ? field.property : `${field.property}: ${local(field)}`
  )
  const result = `{ ${[`_tag: "${method.tag}"`, ...properties].join(", ")} }`
  if (lines.length === 0) return `const read${method.typeName} = (): ${method.typeName} => (${result})`
  return [
    `const read${method.typeName} = (reader: ByteReader): ${method.typeName} => {`,
    ...lines.map((line) => `  ${line}`),
    `  return ${result}`,
    "}"
  ].join("\n")
}

const union = (name: string, summary: string, members: ReadonlyArray<string>): string =>
  [
    "/**",
    ` * ${summary}`,
    " *",
    " * @category models",
    " * @since 0.1.0",
    " */",
    `export type ${name} =`,
    ...members.map((member) => `  | ${member}`)
  ].join("\n")

const callRead = (method: Method): string => `read${method.typeName}(${method.fields.length === 0 ? "" : "reader"})`

const callWrite = (method: Method): string =>
  `write${method.typeName}(writer${method.fields.some((field) => !field.reserved) ? ", method" : ""})`

const quoted = (tags: ReadonlyArray<string>): ReadonlyArray<string> => tags.map((tag) => `"${tag}"`)

export const emitMethods = (methods: ReadonlyArray<Method>, hot: ReadonlyArray<string>): string => {
  const types = (filter: (method: Method) => boolean) => methods.filter(filter).map((method) => method.typeName)
  // A switch tries its cases in order.
  const rank = (method: Method) => hot.includes(method.tag) ? hot.indexOf(method.tag) : hot.length
  const byHeat = methods.toSorted((a, b) => rank(a) - rank(b))
  const synchronous = methods.filter((method) => method.sender !== "server" && method.replies.length > 0)
  const synchronousSummary = "The methods of a client that have a reply (unless `noWait` is set)."
  const replyTypes = synchronous.map(({ replies, tag }) => `  readonly "${tag}": ${quoted(replies).join(" | ")}`)
  const replyLists = synchronous.map(({ replies, tag }) => `  "${tag}": [${quoted(replies).join(", ")}]`)
  const ids = methods.map(({ classId, methodId, tag }) => `  "${tag}": { classId: ${classId}, methodId: ${methodId} }`)
  const isContent = byHeat.filter((method) => method.content).map((method) => `tag === "${method.tag}"`)
  const writeCases = byHeat.map((method) => `    case "${method.tag}":\n      return ${callWrite(method)}`)
  const readCases = byHeat.map((method) => `    case ${idOf(method)}:\n      return ${callRead(method)}`)
  return `/**
 * Every method of AMQP 0-9-1 with RabbitMQ's extensions: types, encoders and decoders.
 *
 * Generated by scripts/generate-protocol.ts from scripts/protocol/table.ts; change those and run \`npm run generate\`.
 *
 * @since 0.1.0
 */
import type { ByteReader } from "./ByteReader.ts"
import type { ByteWriter } from "./ByteWriter.ts"
import { ReplyCode } from "./constants.ts"
import { decodeTable, encodeTable } from "./fieldTable.ts"
import type { FieldTable } from "./fieldTable.ts"
import { ProtocolError } from "./ProtocolError.ts"

${methods.map(emitType).join("\n\n")}

${union("Method", "Any method.", types(() => true))}

${union("ClientMethod", "The methods that a client may send.", types((method) => method.sender !== "server"))}

${union("ServerMethod", "The methods that a server may send.", types((method) => method.sender !== "client"))}

${union("AnyContentMethod", "The methods that a content header and body follow.", types((method) => method.content))}

${union("SynchronousMethod", synchronousSummary, synchronous.map((method) => method.typeName))}

/**
 * The name of a method, such as \`"queue.declare-ok"\`.
 *
 * @category models
 * @since 0.1.0
 */
export type MethodTag = Method["_tag"]

/**
 * The name of a method that has a reply.
 *
 * @category models
 * @since 0.1.0
 */
export type SynchronousTag = SynchronousMethod["_tag"]

interface Replies {
${replyTypes.join("\n")}
}

/**
 * The replies of a method.
 *
 * @category models
 * @since 0.1.0
 */
export type ReplyOf<M extends SynchronousMethod> = Extract<Method, { readonly _tag: Replies[M["_tag"]] }>

/**
 * The names of the replies, by the name of the method.
 *
 * @category constants
 * @since 0.1.0
 */
export const replyTags: { readonly [Tag in SynchronousTag]: ReadonlyArray<Replies[Tag]> } = {
${replyLists.join(",\n")}
}

/**
 * The ids of a method, by its name.
 *
 * @category constants
 * @since 0.1.0
 */
export const methodIds: { readonly [Tag in MethodTag]: { readonly classId: number; readonly methodId: number } } = {
${ids.join(",\n")}
}

const namesById: ReadonlyMap<number, string> = new Map(
  Object.entries(methodIds).map(([tag, { classId, methodId }]) => [classId * 65536 + methodId, tag])
)

/**
 * The name of a method by its ids, as \`connection.close\` and \`channel.close\` give them. For unknown ids, the ids as
 * text.
 *
 * @category constants
 * @since 0.1.0
 */
export const methodName = (classId: number, methodId: number): string =>
  namesById.get(classId * 65536 + methodId) ?? \`class \${classId} method \${methodId}\`

/**
 * Whether a content header and body follow the method of this name.
 *
 * @category constants
 * @since 0.1.0
 */
export const hasContent = (tag: MethodTag): tag is AnyContentMethod["_tag"] =>
  ${isContent.join(" || ")}

${methods.map(emitEncoder).join("\n\n")}

${methods.map(emitDecoder).join("\n\n")}

/**
 * Writes class id, method id and arguments: the payload of a method frame. Throws an \`EncodeError\` for an argument out of
 * its range.
 *
 * @category encoding
 * @since 0.1.0
 */
export const encodeMethod = (writer: ByteWriter, method: Method): void => {
  switch (method._tag) {
${writeCases.join("\n")}
  }
}

/**
 * Reads the payload of a method frame to its end. Throws a \`ProtocolError\` with code 503 for an unknown method, with 502
 * for arguments that are too short or too long.
 *
 * @category decoding
 * @since 0.1.0
 */
export const decodeMethod = (reader: ByteReader): Method => {
  const method = readMethod(reader)
  if (reader.remaining !== 0) reader.expectEnd(method._tag)
  return method
}

const readMethod = (reader: ByteReader): Method => {
  const id = reader.long()
  switch (id) {
${readCases.join("\n")}
    default:
      throw new ProtocolError({
        replyCode: ReplyCode.commandInvalid,
        message: \`there is no \${methodName(id >>> 16, id & 0xffff)}\`
      })
  }
}
`
}
