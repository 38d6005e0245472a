import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { wire } from "../../fixtures/wire.ts"
import {
  assertReason,
  bodyBytes,
  connected,
  connectionClose,
  contentBytes,
  declare,
  declareOk,
  deliverBytes,
  failureOf,
  fork,
  getOkBytes,
  headerBytes,
  methodBytes,
  openConsumer,
  openPublisher,
  publishText,
  reasonOf,
  resultOf,
  serveDeclare,
  toQueue,
  waiters
} from "../../support/scriptedPeer.ts"

/** The method frame of a delivery on channel 3, where `waiters` has its consumer. */
const deliver = methodBytes(3, {
  _tag: "basic.deliver",
  consumerTag: "c",
  deliveryTag: 1,
  redelivered: false,
  exchange: "",
  routingKey: "q"
})

const qosOk = methodBytes(3, { _tag: "basic.qos-ok" })

const violations: ReadonlyArray<readonly [what: string, replyCode: number, ...bytes: ReadonlyArray<Uint8Array>]> = [
  ["C2: a wrong frame end", 501, wire("01 0001 00000005 0014 000a 00 cd")],
  ["C3: an unknown frame type", 501, wire("09 0000 00000000 ce")],
  ["C4: a frame above frame_max, before its payload", 501, wire("03 0001 0001fff9")],
  ["C5: a frame of 4 GiB", 501, wire("03 0001 ffffffff")],
  ["C6: a heartbeat with a payload", 501, wire("08 0000 00000001 00 ce")],
  ["C6: a heartbeat on a channel", 501, wire("08 0001 00000000 ce")],
  ["C10: an unknown method", 503, wire("01 0001 00000004 003c 00ff ce")],
  ["C10: an unknown class", 503, wire("01 0001 00000004 0063 000a ce")],
  ["C11: a content header of another class", 501, deliver, wire("02 0003 0000000e 003d 0000 0000000000000001 0000 ce")],
  ["C7: a method frame of two bytes", 501, wire("01 0003 00000002 003c ce")],
  ["C7: an empty method frame on channel 0", 501, wire("01 0000 00000000 ce")],
  [
    "C11: a content header without property flags",
    501,
    deliver,
    wire("02 0003 0000000c 003c 0000 0000000000000000 ce")
  ],
  ["C11: a content header of four bytes", 501, deliver, wire("02 0003 00000004 003c 0000 ce")],
  ["C11: a body of 2^64 - 1 bytes", 502, deliver, wire("02 0003 0000000e 003c 0000 ffffffffffffffff 0000 ce")],
  ["C13: more body than announced", 501, deliver, headerBytes(3, 2), bodyBytes(3, wire(`"abc"`))],
  [
    "C13: more body than announced, in a separate frame",
    501,
    deliver,
    headerBytes(3, 2),
    bodyBytes(3, wire(`"a"`)),
    bodyBytes(3, wire(`"bc"`))
  ],
  ["C14: a method between method and header", 505, deliver, qosOk],
  ["C14: a method between header and body", 505, deliver, headerBytes(3, 2), qosOk],
  ["C14: a method between two body frames", 505, deliver, headerBytes(3, 2), bodyBytes(3, wire(`"a"`)), qosOk],
  ["C14: a delivery within a delivery", 505, deliver, deliver],
  ["C14: a body without a header", 505, deliver, bodyBytes(3, wire(`"a"`))],
  ["C14: a header without a method", 505, headerBytes(3, 2)],
  ["C15: a content header on channel 0", 504, headerBytes(0, 2)],
  ["C15: a content body on channel 0", 504, bodyBytes(0, wire(`"a"`))],
  ["C15: a delivery on channel 0", 504, deliverBytes(0, "c", 1, "hello")],
  ["C16: a frame on a channel that was never opened", 504, methodBytes(4, { _tag: "basic.qos-ok" })],
  ["a method that is not allowed on channel 0", 503, methodBytes(0, { _tag: "connection.open-ok" })],
  ["a connection method on a channel", 503, methodBytes(1, { _tag: "connection.unblocked" })],
  ["R6: a reply that does not match the waiting request", 503, methodBytes(1, { _tag: "queue.bind-ok" })],
  ["R6: a reply without a request", 503, qosOk],
  [
    "P1: a confirm of an unpublished message",
    406,
    methodBytes(2, {
      _tag: "basic.ack",
      deliveryTag: 2,
      multiple: false
    })
  ],
  ["a delivery tag of 0", 503, deliverBytes(3, "c", 0, "hello")]
]

describe("framing", () => {
  for (const [what, replyCode, ...bytes] of violations) {
    it.effect(`${what} closes the connection with ${replyCode}, and every waiter fails with the reason (E13)`, () =>
      connected((peer, connection) =>
        Effect.gen(function*() {
          const assertFailed = yield* waiters(peer, connection)
          yield* peer.push(...bytes)
          assert.strictEqual((yield* peer.expect("connection.close", 0)).replyCode, replyCode)
          yield* peer.expectNothing
          assert.strictEqual((yield* assertFailed("ProtocolViolation")).replyCode, replyCode)
          assert.isFalse(peer.isOpen)
        })
      ))
  }

  it.effect("a delivery tag of 0 also fails the basic.get that receives it", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const get = yield* fork(AmqpChannel.run(AmqpQueue.get("q", () => AmqpChannel.succeed(AmqpDelivery.ack))))
        yield* peer.openChannel()
        yield* peer.expect("basic.get")
        yield* peer.push(getOkBytes(1, "hello", 0))
        const { cause } = yield* reasonOf(get, "ConnectionLost")
        assertReason(cause, "ProtocolViolation")
      })
    ))

  it.effect("two violations in one read cause one close, for the first of them", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        yield* peer.push(methodBytes(0, { _tag: "connection.open-ok" }), wire("09 0000 00000000 ce"))
        assert.strictEqual((yield* peer.expect("connection.close", 0)).replyCode, 503)
        yield* peer.expectNothing
        assert.strictEqual((yield* reasonOf(yield* fork(connection.awaitClosed), "ProtocolViolation")).replyCode, 503)
      })
    ))

  it.effect("frames after the broker's connection.close are not answered", () =>
    connected((peer, connection) =>
      Effect.gen(function*() {
        yield* peer.push(methodBytes(0, connectionClose(320, "shutdown")), wire("09 0000 00000000 ce"))
        assert.deepStrictEqual(yield* peer.takeTags, ["connection.close-ok"])
        yield* reasonOf(yield* fork(connection.awaitClosed), "ConnectionForced")
      })
    ))

  it.effect("C4: a frame of exactly frame_max is accepted", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumerTag, fiber } = yield* openConsumer(
          peer,
          AmqpConsumer.stream("q").pipe(Stream.take(1), Stream.runHead)
        )
        yield* peer.push(deliverBytes(1, consumerTag, 1, "x".repeat(8184)))
        yield* peer.closeConsumer(1)
        const delivery = yield* Effect.flatMap(resultOf(fiber), Effect.fromOption)
        assert.lengthOf(delivery.body, 8184)
      }), { server: { frameMax: 8192 } }))

  it.effect("C1: a conversation that arrives in single bytes has the same result", () =>
    Effect.gen(function*() {
      const conversation = (readSize: number) =>
        connected((peer) =>
          Effect.gen(function*() {
            peer.readSize = readSize
            const declared = yield* fork(declare("orders"))
            yield* serveDeclare(peer, "orders")
            const publisher = yield* openPublisher(peer, 1)
            const publish = yield* publishText(peer, publisher, "hello")
            yield* peer.send(1, { _tag: "basic.ack", deliveryTag: 1, multiple: false })
            yield* resultOf(publish)
            const received = AmqpConsumer.stream("orders").pipe(
              Stream.take(3),
              Stream.tap((delivery) => delivery.ack),
              Stream.map(({ redelivered, text }) => ({ redelivered, text })),
              Stream.runCollect
            )
            const { consumerTag, fiber } = yield* openConsumer(peer, received, 2)
            yield* peer.push(
              deliverBytes(2, consumerTag, 1, "first"),
              deliverBytes(2, consumerTag, 2, ""),
              deliverBytes(2, consumerTag, 3, "third", true)
            )
            const tags = yield* peer.takeTags
            yield* peer.send(2, { _tag: "channel.close-ok" })
            const lastTags = tags.filter((tag) => tag !== "basic.ack")
            return { declared: yield* resultOf(declared), received: yield* resultOf(fiber), lastTags }
          })
        )
      const expected = yield* conversation(Infinity)
      assert.lengthOf(expected.received, 3)
      assert.deepStrictEqual(expected.lastTags, ["channel.close"])
      for (const readSize of [1, 2, 3, 7]) assert.deepStrictEqual(yield* conversation(readSize), expected)
    }))

  it.effect("C14: contents of different channels can be interleaved, frame by frame", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const first = AmqpConsumer.stream("q").pipe(Stream.take(1), Stream.runHead)
        const one = yield* openConsumer(peer, first, 1)
        const two = yield* openConsumer(peer, first, 2)
        const frames = (channel: number, consumerTag: string, text: string) => {
          const body = new TextEncoder().encode(text)
          return [
            methodBytes(channel, {
              _tag: "basic.deliver",
              consumerTag,
              deliveryTag: 1,
              redelivered: false,
              exchange: "",
              routingKey: "q"
            }),
            headerBytes(channel, body.length),
            ...Array.from(body, (byte) => bodyBytes(channel, Uint8Array.of(byte)))
          ]
        }
        const ones = frames(1, one.consumerTag, "one")
        const twos = frames(2, two.consumerTag, "two")
        yield* peer.push(...ones.flatMap((frame, index) => [frame, twos[index]]))
        yield* peer.closeConsumer(1)
        yield* peer.closeConsumer(2)
        for (const [fiber, text] of [[one.fiber, "one"], [two.fiber, "two"]] as const) {
          assert.strictEqual((yield* Effect.flatMap(resultOf(fiber), Effect.fromOption)).text, text)
        }
      })
    ))

  it.effect("C16: late frames of a closed channel are ignored", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const first = yield* fork(declare("first"))
        yield* serveDeclare(peer, "first")
        yield* resultOf(first)
        yield* peer.push(
          deliverBytes(1, "c", 7, "late"),
          contentBytes(1, {
            _tag: "basic.return",
            replyCode: 312,
            replyText: "NO_ROUTE",
            exchange: "",
            routingKey: "q"
          }, "late"),
          methodBytes(1, declareOk("late"), { _tag: "channel.close-ok" })
        )
        yield* peer.expectNothing
        const second = yield* fork(declare("second"))
        yield* serveDeclare(peer, "second")
        assert.strictEqual((yield* resultOf(second)).name, "second")
      })
    ))

  for (
    const [frameMax, sizes] of [
      [8192, [0, 1, 8183, 8184, 8185, 16368, 16369, 20000]],
      [131072, [131063, 131064, 131065, 300_000]],
      [0, [0, 131065, 262_144, 1_000_000]]
    ] as const
  ) {
    it.effect(`C17: with frame_max ${frameMax} bodies are split into as few frames as fit`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          for (const size of sizes) {
            peer.frames.length = 0
            const body = Uint8Array.from({ length: size }, (_, index) => index * 7)
            const program = yield* fork(AmqpChannel.run(AmqpChannel.publish(AmqpMessage.make(body), toQueue)))
            yield* peer.openChannel()
            assert.deepStrictEqual((yield* peer.expectPublish()).body, body)
            yield* peer.closeChannel()
            yield* resultOf(program)
            const bodies = peer.frames.filter(({ type }) => type === "body").map(({ size }) => size)
            const expected: Array<number> = []
            // Without a limit a body is one frame, unless it is so large that it is interleaved with other channels.
            const limit = frameMax !== 0 ? frameMax - 8 : size <= 262_144 ? Infinity : 131_064
            for (let at = 0; at < size; at += limit) expected.push(Math.min(limit, size - at))
            assert.deepStrictEqual(bodies, expected)
          }
        }), { client: { frameMax }, server: { frameMax } }))
  }

  it.effect("C19: a value that AMQP can't express is a local error: nothing is written, no publish number is used", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const before = peer.bytesTaken
        const longest = "ä".repeat(127)
        const faults: ReadonlyArray<readonly [string, AmqpMessage.Properties, AmqpChannel.PublishOptions]> = [
          ["exchange", {}, { exchange: `${longest}ä`, routingKey: "" }],
          ["routing", {}, { exchange: "", routingKey: "x".repeat(256) }],
          ["message-id", { messageId: `${longest}ä` }, toQueue],
          ["expiration", { expiration: "Infinity" }, toQueue],
          ["priority", { priority: 256 }, toQueue],
          ["", { headers: { big: 2n ** 64n } }, toQueue],
          ["frame-max", { headers: { big: "x".repeat(131072) } }, toQueue]
        ]
        for (const [what, properties, options] of faults) {
          const fiber = yield* fork(publisher.publish(AmqpMessage.text("never", properties), options))
          const { cause } = yield* reasonOf(fiber, "NotSent")
          assert.strictEqual(cause.reason._tag, "InvalidArgument")
          assert.include(cause.message.toLowerCase().replaceAll("_", "-"), what)
        }
        assert.strictEqual(peer.bytesTaken, before)
        const fiber = yield* fork(publisher.publish(AmqpMessage.text("x"), { exchange: longest, routingKey: "" }))
        assert.strictEqual((yield* peer.expectPublish("x")).exchange, longest)
        yield* peer.send(1, { _tag: "basic.ack", deliveryTag: 1, multiple: false })
        yield* resultOf(fiber)
      })
    ))

  it.effect("C19: a queue name that is too long fails its step, and the program can continue on the same channel", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const program = AmqpChannel.gen(function*() {
          const refused = yield* AmqpQueue.declare("x".repeat(256)).pipe(
            AmqpChannel.catchTag("AmqpChannelError", (error) => AmqpChannel.succeed(error.reason._tag))
          )
          return [refused, (yield* AmqpQueue.declare("short")).name]
        })
        const fiber = yield* fork(AmqpChannel.run(program))
        yield* serveDeclare(peer, "short")
        assert.deepStrictEqual(yield* Fiber.join(fiber), ["InvalidArgument", "short"])
      })
    ))

  it.effect("C19: a prefetch out of range fails before a channel is opened", () =>
    connected((peer) =>
      Effect.gen(function*() {
        for (const prefetch of [-1, 65536, 1.5, Number.NaN]) {
          const stream = yield* fork(Stream.runDrain(AmqpConsumer.stream("q", { prefetch })))
          const error = yield* failureOf(stream)
          assert.strictEqual(error._tag, "AmqpChannelError")
          assert.include(error.message, "prefetch")
          yield* peer.expectNothing
          const qos = yield* fork(AmqpChannel.run(AmqpChannel.qos({ prefetchCount: prefetch })))
          yield* peer.openChannel()
          yield* peer.closeChannel()
          yield* reasonOf(qos, "InvalidArgument")
        }
      })
    ))
})
