/**
 * Cases of bytes that a client sends in a state of the connection, and of what RabbitMQ and the embedded broker do then.
 */
import type { BasicPublish, Method } from "@effect-amqp/core/protocol/methods.generated"
import { assert, beforeAll, describe, it } from "@effect/vitest"
import { wire } from "../fixtures/wire.ts"
import { brokerUrl, is4, isSince } from "./brokerUnderTest.ts"
import { versionAt } from "./conversation.ts"
import { frame, wireTalk } from "./wireTalk.ts"
import type { WireState, WireTalk } from "./wireTalk.ts"

/** Bytes that are sent in a state, and what the broker does then. */
export interface WireCase {
  readonly in: WireState
  readonly send: WireTalk["send"]
  readonly tune?: WireTalk["tune"]
  readonly expected: ReadonlyArray<string>
  /** What RabbitMQ 4.x does, if that differs. */
  readonly expectedIn4?: ReadonlyArray<string>
  readonly expectedSince43?: ReadonlyArray<string>
}

export const ascii = (text: string): Uint8Array => new TextEncoder().encode(text)

export const close: Method = { _tag: "connection.close", replyCode: 200, replyText: "", classId: 0, methodId: 0 }
export const closeOk: Method = { _tag: "connection.close-ok" }
export const channelClose: Method = { _tag: "channel.close", replyCode: 200, replyText: "", classId: 0, methodId: 0 }
export const channelCloseOk: Method = { _tag: "channel.close-ok" }
export const channelOpen: Method = { _tag: "channel.open" }
export const open: Method = { _tag: "connection.open", virtualHost: "/" }
export const qos: Method = { _tag: "basic.qos", prefetchSize: 0, prefetchCount: 1, global: false }

export const startOk = (
  mechanism: string,
  response: string | Uint8Array,
  capabilities: Record<string, boolean> = {}
): Method => ({
  _tag: "connection.start-ok",
  clientProperties: { capabilities },
  mechanism,
  response: typeof response === "string" ? ascii(response) : response,
  locale: "en_US"
})

export const tuneOk = (channelMax: number, frameMax: number): Method => ({
  _tag: "connection.tune-ok",
  channelMax,
  frameMax,
  heartbeat: 0
})

export const publish: BasicPublish = {
  _tag: "basic.publish",
  exchange: "",
  routingKey: "effect-amqp-test-nowhere",
  mandatory: true,
  immediate: false
}

/** A passive declare of a missing queue: refused with 404. */
export const refused: Method = {
  _tag: "queue.declare",
  queue: "effect-amqp-test-nowhere",
  passive: true,
  durable: false,
  exclusive: false,
  autoDelete: false,
  noWait: false,
  arguments: {}
}

export const refusal = "1: channel.close 404 NOT_FOUND - no queue 'effect-amqp-test-nowhere' in vhost '/' [50, 10]"

const hex = (value: number, bytes: number): string => value.toString(16).padStart(bytes * 2, "0")

/** A content header on channel 1. */
export const header = (bodySize: number, { classId = 60, properties = "0000", weight = 0 } = {}): Uint8Array =>
  frame(2, 1, wire(hex(classId, 2) + hex(weight, 2) + hex(bodySize, 8) + properties))

export const headerOf = (payload: string): Uint8Array => frame(2, 1, wire(payload))

export const body = (size: number): Uint8Array => frame(3, 1, new Uint8Array(size))

/** A frame that ends before its payload begins. */
export const announced = (type: number, channel: number, size: number): Uint8Array =>
  wire(hex(type, 1) + hex(channel, 2) + hex(size, 4))

export const returned = (...pieces: ReadonlyArray<number>): ReadonlyArray<string> => [
  "1: basic.return 312 NO_ROUTE  effect-amqp-test-nowhere",
  "header 14",
  ...pieces.map((size) => `body ${size}`)
]

/** The broker sends connection.close, and leaves the socket open. */
export const closes = (
  text: string,
  ids = "0, 0"
): ReadonlyArray<string> => [`connection.close ${text} [${ids}]`, "open"]

export const silence = ["closed after 3 s"]

export const frameError = (text: string, ids?: string) => closes(`501 FRAME_ERROR - ${text}`, ids)
export const channelError = (text: string, ids?: string) => closes(`504 CHANNEL_ERROR - ${text}`, ids)
export const unexpectedFrame = (text: string, ids?: string) => closes(`505 UNEXPECTED_FRAME - ${text}`, ids)
export const internalError = closes("541 INTERNAL_ERROR")
export const notUtf8 = frameError("Malformed UTF-8 in shortstr")

export const otherProtocol = ["AMQP 0 0 9 1", "closed at once"]

/** The header of AMQP 1.0 with SASL, which RabbitMQ 4.x speaks too, and which it needs first. */
export const otherProtocolIn4 = ["AMQP 3 1 0 0", "closed at once"]

/** How many connections are open at once. */
const concurrency = 32

const isExpectedBroker = (await versionAt(brokerUrl)) !== undefined && new URL(brokerUrl).pathname.length <= 1

const expectedOf = (
  { expected, expectedIn4 = expected, expectedSince43 = expectedIn4 }: WireCase
): ReadonlyArray<string> => isSince(4, 3) ? expectedSince43 : is4 ? expectedIn4 : expected

/** Runs the cases on many connections at once, and defines a test for each. */
export const describeWireCases = (groups: Readonly<Record<string, Readonly<Record<string, WireCase>>>>): void => {
  describe.runIf(isExpectedBroker)("on the wire,", () => {
    const found = new Map<WireCase, Promise<ReadonlyArray<string>>>()

    beforeAll(async () => {
      const pending = Object.values(groups).flatMap((cases) => Object.values(cases))
      await Promise.all(Array.from({ length: concurrency }, async () => {
        for (let next = pending.shift(); next !== undefined; next = pending.shift()) {
          const { in: state, send, tune = {} } = next
          const lines = expectedOf(next).filter((line) => line !== "open").length
          const result = wireTalk(brokerUrl, { state, send, tune, lines })
          found.set(next, result)
          await result.catch(() => {})
        }
      }))
    })

    for (const [group, cases] of Object.entries(groups)) {
      describe(group, () => {
        for (const [name, each] of Object.entries(cases)) {
          it(name, async () => assert.deepStrictEqual(await found.get(each), expectedOf(each)))
        }
      })
    }
  })
}
