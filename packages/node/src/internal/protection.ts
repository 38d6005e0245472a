/** How well the connection of a URI is protected. */
import type { TransportProtection } from "@effect-amqp/core/AmqpConnection"
import type { AmqpUri } from "@effect-amqp/core/AmqpUri"
import * as net from "node:net"

/** Host and port, for logs and errors. */
export const addressOf = ({ host, port }: AmqpUri): string => `${host.includes(":") ? `[${host}]` : host}:${port}`

const loopback = new net.BlockList()
loopback.addSubnet("127.0.0.0", 8, "ipv4")
loopback.addAddress("::1", "ipv6")

/** Whether a host is this machine: an address of RFC 1122 or RFC 4291, or a name that RFC 6761 reserves for it. */
export const isLoopback = (host: string): boolean => {
  const family = net.isIP(host)
  return family === 0
    ? /^(?:.+\.)?localhost\.?$/i.test(host)
    : loopback.check(host, family === 4 ? "ipv4" : "ipv6")
}

/** How well a connection to the broker of this URI protects a password. */
export const protectionOf = (
  uri: AmqpUri,
  acceptsAnyCertificate = uri.tls?.dangerouslyAcceptAnyCertificate === true
): TransportProtection => {
  const peer = addressOf(uri)
  const isEncrypted = uri.tls !== undefined
  if (isLoopback(uri.host)) return { peer, level: "Local", isEncrypted }
  if (!isEncrypted) return { peer, level: "None", isEncrypted }
  return { peer, level: acceptsAnyCertificate ? "Unverified" : "Verified", isEncrypted }
}
