/**
 * A connection that sends methods one by one and returns each reply as a line: for methods that the client under test would never
 * send, and for exact reply texts.
 */
import type { BasicProperties } from "@effect-amqp/core/protocol/BasicProperties"
import { ByteWriter } from "@effect-amqp/core/protocol/ByteWriter"
import { protocolHeader } from "@effect-amqp/core/protocol/constants"
import { FrameParser } from "@effect-amqp/core/protocol/FrameParser"
import { encodeHeaderFrame, encodeMethodFrame } from "@effect-amqp/core/protocol/frames"
import type { Method } from "@effect-amqp/core/protocol/methods.generated"
import * as net from "node:net"

/** A method, and for a `basic.publish` the properties of its message. */
export interface Call {
  readonly method: Method
  readonly properties?: BasicProperties
}

export class RawConnection {
  private readonly socket: net.Socket
  private readonly writer = new ByteWriter()
  private readonly received: Array<Method> = []
  private wake: () => void = () => {}
  private ended: Error | undefined
  private channel = 0
  /** The version in the server properties: `3.10.8`. */
  serverVersion = ""

  private constructor(port: number, host: string) {
    this.socket = net.connect({ port, host, noDelay: true })
    const parser = new FrameParser({
      onMethod: (_, method) => this.received.push(method),
      onHeader: () => {},
      onBody: () => {},
      onHeartbeat: () => {}
    }, { maxFrameSize: 0 })
    this.socket.on("data", (bytes) => {
      parser.push(new Uint8Array(bytes))
      this.wake()
    })
    const end = (error?: Error): void => {
      this.ended ??= error ?? new Error("the broker closed the socket")
      this.wake()
    }
    this.socket.on("error", end)
    this.socket.on("close", () => end())
  }

  /** Connects, logs in as the URL's user or `guest`, and opens a channel. The heartbeat is in seconds; the client sends none. */
  static async open(url: string, heartbeat = 0): Promise<RawConnection> {
    const { hostname, password, pathname, port, username } = new URL(url)
    const connection = new RawConnection(Number(port) || 5672, hostname)
    const credentials = `\0${decodeURIComponent(username) || "guest"}\0${decodeURIComponent(password) || "guest"}`
    connection.socket.write(protocolHeader)
    const start = await connection.next()
    const version = start._tag === "connection.start" ? start.serverProperties["version"] : undefined
    if (typeof version === "string") connection.serverVersion = version
    connection.send(0, {
      _tag: "connection.start-ok",
      clientProperties: {},
      mechanism: "PLAIN",
      response: new TextEncoder().encode(credentials),
      locale: "en_US"
    })
    const tune = await connection.next()
    if (tune._tag !== "connection.tune") throw new Error(`the broker replied to the login with ${tune._tag}`)
    connection.send(0, { ...tune, _tag: "connection.tune-ok", heartbeat })
    connection.send(0, { _tag: "connection.open", virtualHost: decodeURIComponent(pathname.slice(1)) || "/" })
    await connection.next()
    await connection.openChannel()
    return connection
  }

  /**
   * Sends a method, and returns the reply. If the broker closes the channel, another one is opened.
   *
   * The result of a `basic.publish`, whose message has no body, is `basic.return` or `routed`.
   */
  async call({ method, properties = {} }: Call): Promise<string> {
    this.encode({ method, properties })
    if (method._tag === "basic.publish") {
      // A publish has no reply, so another method follows that has one.
      encodeMethodFrame(this.writer, this.channel, {
        _tag: "basic.qos",
        prefetchSize: 0,
        prefetchCount: 0,
        global: false
      })
    }
    this.flush()
    const reply = await this.next()
    switch (reply._tag) {
      case "channel.close":
        this.send(this.channel, { _tag: "channel.close-ok" })
        await this.openChannel()
        return `${reply.replyCode} ${reply.replyText}`
      case "connection.close":
        this.send(0, { _tag: "connection.close-ok" })
        this.socket.destroy()
        return `connection: ${reply.replyCode} ${reply.replyText}`
      case "basic.return":
        await this.next()
        return "basic.return"
      case "basic.qos-ok":
        return "routed"
      default:
        return Object.values(reply).join(" ")
    }
  }

  /** Sends a method, or a message without a body, `times` times, without waiting for a reply. */
  post(call: Call, times = 1): void {
    for (let sent = 0; sent < times; sent++) this.encode(call)
    this.flush()
  }

  /** Stops reading, like a program that is busy. */
  pause(): void {
    this.socket.pause()
  }

  /** Reads again. */
  resume(): void {
    this.socket.resume()
  }

  /** Waits for a number of methods with this tag, and drops all others. */
  async expect(tag: Method["_tag"], count: number): Promise<void> {
    for (let found = 0; found < count;) if ((await this.next())._tag === tag) found++
  }

  /** The number of bytes that the socket has not sent yet. */
  get unsentBytes(): number {
    return this.socket.writableLength
  }

  /** Resets the TCP connection. */
  reset(): void {
    this.socket.resetAndDestroy()
  }

  /** Waits until the broker has closed the socket. */
  async gone(): Promise<void> {
    while (this.ended === undefined) await new Promise<void>((resolve) => (this.wake = resolve))
  }

  get isOpen(): boolean {
    return this.ended === undefined && !this.socket.destroyed
  }

  /** Closes with connection.close, so that exclusive queues are deleted when this resolves. */
  async close(): Promise<void> {
    if (!this.isOpen) return
    this.send(0, { _tag: "connection.close", replyCode: 200, replyText: "", classId: 0, methodId: 0 })
    await this.next()
    this.socket.destroy()
  }

  /** Replaces the channel with a new one. */
  async renewChannel(): Promise<void> {
    this.send(this.channel, { _tag: "channel.close", replyCode: 200, replyText: "", classId: 0, methodId: 0 })
    await this.next()
    await this.openChannel()
  }

  private async openChannel(): Promise<void> {
    this.send(++this.channel, { _tag: "channel.open" })
    await this.next()
  }

  private send(channel: number, method: Method): void {
    encodeMethodFrame(this.writer, channel, method)
    this.flush()
  }

  private encode({ method, properties = {} }: Call): void {
    encodeMethodFrame(this.writer, this.channel, method)
    if (method._tag === "basic.publish") encodeHeaderFrame(this.writer, this.channel, 0, properties)
  }

  private flush(): void {
    this.writer.commit()
    for (const chunk of this.writer.take()) this.socket.write(chunk)
  }

  private async next(): Promise<Method> {
    for (;;) {
      const method = this.received.shift()
      if (method !== undefined) return method
      if (this.ended !== undefined) throw this.ended
      await new Promise<void>((resolve) => (this.wake = resolve))
    }
  }
}
