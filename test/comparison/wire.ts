/** Methods and content headers as bytes and as text, by the definitions in amqplib. */
import { createRequire } from "node:module"
import * as path from "node:path"
import { encodeFields, encodeShortString, Reader, showBytes } from "./fields.ts"
import type { Fields } from "./fields.ts"

type ArgumentType = "octet" | "short" | "long" | "longlong" | "timestamp" | "shortstr" | "longstr" | "bit" | "table"

interface Argument {
  readonly name: string
  readonly type: ArgumentType
  readonly default?: unknown
}

/** The definition of a method, or of the properties of a message. */
interface Definition {
  readonly id: number
  readonly name: string
  readonly args: ReadonlyArray<Argument>
}

const require = createRequire(import.meta.url)

// The package does not export this file. The types are those that it generates from `amqp-rabbitmq-0.9.1.json`.
const definitions = require(
  path.join(path.dirname(require.resolve("amqplib")), "lib", "defs.js")
) as Readonly<Record<string, Definition>>

/** `QueueDeclareOk` is `queue.declare-ok`. */
const specificationName = (name: string): string =>
  name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`).slice(1).replace("-", ".")

const methods = Object.entries(definitions)
  .filter(([key]) => key.startsWith("methodInfo"))
  .map(([, definition]) => ({ ...definition, name: specificationName(definition.name) }))

const methodsById = new Map(methods.map((method) => [method.id, method]))

const methodsByName = new Map(methods.map((method) => [method.name, method]))

const properties = definitions["propertiesInfoBasicProperties"]

/** Bytes in hexadecimal, for a name that is not valid UTF-8. */
export interface Bytes {
  readonly bytes: string
}

/** The arguments of a method, or properties. Missing ones are empty, zero or false. */
export type Arguments = Readonly<Record<string, string | number | boolean | Bytes | Fields | undefined>>

const isBytes = (value: object): value is Bytes => "bytes" in value && Object.keys(value).length === 1

const bytesOf = (value: unknown): Buffer =>
  typeof value === "object" && value !== null && isBytes(value)
    ? Buffer.from(value.bytes, "hex")
    : Buffer.from(typeof value === "string" ? value : "")

const integer = (size: number, value: unknown): Buffer => {
  const bytes = Buffer.alloc(size)
  if (size === 8) bytes.writeBigUInt64BE(BigInt(Number(value ?? 0)))
  else bytes.writeUIntBE(Number(value ?? 0), 0, size)
  return bytes
}

const encodeArgument = (type: ArgumentType, value: unknown): Buffer => {
  switch (type) {
    case "octet":
    case "bit":
      return integer(1, value)
    case "short":
      return integer(2, value)
    case "long":
      return integer(4, value)
    case "longlong":
    case "timestamp":
      return integer(8, value)
    case "shortstr":
      return encodeShortString(bytesOf(value))
    case "longstr":
      return Buffer.concat([integer(4, bytesOf(value).length), bytesOf(value)])
    case "table":
      // A plan has a table here.
      return encodeFields((value ?? {}) as Fields)
  }
}

const frame = (type: number, channel: number, payload: Buffer): Buffer =>
  Buffer.concat([integer(1, type), integer(2, channel), integer(4, payload.length), payload, Buffer.of(0xce)])

/** The frame of a method. Consecutive bits share a byte. */
export const encodeMethod = (channel: number, name: string, values: Arguments = {}): Buffer => {
  const method = methodsByName.get(name)
  if (method === undefined) throw new RangeError(`no method ${name}`)
  const unknown = Object.keys(values).find((key) => method.args.every(({ name }) => name !== key))
  if (unknown !== undefined) throw new RangeError(`${name} has no ${unknown}`)
  const parts = [integer(4, method.id)]
  let bits: Array<boolean> = []
  const endBits = (): void => {
    if (bits.length > 0) parts.push(Buffer.of(bits.reduce((byte, bit, index) => byte | (bit ? 1 << index : 0), 0)))
    bits = []
  }
  for (const { name, type } of method.args) {
    if (type === "bit") bits.push(values[name] === true)
    else {
      endBits()
      parts.push(encodeArgument(type, values[name]))
    }
  }
  endBits()
  return frame(1, channel, Buffer.concat(parts))
}

/** The frames of a content header and a body. An empty body has no frame. */
export const encodeContent = (channel: number, values: Arguments, body: Buffer): Buffer => {
  const present = properties.args.map(({ name }) => values[name] !== undefined)
  const flags = present.reduce((flags, isPresent, index) => flags | (isPresent ? 1 << (15 - index) : 0), 0)
  const header = Buffer.concat([
    integer(2, properties.id),
    integer(2, 0),
    integer(8, body.length),
    integer(2, flags),
    ...properties.args.filter((_, index) => present[index])
      .map(({ name, type }) => encodeArgument(type, values[name]))
  ])
  const frames = [frame(2, channel, header)]
  if (body.length > 0) frames.push(frame(3, channel, body))
  return Buffer.concat(frames)
}

/** A method from the broker, with access to its arguments by name. */
export interface Received {
  readonly name: string
  readonly number: (argument: string) => number
  readonly bit: (argument: string) => boolean
  readonly text: (argument: string) => string
  /** All arguments: `queue="q0" messageCount=1`. */
  readonly shown: ReadonlyMap<string, string>
}

const decodeArguments = (definition: Definition, reader: Reader, isPresent: (index: number) => boolean) => {
  const texts = new Map<string, string>()
  const shown = new Map<string, string>()
  const add = (name: string, text: string, show = text): void => {
    texts.set(name, text)
    shown.set(name, show)
  }
  let bits = 0
  let bit = 8
  for (const [index, { name, type }] of definition.args.entries()) {
    if (type !== "bit") bit = 8
    if (!isPresent(index)) continue
    switch (type) {
      case "bit":
        if (bit === 8) {
          bits = reader.unsigned(1)
          bit = 0
        }
        add(name, String((bits & (1 << bit++)) !== 0))
        break
      case "octet":
        add(name, String(reader.unsigned(1)))
        break
      case "short":
        add(name, String(reader.unsigned(2)))
        break
      case "long":
        add(name, String(reader.unsigned(4)))
        break
      case "longlong":
      case "timestamp":
        add(name, String(reader.unsignedLong()))
        break
      case "shortstr":
      case "longstr": {
        const bytes = type === "shortstr" ? reader.shortString() : reader.longString()
        add(name, bytes.toString(), showBytes(bytes))
        break
      }
      case "table":
        add(name, reader.table())
    }
  }
  return { texts, shown }
}

/** Reads the payload of a method frame. */
export const decodeMethod = (payload: Buffer): Received => {
  const reader = new Reader(payload)
  const id = reader.unsigned(4)
  const method = methodsById.get(id)
  if (method === undefined) throw new RangeError(`the broker sent the method ${id >> 16}, ${id & 0xffff}`)
  const { shown, texts } = decodeArguments(method, reader, () => true)
  const text = (argument: string): string => texts.get(argument) ?? ""
  return {
    name: method.name,
    number: (argument) => Number(text(argument)),
    bit: (argument) => text(argument) === "true",
    text,
    shown
  }
}

/** Reads the payload of a content header: the size of the body, and the properties as text. */
export const decodeHeader = (payload: Buffer): { readonly bodySize: number; readonly properties: string } => {
  const reader = new Reader(payload)
  reader.take(4)
  const bodySize = Number(reader.unsignedLong())
  const flags = reader.unsigned(2)
  const { shown } = decodeArguments(properties, reader, (index) => (flags & (1 << (15 - index))) !== 0)
  return { bodySize, properties: [...shown].map(([name, text]) => `${name}=${text}`).join(" ") }
}
