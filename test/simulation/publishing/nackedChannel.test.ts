/**
 * A channel of RabbitMQ 3.9 to 3.11 that publishes to a quorum queue for the first time when the node of its leader has just gone nacks every
 * message until that node is back, although the queue has another leader. Another channel is confirmed at once.
 */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"
import type { Peer } from "../../support/scriptedPeer.ts"
import {
  ack,
  assertWaits,
  connected,
  fork,
  nack,
  openPublisher,
  publishText,
  reasonOf,
  rest,
  resultOf,
  toQueue
} from "../../support/scriptedPeer.ts"
import { openForPublishing, takeTexts } from "../../support/severalPeers.ts"

const retry = Schedule.spaced("100 millis")

/** Nacks a message that is published again and again on channel 1, for this many attempts. Returns how many there were until something else came. */
const nackAttempts = (peer: Peer, first: number, attempts: number) =>
  Effect.gen(function*() {
    for (let tag = first; tag < first + attempts; tag++) {
      const [text] = yield* takeTexts(peer)
      if (text !== "m") return text
      yield* peer.send(1, nack(tag))
      yield* TestClock.adjust("100 millis")
    }
    return undefined
  })

describe("a publisher whose channel goes on nacking", () => {
  it.effect("P2, B3: publishes on another channel, on which the broker may confirm", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { retry })
        const publish = yield* publishText(peer, publisher, "m")
        yield* peer.send(1, nack(1))
        yield* TestClock.adjust("100 millis")
        assert.strictEqual(yield* nackAttempts(peer, 2, 10), "channel.close")
        yield* peer.send(1, { _tag: "channel.close-ok" })
        yield* openForPublishing(peer)
        yield* peer.expectPublish("m")
        yield* peer.send(1, ack(1))
        yield* resultOf(publish)
      })
    ))

  it.effect("without a retry, fails what is nacked, and publishes what follows on another channel", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        for (const tag of [1, 2]) {
          const publish = yield* publishText(peer, publisher, "m")
          yield* peer.send(1, nack(tag))
          yield* reasonOf(publish, "Nacked")
          yield* TestClock.adjust("1 seconds")
        }
        yield* peer.closeChannel()
        const publish = yield* fork(publisher.publish(AmqpMessage.text("m"), toQueue))
        yield* openForPublishing(peer)
        yield* peer.expectPublish("m")
        yield* peer.send(1, ack(1))
        yield* resultOf(publish)
      })
    ))

  it.effect("keeps the order: waits for the confirms of what is in flight, and publishes first what was nacked meanwhile", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { retry })
        const slow = yield* publishText(peer, publisher, "slow")
        const late = yield* publishText(peer, publisher, "late")
        const refused = yield* publishText(peer, publisher, "m")
        yield* peer.send(1, nack(3))
        yield* TestClock.adjust("300 millis")
        yield* peer.expectPublish("m")
        yield* peer.send(1, nack(4))
        yield* rest
        const newer = yield* fork(publisher.publish(AmqpMessage.text("newer"), toQueue))
        yield* TestClock.adjust("100 millis")
        yield* peer.expectNothing
        yield* peer.send(1, ack(1), nack(2))
        yield* peer.closeChannel()
        yield* resultOf(slow)
        yield* openForPublishing(peer)
        const texts = yield* takeTexts(peer)
        assert.strictEqual(texts[0], "late")
        assert.sameMembers([...texts], ["late", "newer", "m"])
        yield* peer.send(1, ack(3, true))
        for (const fiber of [late, refused, newer]) yield* resultOf(fiber)
      })
    ))

  it.effect("goes on with the channel if something in flight is not confirmed in time", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { retry })
        const slow = yield* publishText(peer, publisher, "slow")
        const refused = yield* publishText(peer, publisher, "m")
        yield* peer.send(1, nack(2))
        yield* TestClock.adjust("300 millis")
        yield* peer.expectPublish("m")
        yield* peer.send(1, nack(3))
        yield* rest
        yield* TestClock.adjust("1 seconds")
        yield* peer.expectPublish("m")
        yield* peer.send(1, ack(4))
        yield* resultOf(refused)
        yield* assertWaits(slow)
        const next = yield* publishText(peer, publisher, "next")
        yield* peer.send(1, ack(5), ack(1))
        yield* resultOf(slow)
        yield* resultOf(next)
      })
    ))

  it.effect("keeps a channel that nacks once", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { retry })
        const publish = yield* publishText(peer, publisher, "m")
        yield* peer.send(1, nack(1))
        yield* TestClock.adjust("100 millis")
        yield* peer.expectPublish("m")
        yield* peer.send(1, ack(2))
        yield* resultOf(publish)
        yield* TestClock.adjust("1 minutes")
        yield* peer.expectNothing
      })
    ))

  it.effect("opens channels less and less often while every channel nacks, as for a full queue", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { retry })
        yield* fork(publisher.publish(AmqpMessage.text("m"), toQueue))
        let channels = 0
        let tag = 0
        for (let millis = 0; millis < 60_000; millis += 100) {
          yield* rest
          for (let next = yield* peer.next; next !== undefined; next = yield* peer.next) {
            if (next.method._tag === "channel.close") yield* peer.send(1, { _tag: "channel.close-ok" })
            else if (next.method._tag === "channel.open") {
              channels++
              tag = 0
              yield* peer.send(1, { _tag: "channel.open-ok" })
            } else if (next.method._tag === "confirm.select") yield* peer.send(1, { _tag: "confirm.select-ok" })
            else yield* peer.send(1, nack(++tag))
            yield* rest
          }
          yield* TestClock.adjust("100 millis")
        }
        // After 250 ms, 500 ms and so on, up to 30 s.
        assert.strictEqual(channels, 7)
      })
    ))
})

describe("the channel of a program", () => {
  it.effect("P2, B3: is not kept for the next program after a nack", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const program = AmqpChannel.confirmed(AmqpChannel.publish(AmqpMessage.text("m"), toQueue))
        for (const outcome of [ack(1), nack(2)]) {
          const running = yield* fork(Effect.exit(program))
          if (outcome._tag === "basic.ack") yield* openForPublishing(peer)
          yield* peer.expectPublish("m")
          yield* peer.send(1, outcome)
          if (outcome._tag === "basic.nack") yield* peer.closeChannel()
          yield* resultOf(running)
        }
      }), { client: { maxIdleChannels: 1 } }))
})
