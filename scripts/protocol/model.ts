/**
 * Parses the tables into the model that code is generated from, and rejects a table that is inconsistent.
 */

export type FieldType = "bit" | "octet" | "short" | "long" | "longlong" | "shortstr" | "longstr" | "text" | "table"

export interface Field {
  /** The name in the specification: `routing-key`. */
  readonly name: string
  /** The name in the code: `routingKey`. */
  readonly property: string
  readonly type: FieldType
  readonly reserved: boolean
}

export interface Method {
  /** `queue.declare-ok` */
  readonly tag: string
  /** `QueueDeclareOk` */
  readonly typeName: string
  readonly classId: number
  readonly methodId: number
  readonly sender: "client" | "server" | "both"
  readonly content: boolean
  /** The tags of its replies. */
  readonly replies: ReadonlyArray<string>
  readonly fields: ReadonlyArray<Field>
}

const fieldTypes = ["bit", "octet", "short", "long", "longlong", "shortstr", "longstr", "text", "table"]

const camelCase = (name: string): string => name.replaceAll(/-(.)/g, (_, letter: string) => letter.toUpperCase())

const pascalCase = (name: string): string =>
  name.split(/[.-]/).map((word) => word[0].toUpperCase() + word.slice(1)).join("")

const isFieldType = (type: string): type is FieldType => fieldTypes.includes(type)

const parseField = (text: string): Field => {
  const [name = "", type = ""] = text.split(":")
  if (!isFieldType(type)) throw new Error(`"${text}" is not name:type`)
  return { name, property: camelCase(name), type, reserved: name.startsWith("reserved") }
}

const words = (text: string): Array<string> => text.split(/\s+/).filter((word) => word !== "")

export const parseFields = (text: string): ReadonlyArray<Field> => words(text).map(parseField)

const parseMethod = (line: string): Method => {
  const match = /^(\S+)\s+(\d+)\.(\d+)\s+(client|server|both)(\s+content)?\s*(?:->([^|]*))?\|(.*)$/.exec(line)
  if (match === null) throw new Error(`not a method: ${line}`)
  const [, tag = "", classId, methodId, sender = "", content, replies = "", fields = ""] = match
  return {
    tag,
    typeName: pascalCase(tag),
    classId: Number(classId),
    methodId: Number(methodId),
    sender: sender === "client" || sender === "server" ? sender : "both",
    content: content !== undefined,
    replies: words(replies).map((reply) => `${tag.split(".")[0]}.${reply}`),
    fields: parseFields(fields)
  }
}

export const parseMethods = (table: string): ReadonlyArray<Method> => {
  const methods = table.split("\n").filter((line) => line.trim() !== "").map(parseMethod)
  const tags = new Set(methods.map((method) => method.tag))
  const ids = new Set(methods.map((method) => `${method.classId}.${method.methodId}`))
  if (tags.size !== methods.length || ids.size !== methods.length) throw new Error("a method or an id is duplicated")
  for (const reply of methods.flatMap((method) => method.replies)) {
    if (!tags.has(reply)) throw new Error(`the reply ${reply} is not a method`)
  }
  return methods
}
