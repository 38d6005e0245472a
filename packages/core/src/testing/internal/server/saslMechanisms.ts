/** The SASL mechanisms that the broker offers. */
import { ByteReader } from "../../../protocol/ByteReader.ts"
import { decodeTable } from "../../../protocol/fieldTable.ts"
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import { ProtocolError } from "../../../protocol/ProtocolError.ts"

export interface Login {
  readonly username: string
  readonly password: string
}

const text = new TextDecoder()

/** By their names in `connection.start`. They return `undefined` for a malformed response. */
export const mechanisms: ReadonlyMap<string, (response: Uint8Array) => Login | undefined> = new Map([
  ["PLAIN", (response: Uint8Array) => {
    // RFC 4616: an authorization identity, which RabbitMQ requires to be empty, the user and the password.
    const [identity, username, password, ...rest] = text.decode(response).split("\0")
    return identity === "" && password !== undefined && rest.length === 0 ? { username, password } : undefined
  }],
  ["AMQPLAIN", (response: Uint8Array) => {
    const { LOGIN, PASSWORD } = tableWithoutLength(response) ?? {}
    return typeof LOGIN === "string" && typeof PASSWORD === "string"
      ? { username: LOGIN, password: PASSWORD }
      : undefined
  }]
])

const tableWithoutLength = (bytes: Uint8Array): FieldTable | undefined => {
  const table = new Uint8Array(4 + bytes.length)
  new DataView(table.buffer).setUint32(0, bytes.length)
  table.set(bytes, 4)
  const reader = new ByteReader()
  reader.reset(table)
  try {
    return decodeTable(reader)
  } catch (error) {
    if (error instanceof ProtocolError) return undefined
    throw error
  }
}
