import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import {
  connected,
  declare,
  deliverBytes,
  fork,
  headerBytes,
  methodBytes,
  openConsumer,
  reasonOf,
  rest,
  resultOf,
  serveDeclare,
  toQueue
} from "../../support/scriptedPeer.ts"
import { deliver, direct, openClient } from "../../support/scriptedRpc.ts"
import { logged } from "../../support/secrets.ts"

describe("the log", () => {
  it.effect("warns once per connection.blocked that requests time out because of it", () =>
    logged((lines) =>
      connected((peer) =>
        Effect.gen(function*() {
          const warnings = () => lines.filter((line) => line.includes("blocks the connection (low on disk)"))
          for (const round of [1, 2]) {
            yield* peer.send(0, { _tag: "connection.blocked", reason: "low on disk" })
            const declaring = yield* Effect.forEach(["a", "b"], (queue) => fork(declare(queue)))
            yield* peer.openChannel(1)
            yield* peer.openChannel(2)
            yield* TestClock.adjust("30 seconds")
            yield* peer.takeTags
            yield* peer.send(2, { _tag: "channel.close-ok" })
            yield* peer.send(1, { _tag: "channel.close-ok" })
            for (const fiber of declaring) {
              const reason = yield* reasonOf(fiber, "RequestTimeout")
              assert.strictEqual(reason.blocked, "low on disk")
              assert.include(reason.message, "it blocks the connection (low on disk)")
            }
            assert.lengthOf(warnings(), round)
            yield* peer.send(0, { _tag: "connection.unblocked" })
            const later = yield* fork(declare("c"))
            yield* serveDeclare(peer, "c", 1)
            yield* resultOf(later)
          }
        })
      )
    ))

  const megabyte = "x".repeat(1024 * 1024)

  it.effect("warns that the reader is paused for a slow consumer, with its queue and its number of messages", () =>
    logged((lines) =>
      connected((peer) =>
        Effect.gen(function*() {
          const warnings = () => lines.filter((line) => line.includes("Nothing has been read from the AMQP connection"))
          const consumer = Stream.runForEach(AmqpConsumer.stream("jobs", { autoAck: true }), () => Effect.never)
          const { consumerTag } = yield* openConsumer(peer, consumer, 1, false)
          yield* peer.push(deliverBytes(1, consumerTag, 1, "m"))
          for (let tag = 2; tag < 20; tag++) yield* peer.push(deliverBytes(1, consumerTag, tag, megabyte))
          yield* TestClock.adjust("9 seconds")
          assert.lengthOf(warnings(), 0)
          yield* TestClock.adjust("1 seconds")
          assert.lengthOf(warnings(), 1)
          assert.match(warnings()[0], /the consumer of queue .*jobs.* holds \d+ messages/)
          yield* TestClock.adjust("1 hours")
          assert.lengthOf(warnings(), 1)
        }), { server: { frameMax: 0 }, client: { frameMax: 0 } })
    ))

  it.effect("warns of replies that match no call, at most once a minute", () =>
    logged((lines) =>
      connected((peer) =>
        Effect.gen(function*() {
          const warnings = () => lines.filter((line) => line.includes("matches no call"))
          const { client, replyTag } = yield* openClient(peer)
          yield* fork(client.call(AmqpMessage.text("?"), toQueue))
          const { properties } = yield* peer.expectPublish("?")
          const reply = (correlationId: string) =>
            peer.push(methodBytes(1, deliver(replyTag)), headerBytes(1, 0, { correlationId }))
          yield* reply(properties.correlationId ?? "")
          yield* rest
          assert.lengthOf(warnings(), 0)
          yield* reply("unknown")
          for (let count = 0; count < 5; count++) yield* reply(properties.correlationId ?? "")
          yield* rest
          assert.lengthOf(warnings(), 1)
          assert.match(warnings()[0], /correlation id .*unknown/)
          yield* TestClock.adjust("60 seconds")
          yield* reply("late")
          yield* rest
          assert.lengthOf(warnings(), 2)
          assert.include(warnings()[1], "and 5 more since the last warning")
        }), { server: direct })
    ))
})
