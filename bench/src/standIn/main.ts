/**
 * The stand-in: a server that accepts AMQP clients and needs less CPU time than any of them, so that the client is the limit, and not the
 * broker. It counts messages and does not keep them, confirms all that arrived in a read at once, and delivers copies of the
 * first message of a queue. Prints its port; ends when its standard input ends.
 */
import * as net from "node:net"
import { Connection } from "./connection.ts"
import { Queues } from "./queues.ts"

const queues = new Queues()
const server = net.createServer({ noDelay: true }, (socket) => new Connection(socket, queues))
server.listen(0, "127.0.0.1", () => {
  const address = server.address()
  if (address === null || typeof address === "string") throw new Error("not a TCP server")
  process.stdout.write(`${address.port}\n`)
})
process.stdin.resume()
process.stdin.on("end", () => process.exit(0))
