import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import type { BasicReturn } from "@effect-amqp/core/protocol/methods.generated"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Socket from "effect/socket/Socket"
import * as TestClock from "effect/testing/TestClock"
import {
  ack,
  channelClose,
  connected,
  contentBytes,
  fork,
  methodBytes,
  openPublisher,
  publishText,
  reasonOf,
  rest,
  resultOf,
  script,
  toQueue
} from "../../support/scriptedPeer.ts"

describe("a publisher", () => {
  it.effect("a sendTimeout of 0 is one for each message", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { maxInFlight: 1, sendTimeout: 0 })
        yield* publishText(peer, publisher, "0")
        for (const text of ["1", "2"]) {
          const fiber = yield* fork(publisher.publish(AmqpMessage.text(text), toQueue))
          yield* TestClock.adjust("1 seconds")
          const { cause } = yield* reasonOf(fiber, "NotSent")
          assert.strictEqual(cause.reason._tag, "SendTimeout")
        }
      })
    ))

  it.effect("does not take the thread when those that it can't serve try again at once", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1)
        yield* peer.send(1, channelClose(404, "no exchange"))
        yield* peer.expect("channel.close-ok", 1)
        // Takes the only channel number there is.
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

  it.effect("fails what waited for its sendTimeout behind a long batch", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { maxInFlight: 1, sendTimeout: "5 seconds" })
        const endless = function*() {
          while (true) yield AmqpMessage.text("batch")
        }
        const batch = yield* fork(publisher.publishAll(endless(), toQueue))
        const one = yield* fork(publisher.publish(AmqpMessage.text("one"), toQueue))
        for (let tag = 1; tag <= 20; tag++) {
          yield* peer.expectPublish()
          yield* TestClock.adjust("1 seconds")
          yield* peer.send(1, ack(tag))
          yield* rest
        }
        const ended = one.pollUnsafe()
        yield* Fiber.interrupt(batch)
        yield* Fiber.interrupt(one)
        assert.isDefined(ended, "it was neither sent nor refused for 20 seconds")
      })
    ))

  it.effect("sends a message once, although the peer answers within the write", () =>
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
        const dialing = yield* fork(Effect.provideService(AmqpConnection.make(), Socket.Socket, socket))
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
          // The confirm of the first one is given up, and the second one has its turn.
          yield* TestClock.adjust("1 seconds")
          assert.deepStrictEqual(yield* peer.takeTags, ["basic.publish"])
          yield* resultOf(fiber)
        }).pipe(Effect.provideService(AmqpConnection.AmqpConnection, connection))
      })
    ))

  it.effect("P3, C12: knows a returned message that is larger than what it receives", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const fiber = yield* fork(publisher.publish(AmqpMessage.text("x".repeat(11)), { ...toQueue, mandatory: true }))
        yield* peer.expectPublish()
        const returned: BasicReturn = {
          _tag: "basic.return",
          replyCode: 312,
          replyText: "NO_ROUTE",
          exchange: "",
          routingKey: "q"
        }
        yield* peer.push(contentBytes(1, returned, "x".repeat(11)), methodBytes(1, ack(1)))
        yield* reasonOf(fiber, "Returned")
      }), { client: { maxBodySize: 10 } }))
})
