import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Socket from "effect/socket/Socket"
import * as TestClock from "effect/testing/TestClock"
import {
  ack,
  assertWaits,
  channelClose,
  connected,
  fork,
  openPublisher,
  publishText,
  reasonOf,
  rest,
  resultOf,
  script,
  toQueue
} from "../../support/scriptedPeer.ts"

describe("a publisher", () => {
  it.effect("does not block the event loop when failed publishes are retried at once", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1)
        yield* peer.send(1, channelClose(404, "no exchange"))
        yield* peer.expect("channel.close-ok", 1)
        // Takes the only channel number.
        yield* fork(AmqpChannel.run(AmqpChannel.fromEffect(Effect.never)))
        yield* peer.openChannel(1)
        let attempts = 0
        const attempt = Effect.suspend(() => {
          attempts++
          return publisher.publish(AmqpMessage.text("m"), toQueue)
        })
        yield* fork(Effect.retry(attempt, { while: () => attempts < 5_000 }))
        assert.isBelow(attempts, 5_000)
      }), { server: { channelMax: 1 } }))

  it.effect("sends a message once even if the peer answers during the write", () =>
    script((peer) =>
      Effect.gen(function*() {
        let answer: Effect.Effect<void> = Effect.void
        const socket = Socket.make({
          reader: peer.socket.reader,
          writer: Effect.map(peer.socket.writer, ({ write, writeAll }) => ({
            write,
            writeAll: (chunks: Parameters<typeof writeAll>[0]) =>
              Effect.andThen(writeAll(chunks), Effect.suspend(() => answer))
          }))
        })
        const dialing = yield* fork(
          Effect.provideService(AmqpConnection.make({ recovery: false }), Socket.Socket, socket)
        )
        yield* peer.handshake()
        const connection = yield* resultOf(dialing)
        yield* Effect.gen(function*() {
          const publisher = yield* openPublisher(peer, 1, { maxInFlight: 1, confirmTimeout: "1 seconds" })
          yield* publishText(peer, publisher, "1")
          const fiber = yield* fork(publisher.publish(AmqpMessage.make(new Uint8Array(100_000)), toQueue))
          answer = Effect.suspend(() => {
            answer = Effect.void
            return peer.send(1, ack(2))
          })
          // The confirm of the first message times out, and it is the second one's turn.
          yield* TestClock.adjust("1 seconds")
          assert.deepStrictEqual(yield* peer.takeTags, ["basic.publish"])
          yield* resultOf(fiber)
        }).pipe(Effect.provideService(AmqpConnection.AmqpConnection, connection))
      })
    ))

  it.effect("W1: fails publishes while the connection is blocked if whenBlocked is fail", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { whenBlocked: "fail", maxInFlight: 1 })
        const sent = yield* publishText(peer, publisher, "1")
        const inLine = yield* fork(publisher.publish(AmqpMessage.text("2"), toQueue))
        yield* peer.send(0, { _tag: "connection.blocked", reason: "low on memory" })
        const late = yield* fork(publisher.publish(AmqpMessage.text("3"), toQueue))
        for (const fiber of [inLine, late]) {
          const { cause } = yield* reasonOf(fiber, "NotSent")
          assert.strictEqual(cause.reason._tag, "ConnectionBlocked")
          assert.include(cause.message, "low on memory")
        }
        yield* peer.send(0, { _tag: "connection.unblocked" })
        yield* peer.send(1, ack(1))
        yield* resultOf(sent)
        yield* publishText(peer, publisher, "4")
      })
    ))
})

describe("the limit of bytes in flight", () => {
  const heavy = (text: string) => AmqpMessage.text(text, { headers: { filler: "x".repeat(1000) } })

  it.effect("includes properties and headers", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { maxInFlightBytes: 2000 })
        const fibers = yield* Effect.forEach(["1", "2", "3"], (text) => fork(publisher.publish(heavy(text), toQueue)))
        yield* peer.expectPublish("1")
        yield* peer.expectPublish("2")
        yield* peer.expectNothing
        yield* peer.send(1, ack(1))
        yield* peer.expectPublish("3")
        yield* peer.send(1, ack(3, true))
        for (const fiber of fibers) yield* resultOf(fiber)
      })
    ))

  for (
    const [what, message] of [
      ["bodies", AmqpMessage.make(new Uint8Array(200_000))],
      ["headers", AmqpMessage.make(new Uint8Array(0), { headers: { filler: "x".repeat(100_000) } })]
    ] as const
  ) {
    it.effect(`applies to a confirmed program too: ${what}`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const program = AmqpChannel.forEach(Array.from({ length: 400 }), () => AmqpChannel.publish(message, toQueue))
          const fiber = yield* fork(AmqpChannel.confirmed(program))
          yield* peer.openChannel(1)
          yield* peer.answer(1, "confirm.select", { _tag: "confirm.select-ok" })
          let published = 0
          for (let round = 0; round < 400; round++) {
            const next = yield* peer.next
            if (next === undefined) break
            published++
          }
          const size = message.body.length + (message.properties.headers === undefined ? 0 : 100_000)
          assert.isAtLeast(published * size, 16 * 1024 * 1024)
          assert.isAtMost(published * size, 17 * 1024 * 1024)
          yield* assertWaits(fiber)
          yield* peer.send(1, ack(0, true))
          yield* rest
          assert.isDefined(yield* peer.next)
        })
      ))
  }
})
