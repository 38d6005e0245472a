import * as net from "node:net"
import * as tls from "node:tls"

/**
 * Opens and closes an AMQP 0-9-1 connection with its own codec. Finding a broker must not depend on the client under test: a
 * broken client has to fail tests, not to look like a missing broker.
 */

const protocolHeader = Buffer.from("AMQP\0\0\x09\x01", "latin1")

const shortString = (text: string): Buffer => {
  const bytes = Buffer.from(text)
  return Buffer.concat([Buffer.of(bytes.length), bytes])
}

const longString = (text: string): Buffer => {
  const bytes = Buffer.from(text)
  const size = Buffer.alloc(4)
  size.writeUInt32BE(bytes.length)
  return Buffer.concat([size, bytes])
}

/** A method frame of the connection class (10) on channel 0. */
const methodFrame = (methodId: number, ...args: ReadonlyArray<Buffer>): Buffer => {
  const payload = Buffer.concat([Buffer.of(0, 10, 0, methodId), ...args])
  const head = Buffer.alloc(7)
  head.writeUInt8(1, 0)
  head.writeUInt32BE(payload.length, 3)
  return Buffer.concat([head, payload, Buffer.of(206)])
}

const emptyTable = Buffer.alloc(4)

/** The version in the server properties of `connection.start`. */
const versionIn = (start: Buffer): string => {
  const key = Buffer.from("\x07versionS", "latin1")
  const at = start.indexOf(key)
  if (at < 0) return "of unknown version"
  const length = start.readUInt32BE(at + key.length)
  return start.subarray(at + key.length + 4).subarray(0, length).toString()
}

/**
 * Returns the broker's version. Fails with an `Error` that names the step at which the broker, or another server, failed.
 */
export const probe = (url: string, timeoutMillis = 5_000): Promise<string> => {
  const { hostname, pathname, port, protocol, username, password } = new URL(url)
  const host = hostname.replace(/^\[|\]$/g, "") || "localhost"
  const secure = protocol === "amqps:"
  const virtualHost = decodeURIComponent(pathname.slice(1)) || "/"
  const credentials = `\0${decodeURIComponent(username) || "guest"}\0${decodeURIComponent(password) || "guest"}`

  return new Promise((resolve, reject) => {
    const options = { host, port: Number(port) || (secure ? 5671 : 5672) }
    const socket = secure
      ? tls.connect({ ...options, servername: net.isIP(host) === 0 ? host : "" })
      : net.connect(options)
    let step = "the connection"
    let version = ""
    let pending = Buffer.alloc(0)

    const finish = (problem?: string) => {
      clearTimeout(timer)
      socket.destroy()
      if (problem === undefined) resolve(version)
      else reject(new Error(`no AMQP 0-9-1 broker at ${options.host}:${options.port}: ${problem}`))
    }
    const timer = setTimeout(() => finish(`no answer to ${step} within ${timeoutMillis} ms`), timeoutMillis)

    const onMethod = (methodId: number, args: Buffer) => {
      switch (methodId) {
        case 10: // start
          step = "the login"
          version = versionIn(args)
          socket.write(methodFrame(11, emptyTable, shortString("PLAIN"), longString(credentials), shortString("en_US")))
          return
        case 30: // tune, accepted unchanged
          step = `opening the virtual host ${virtualHost}`
          socket.write(methodFrame(31, args))
          socket.write(methodFrame(40, shortString(virtualHost), shortString(""), Buffer.of(0)))
          return
        case 41: // open-ok
          step = "connection.close"
          socket.write(methodFrame(50, Buffer.of(0, 200), shortString("probe done"), Buffer.alloc(4)))
          return
        case 50: // close
          return finish(args.subarray(3, 3 + args.readUInt8(2)).toString())
        case 51: // close-ok
          return finish()
      }
    }

    socket.on(secure ? "secureConnect" : "connect", () => {
      step = "the protocol header"
      socket.write(protocolHeader)
    })
    socket.on("data", (chunk) => {
      pending = Buffer.concat([pending, chunk])
      while (pending.length >= 7) {
        if (pending.readUInt8(0) !== 1) return finish("it uses another protocol")
        const end = 7 + pending.readUInt32BE(3) + 1
        if (pending.length < end) return
        onMethod(pending.readUInt16BE(9), pending.subarray(11, end - 1))
        pending = pending.subarray(end)
      }
    })
    socket.on("error", (error) => finish(error.message || String(error)))
    socket.on("close", () => finish(`it closed the socket at ${step}`))
  })
}
