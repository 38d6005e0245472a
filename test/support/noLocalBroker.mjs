// Loaded into a process before its program (`node --import`), so that it finds no broker at port 5672, whatever runs there.
import { Socket } from "node:net"

const connect = Reflect.get(Socket.prototype, "connect")

/** A port on which nothing listens: port 1 is that of an obsolete protocol. */
const closedPort = 1

Socket.prototype.connect = function(...args) {
  const [first] = args
  // Node passes its normalized arguments as an array.
  const options = Array.isArray(first) ? first[0] : first
  if (options?.port === 5672) options.port = closedPort
  return connect.apply(this, args)
}
