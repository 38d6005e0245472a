import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import type * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { ack, connected, failureOf, fork, openPublisher, reasonOf, resultOf } from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"
import { direct, openClient } from "../../support/scriptedRpc.ts"

const close = (peer: Peer, replyCode: number, replyText: string, channel = 1) =>
  Effect.andThen(
    peer.send(channel, { _tag: "channel.close", replyCode, replyText, classId: 60, methodId: 40 }),
    peer.expect("channel.close-ok", channel)
  )

const reopen = (peer: Peer) =>
  Effect.andThen(
    peer.openChannel(1),
    peer.answer(1, "confirm.select", { _tag: "confirm.select-ok" })
  )

type Publisher = AmqpPublisher.AmqpPublisher["Service"]

/** Publishes, and expects the publish. */
const send = (peer: Peer, { publish }: Publisher, text: string, exchange: string, routingKey = "k", size?: number) => {
  const message = size === undefined ? AmqpMessage.text(text) : AmqpMessage.make(new Uint8Array(size))
  return Effect.tap(fork(publish(message, { exchange, routingKey })), () => peer.expectPublish())
}

const noExchange = (name: string) => `NOT_FOUND - no exchange '${name}' in vhost '/'`

describe("a channel error caused by a publish", () => {
  const long = "e".repeat(240)
  for (
    const [what, replyCode, replyText, tag] of [
      ["a missing exchange", 404, noExchange("bad"), "NotFound"],
      [
        "a missing exchange in a truncated text",
        404,
        `NOT_FOUND - no exchange '${long}' in vhost '/'`.slice(0, 252) + "...",
        "NotFound"
      ],
      [
        "a missing permission before 4.0",
        403,
        "ACCESS_REFUSED - access to exchange 'bad' in vhost '/' refused for user 'u'",
        "AccessRefused"
      ],
      [
        "a missing permission",
        403,
        "ACCESS_REFUSED - write access to exchange 'bad' in vhost '/' refused for user 'u'",
        "AccessRefused"
      ],
      [
        "an internal exchange",
        403,
        "ACCESS_REFUSED - cannot publish to internal exchange 'bad' in vhost '/'",
        "AccessRefused"
      ]
    ] as const
  ) {
    it.effect(`for ${what} marks only the messages sent there as not retryable`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const exchange = replyText.includes("eee") ? long : "bad"
          const publisher = yield* openPublisher(peer)
          const before = yield* send(peer, publisher, "1", "good")
          const offending = yield* send(peer, publisher, "2", exchange)
          const after = yield* send(peer, publisher, "3", "")
          yield* close(peer, replyCode, replyText)
          const { cause, isRetryable } = yield* reasonOf(offending, "OutcomeUnknown")
          assert.strictEqual(cause.reason._tag, tag)
          assert.isFalse(isRetryable)
          for (const fiber of [before, after]) {
            const { cause, isRetryable } = yield* reasonOf(fiber, "OutcomeUnknown")
            assert.isTrue(isRetryable)
            assert.include(cause.reason, { _tag: "ChannelLost", isCertain: true })
            assert.include(cause.message, replyText)
          }
        })
      ))
  }

  it.effect("for a topic marks only the messages with that routing key as not retryable", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const other = yield* send(peer, publisher, "1", "t", "fine")
        const offending = yield* send(peer, publisher, "2", "t", "forbidden")
        yield* close(
          peer,
          403,
          "ACCESS_REFUSED - write access to topic 'forbidden' in exchange 't' in vhost '/' refused for user 'u'"
        )
        assert.isTrue((yield* reasonOf(other, "OutcomeUnknown")).isRetryable)
        assert.isFalse((yield* reasonOf(offending, "OutcomeUnknown")).isRetryable)
      })
    ))

  for (
    const text of [
      "message size 70 is larger than max size 64",
      "message size 70 is larger than configured max size 64"
    ]
  ) {
    it.effect(`for "${text}" marks only the message of that size as not retryable, and its error says why`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const publisher = yield* openPublisher(peer)
          const other = yield* send(peer, publisher, "", "", "q", 60)
          const offending = yield* send(peer, publisher, "", "", "q", 70)
          yield* close(peer, 406, `PRECONDITION_FAILED - ${text}`)
          assert.isTrue((yield* reasonOf(other, "OutcomeUnknown")).isRetryable)
          const error = yield* failureOf(offending)
          assert.isFalse(error.isRetryable)
          assert.strictEqual(
            error.message,
            "The broker closed the channel before it confirmed the message: basic.publish: 406 PRECONDITION_FAILED - " +
              `${text} (default exchange, routing key "q")`
          )
        })
      ))
  }

  it.effect("marks the only message in flight as not retryable, whatever its text", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const only = yield* send(peer, publisher, "1", "e")
        yield* close(peer, 406, "PRECONDITION_FAILED - invalid expiration")
        assert.isFalse((yield* reasonOf(only, "OutcomeUnknown")).isRetryable)
      })
    ))

  it.effect("whose text names no message makes the next ones go one by one until the cause is found", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer, 1, { retry: Schedule.forever })
        const publish = (text: string) =>
          fork(publisher.publish(AmqpMessage.text(text), { exchange: "", routingKey: text }))
        const fibers = yield* Effect.forEach(["1", "bad", "3"], publish)
        for (const text of ["1", "bad", "3"]) yield* peer.expectPublish(text)
        yield* close(peer, 406, "PRECONDITION_FAILED - user_id property set to 'x' but authenticated user was 'y'")
        yield* reopen(peer)
        yield* peer.expectPublish("1")
        yield* peer.expectNothing
        yield* peer.send(1, ack(1))
        yield* peer.expectPublish("bad")
        yield* peer.expectNothing
        yield* close(peer, 406, "PRECONDITION_FAILED - user_id property set to 'x' but authenticated user was 'y'")
        yield* reopen(peer)
        yield* peer.expectPublish("3")
        yield* peer.send(1, ack(1))
        yield* resultOf(fibers[0])
        assert.isFalse((yield* failureOf(fibers[1])).isRetryable)
        yield* resultOf(fibers[2])
        // The messages that were in flight went one by one. Now publishes are pipelined again.
        const later = yield* Effect.forEach(["4", "5"], publish)
        yield* peer.expectPublish("4")
        yield* peer.expectPublish("5")
        yield* peer.send(1, ack(3, true))
        for (const fiber of later) yield* resultOf(fiber)
      })
    ))

  it.effect("does not affect others again, however often the same message is published", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const lost = yield* send(peer, publisher, "first", "good")
        yield* send(peer, publisher, "bad", "bad")
        yield* close(peer, 404, noExchange("bad"))
        yield* failureOf(lost)
        for (let attempt = 0; attempt < 3; attempt++) {
          const good = yield* fork(publisher.publish(AmqpMessage.text("good"), { exchange: "good", routingKey: "" }))
          yield* reopen(peer)
          yield* peer.expectPublish("good")
          const bad = yield* fork(publisher.publish(AmqpMessage.text("bad"), { exchange: "bad", routingKey: "" }))
          const next = yield* fork(publisher.publish(AmqpMessage.text("next"), { exchange: "good", routingKey: "" }))
          // The message is sent alone: neither with what is in flight nor with what follows.
          yield* peer.expectNothing
          yield* peer.send(1, ack(1))
          yield* peer.expectPublish("bad")
          yield* peer.expectNothing
          yield* resultOf(good)
          yield* close(peer, 404, noExchange("bad"))
          assert.isFalse((yield* failureOf(bad)).isRetryable)
          yield* reopen(peer)
          yield* peer.expectPublish("next")
          yield* peer.send(1, ack(1))
          yield* resultOf(next)
          // The next round begins on a closed channel.
          const again = yield* send(peer, publisher, "bad", "bad")
          yield* close(peer, 404, noExchange("bad"))
          yield* failureOf(again)
        }
      })
    ))

  it.effect("is forgotten when a message to the same exchange is confirmed", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const bad = yield* send(peer, publisher, "bad", "late")
        yield* close(peer, 404, noExchange("late"))
        yield* failureOf(bad)
        const publish = (text: string) =>
          fork(publisher.publish(AmqpMessage.text(text), { exchange: "late", routingKey: "" }))
        const first = yield* publish("1")
        yield* reopen(peer)
        yield* peer.expectPublish("1")
        const second = yield* publish("2")
        yield* peer.expectNothing
        yield* peer.send(1, ack(1))
        yield* resultOf(first)
        yield* peer.expectPublish("2")
        const third = yield* publish("3")
        yield* peer.expectPublish("3")
        yield* peer.send(1, ack(3, true))
        yield* resultOf(second)
        yield* resultOf(third)
      })
    ))

  it.effect("leaves the rest of a batch in order, and the error gives the index of the message that caused it", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const texts = ["0", "1", "2", "3"]
        const batch = yield* fork(publisher.publishAll(
          texts.map((text) => AmqpMessage.text(text)),
          (_message, index) => ({ exchange: index === 1 ? "bad" : "good", routingKey: "" })
        ))
        for (const text of texts) yield* peer.expectPublish(text)
        yield* close(peer, 404, noExchange("bad"))
        const { failures } = yield* failureOf(batch)
        assert.deepStrictEqual(
          failures.map(({ error, index }) => [index, error.isRetryable]),
          [[0, true], [1, false], [2, true], [3, true]]
        )
        // A message that is sent alone holds up the rest of its batch.
        const again = yield* fork(publisher.publishAll(
          texts.map((text) => AmqpMessage.text(text)),
          (_message, index) => ({ exchange: index === 1 ? "bad" : "good", routingKey: "" })
        ))
        yield* reopen(peer)
        yield* peer.expectPublish("0")
        yield* peer.expectNothing
        yield* peer.send(1, ack(1))
        yield* peer.expectPublish("1")
        yield* peer.expectNothing
        yield* peer.send(1, ack(2))
        yield* peer.expectPublish("2")
        yield* peer.expectPublish("3")
        yield* peer.send(1, ack(4, true))
        yield* resultOf(again)
      })
    ))

  it.effect("fails a confirmed program as a whole, which is not retryable when one of its messages caused it", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publish = (exchange: string) =>
          AmqpChannel.publish(AmqpMessage.text(exchange), { exchange, routingKey: "" })
        for (const text of [noExchange("bad"), "NOT_FOUND - something else"]) {
          const program = yield* fork(AmqpChannel.confirmed(AmqpChannel.andThen(publish("good"), publish("bad"))))
          yield* reopen(peer)
          yield* peer.expectPublish("good")
          yield* peer.expectPublish("bad")
          yield* close(peer, 404, text)
          const error = yield* failureOf(program)
          assert.isFalse(error.isRetryable)
          assert.strictEqual(error._tag, "AmqpPublishAllError")
        }
      })
    ))

  it.effect("fails waiting RPC calls as retryable, except for the one that caused it", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { client } = yield* openClient(peer)
        const call = (exchange: string) =>
          Effect.tap(fork(client.call(AmqpMessage.text("?"), { exchange, routingKey: "rpc" })), () =>
            peer.expectPublish())
        const waitsForReply = yield* call("")
        yield* peer.send(1, ack(1))
        const waitsForConfirm = yield* call("")
        const offending = yield* call("bad")
        yield* close(peer, 404, noExchange("bad"))
        assert.isTrue((yield* reasonOf(waitsForReply, "OutcomeUnknown")).isRetryable)
        assert.isTrue((yield* reasonOf(waitsForConfirm, "OutcomeUnknown")).isRetryable)
        assert.isFalse((yield* reasonOf(offending, "OutcomeUnknown")).isRetryable)
      }), { server: direct }))
})
