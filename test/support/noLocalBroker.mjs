// Loaded into a process before its program (`node --import`): nobody listens at port 5672 then, whatever runs on this machine.
import { Socket } from "node:net"

const connect = Socket.prototype.connect

/** A port that is never listened to: 1 is that of a protocol which nobody speaks. */
const closedPort = 1

Socket.prototype.connect = function(...args) {
  const [first] = args
  // Node passes its own, normalized arguments as an array.
  const options = Array.isArray(first) ? first[0] : first
  if (options?.port === 5672) options.port = closedPort
  return connect.apply(this, args)
}
