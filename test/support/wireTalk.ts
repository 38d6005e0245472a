/**
 * A client that sends bytes, right or wrong, in any state of a connection, and writes down what the broker does: what it sends, and
 * whether and when it closes the socket.
 */
import { ByteReader } from "@effect-amqp/core/protocol/ByteReader"
import { ByteWriter } from "@effect-amqp/core/protocol/ByteWriter"
import { FrameType, protocolHeader } from "@effect-amqp/core/protocol/constants"
import { encodeMethodFrame } from "@effect-amqp/core/protocol/frames"
import { decodeMethod } from "@effect-amqp/core/protocol/methods.generated"
import type { Method } from "@effect-amqp/core/protocol/methods.generated"
import * as net from "node:net"
import { setTimeout as sleep } from "node:timers/promises"

/** How far the connection is when the bytes are sent: what RabbitMQ calls these states, and `channel` with channel 1 open. */
export type WireState = "connected" | "starting" | "tuning" | "opening" | "running" | "channel"

const states: ReadonlyArray<WireState> = ["connected", "starting", "tuning", "opening", "running", "channel"]

export interface WireTalk {
  readonly state: WireState
  /** Bytes, methods on channel 0 or 1 (that which fits), pauses in milliseconds, and `answer`: waits for another line. */
  readonly send: ReadonlyArray<Uint8Array | Method | number | "answer">
  /** What is asked for in `connection.tune-ok`. */
  readonly tune?: { readonly frameMax?: number; readonly channelMax?: number; readonly heartbeat?: number }
  /** How many lines to wait for. */
  readonly lines: number
}

/** How long to wait for the lines, and how long for more than these, in milliseconds. */
const patience = 20_000
const grace = 200

/** A frame of any type, right or wrong. */
export const frame = (type: number, channel: number, payload: Uint8Array, end = 206): Uint8Array => {
  const bytes = Buffer.alloc(payload.length + 8)
  bytes[0] = type
  bytes.writeUInt16BE(channel, 1)
  bytes.writeUInt32BE(payload.length, 3)
  bytes.set(payload, 7)
  bytes[payload.length + 7] = end
  return bytes
}

/** A method's frame. */
export const methodFrame = (channel: number, method: Method): Uint8Array => {
  const writer = new ByteWriter()
  encodeMethodFrame(writer, channel, method)
  writer.commit()
  return Buffer.concat(writer.take())
}

const shown = (type: number, channel: number, payload: Uint8Array): string => {
  if (type === FrameType.heartbeat) return "heartbeat"
  if (type !== FrameType.method) return `${type === FrameType.header ? "header" : "body"} ${payload.length}`
  const ids = Buffer.from(payload.subarray(0, 4)).toString("hex")
  if (ids === "001e000b") return `${channel}: access.request-ok ${payload[5]}`
  const reader = new ByteReader()
  reader.reset(payload)
  const method = decodeMethod(reader)
  const on = channel === 0 ? "" : `${channel}: `
  switch (method._tag) {
    case "connection.close":
    case "channel.close":
      return `${on}${method._tag} ${method.replyCode} ${method.replyText} [${method.classId}, ${method.methodId}]`
    case "connection.start":
      return `connection.start ${method.versionMajor}-${method.versionMinor}`
    default:
      return `${on}${Object.values(method).join(" ")}`
  }
}

/** What the broker does once the state is reached: a line for each frame (heartbeats in a row are one), when it closes the socket, and `open` unless it does. */
export const wireTalk = async (url: string, talk: WireTalk): Promise<ReadonlyArray<string>> => {
  const { hostname, password, pathname, port, username } = new URL(url)
  const socket = net.connect({ port: Number(port) || 5672, host: hostname, noDelay: true, allowHalfOpen: false })
  const lines: Array<string> = []
  let received: Buffer = Buffer.alloc(0)
  let methods = 0
  let wake = (): void => {}
  let gone = false
  let since = performance.now()
  const seconds = (): number => (performance.now() - since) / 1000
  socket.on("data", (bytes) => {
    received = Buffer.concat([received, bytes])
    for (;;) {
      if (received.length >= 8 && received.toString("latin1", 0, 4) === "AMQP") {
        lines.push(`AMQP ${[...received.subarray(4, 8)].join(" ")}`)
        received = received.subarray(8)
      } else if (received.length >= 8 && received.length >= received.readUInt32BE(3) + 8) {
        const size = received.readUInt32BE(3)
        // Bytes that are not UTF-8 are shown as U+FFFD, however the codec keeps them.
        const line = shown(received[0], received.readUInt16BE(1), received.subarray(7, 7 + size)).replaceAll(
          /\p{Surrogate}/gu,
          "\uFFFD"
        )
        // How many there are depends on how busy the machine is.
        if (line !== "heartbeat" || lines.at(-1) !== line) lines.push(line)
        received = received.subarray(size + 8)
        methods++
      } else break
    }
    wake()
  })
  const end = (): void => {
    if (!gone) {
      lines.push(seconds() < 1.5 ? "closed at once" : seconds() < 2.5 ? "closed after 2 s" : "closed after 3 s")
    }
    gone = true
    wake()
  }
  socket.on("error", () => {})
  socket.on("close", end)
  const answer = async (): Promise<void> => {
    const before = methods
    while (methods === before && !gone) await new Promise<void>((resolve) => (wake = resolve))
  }
  const send = (channel: number, method: Method): void => void socket.write(methodFrame(channel, method))
  const { channelMax = 2047, frameMax = 131072, heartbeat = 0 } = talk.tune ?? {}
  const steps: ReadonlyArray<() => Promise<void>> = [
    async () => {
      socket.write(protocolHeader)
      await answer()
    },
    async () => {
      send(0, {
        _tag: "connection.start-ok",
        clientProperties: {},
        mechanism: "PLAIN",
        response: new TextEncoder().encode(`\0${decodeURIComponent(username)}\0${decodeURIComponent(password)}`),
        locale: "en_US"
      })
      await answer()
    },
    async () => send(0, { _tag: "connection.tune-ok", channelMax, frameMax, heartbeat }),
    async () => {
      send(0, { _tag: "connection.open", virtualHost: decodeURIComponent(pathname.slice(1)) || "/" })
      await answer()
    },
    async () => {
      send(1, { _tag: "channel.open" })
      await answer()
    }
  ]
  for (const step of steps.slice(0, states.indexOf(talk.state))) await step()
  lines.length = 0
  since = performance.now()
  const deadline = since + patience
  const linesOf = async (count: number): Promise<void> => {
    while (!gone && lines.length < count && performance.now() < deadline) await sleep(10)
  }
  let answers = 0
  for (const each of talk.send) {
    if (typeof each === "number") await sleep(each)
    else if (each === "answer") await linesOf(++answers)
    else if (each instanceof Uint8Array) socket.write(each)
    else send(each._tag.startsWith("connection") ? 0 : 1, each)
  }
  await linesOf(talk.lines)
  // For what should not come.
  await sleep(grace)
  if (!gone) lines.push("open")
  socket.removeAllListeners("close").destroy()
  return lines
}
