/**
 * A client that shares no code with this project: it sends anything, valid or not, and reports everything that arrives.
 */
import * as net from "node:net"
import type { ChannelName, ConnectionName } from "./operations.ts"
import { channels } from "./operations.ts"
import { decodeHeader, decodeMethod, encodeMethod } from "./wire.ts"
import type { Received } from "./wire.ts"

/** The address of a broker, and the login. */
export interface Endpoint {
  readonly host: string
  readonly port: number
  readonly username: string
  readonly password: string
  readonly virtualHost: string
}

/** A method that arrived, with its message. */
export interface Arrival {
  /** Absent if it concerns the whole connection. */
  readonly channel: ChannelName | undefined
  readonly method: Received
  /** The body and the properties as text. */
  readonly message?: { readonly body: string; readonly properties: string }
}

export interface Listener {
  /** Called in the order of arrival. */
  readonly onArrival: (arrival: Arrival) => void
  /** `how` describes the end of the connection. */
  readonly onEnd: (how: string) => void
  /** Called once, with the product and version of the broker: `RabbitMQ 3.10.8`. */
  readonly onOpen?: (product: string) => void
}

const closed = "the broker closed the socket"

const carriesMessage = new Set(["basic.deliver", "basic.return", "basic.get-ok"])

interface Unfinished {
  readonly method: Received
  properties: string
  bodySize: number
  readonly body: Array<Buffer>
}

/** One connection. It replies to closes of channels and of the connection, and to nothing else. */
export class WireClient {
  private readonly name: ConnectionName
  private readonly listener: Listener
  private readonly endpoint: Endpoint
  private readonly socket: net.Socket
  private bytes = Buffer.alloc(0)
  private readonly unfinished = new Map<number, Unfinished>()
  private readonly openChannels = new Set<ChannelName>()
  private product = ""
  /** Whether methods can be sent. */
  isOpen = false
  hasEnded = false
  /** When something arrived last, by the monotonic clock. */
  lastArrival = performance.now()

  constructor(name: ConnectionName, endpoint: Endpoint, listener: Listener) {
    this.name = name
    this.endpoint = endpoint
    this.listener = listener
    this.socket = net.connect({ host: endpoint.host, port: endpoint.port, noDelay: true })
    this.socket.write("AMQP\0\0\x09\x01", "latin1")
    this.socket.on("data", (bytes) => {
      this.lastArrival = performance.now()
      this.bytes = Buffer.concat([this.bytes, bytes])
      this.readFrames()
    })
    // Unread bytes may turn a close into a reset.
    this.socket.on(
      "error",
      (error: NodeJS.ErrnoException) =>
        this.end(error.code === "ECONNRESET" || error.code === "EPIPE" ? closed : error.message)
    )
    this.socket.on("close", () => this.end(closed))
  }

  isChannelOpen(channel: ChannelName): boolean {
    return this.isOpen && this.openChannels.has(channel)
  }

  send(bytes: Buffer): void {
    if (!this.hasEnded) this.socket.write(bytes)
  }

  /** Ends the connection without a close. */
  cut(): void {
    this.hasEnded = true
    this.isOpen = false
    this.socket.destroy()
  }

  private end(how: string): void {
    if (this.hasEnded) return
    this.cut()
    this.listener.onEnd(how)
  }

  // ---------------------------------------------------------------------------
  // frames
  // ---------------------------------------------------------------------------

  private readFrames(): void {
    while (this.bytes.length >= 7 && !this.hasEnded) {
      const size = this.bytes.readUInt32BE(3)
      if (this.bytes.length < size + 8) return
      const type = this.bytes.readUInt8(0)
      const channel = this.bytes.readUInt16BE(1)
      const payload = this.bytes.subarray(7, 7 + size)
      const isWhole = this.bytes.readUInt8(7 + size) === 0xce
      this.bytes = this.bytes.subarray(8 + size)
      if (!isWhole) return this.end("the broker sent a frame without its end")
      try {
        this.readFrame(type, channel, payload)
      } catch (error) {
        return this.end(error instanceof Error ? error.message : String(error))
      }
    }
  }

  private readFrame(type: number, channel: number, payload: Buffer): void {
    if (type === 8) return
    if (type === 1) {
      const method = decodeMethod(payload)
      if (!carriesMessage.has(method.name)) return this.readMethod(channel, method)
      this.unfinished.set(channel, { method, properties: "", bodySize: -1, body: [] })
      return
    }
    const unfinished = this.unfinished.get(channel)
    if (unfinished === undefined) throw new Error("the broker sent content without its method")
    if (type === 2) Object.assign(unfinished, decodeHeader(payload))
    else unfinished.body.push(payload)
    const body = Buffer.concat(unfinished.body)
    if (body.length < unfinished.bodySize) return
    this.unfinished.delete(channel)
    this.arrive(channel, unfinished.method, {
      body: JSON.stringify(body.toString()),
      properties: unfinished.properties
    })
  }

  private readMethod(channel: number, method: Received): void {
    switch (method.name) {
      case "connection.start":
        this.product = `${textIn(method, "product")} ${textIn(method, "version")}`
        this.send(encodeMethod(0, "connection.start-ok", {
          clientProperties: {
            capabilities: {
              "basic.nack": true,
              consumer_cancel_notify: true,
              publisher_confirms: true,
              exchange_exchange_bindings: true,
              "connection.blocked": true,
              authentication_failure_close: true,
              per_consumer_qos: true,
              direct_reply_to: true
            }
          },
          mechanism: "PLAIN",
          response: `\0${this.endpoint.username}\0${this.endpoint.password}`,
          locale: "en_US"
        }))
        return
      case "connection.tune":
        this.send(Buffer.concat([
          encodeMethod(0, "connection.tune-ok", {
            channelMax: method.number("channelMax"),
            frameMax: method.number("frameMax"),
            heartbeat: 0
          }),
          encodeMethod(0, "connection.open", { virtualHost: this.endpoint.virtualHost })
        ]))
        return
      case "connection.open-ok":
        this.isOpen = true
        this.listener.onOpen?.(this.product)
        return
      case "channel.open-ok":
        this.openChannels.add(this.channelName(channel))
        break
      case "channel.close":
        this.openChannels.delete(this.channelName(channel))
        this.unfinished.delete(channel)
        this.send(encodeMethod(channel, "channel.close-ok"))
        break
      case "channel.close-ok":
        this.openChannels.delete(this.channelName(channel))
        break
      case "connection.close":
        this.isOpen = false
        this.send(encodeMethod(0, "connection.close-ok"))
        break
      case "connection.close-ok":
        this.isOpen = false
    }
    this.arrive(channel, method)
  }

  private arrive(channel: number, method: Received, message?: Arrival["message"]): void {
    this.listener.onArrival({
      channel: channel === 0 ? undefined : this.channelName(channel),
      method,
      ...(message === undefined ? {} : { message })
    })
  }

  private channelName(number: number): ChannelName {
    // The entries of the record of channels.
    const entries = Object.entries(channels) as ReadonlyArray<[ChannelName, typeof channels[ChannelName]]>
    const found = entries.find(([, channel]) => channel.connection === this.name && channel.number === number)
    if (found === undefined) throw new Error(`the broker sent a frame for channel ${number}, which was never opened`)
    return found[0]
  }
}

/** A text value of the server properties. */
const textIn = (start: Received, name: string): string =>
  new RegExp(`\\b${name}=S:"([^"]*)"`).exec(start.text("serverProperties"))?.[1] ?? ""
