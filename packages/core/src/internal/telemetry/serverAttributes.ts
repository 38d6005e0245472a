/**
 * Attributes of metrics and spans that identify the broker and the connection, as named by OpenTelemetry's semantic conventions.
 */
import type { SessionOptions } from "../options/sessionOptions.ts"

const peerPattern = /^(?:\[(?<address>.+)\]|(?<host>[^:]+)):(?<port>\d+)$/

/** `server.address` and `server.port` if the transport is known, and the connection's name as `messaging.client.id`. */
export const serverAttributes = (
  { clientProperties, transport }: Pick<SessionOptions, "clientProperties" | "transport">
): Readonly<Record<string, string>> => {
  const attributes: Record<string, string> = { "messaging.system": "rabbitmq" }
  if (transport !== undefined) {
    const { address, host, port } = peerPattern.exec(transport.peer)?.groups ?? {}
    attributes["server.address"] = address ?? host ?? transport.peer
    if (port !== undefined) attributes["server.port"] = port
  }
  const { connection_name: name } = clientProperties
  if (typeof name === "string") attributes["messaging.client.id"] = name
  return attributes
}
