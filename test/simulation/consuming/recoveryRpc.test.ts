import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import type * as AmqpRpc from "@effect-amqp/core/AmqpRpc"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"
import {
  ack,
  assertReason,
  assertWaits,
  contentBytes,
  fork,
  reasonOf,
  rest,
  resultOf,
  toQueue
} from "../../support/scriptedPeer.ts"
import type { Peer, Published } from "../../support/scriptedPeer.ts"
import { deliver, direct, openClient, openReplies } from "../../support/scriptedRpc.ts"
import { recovering, takeTexts } from "../../support/severalPeers.ts"

type Client = AmqpRpc.AmqpRpcClient["Service"]

const call = (client: Client, text: string) => fork(client.call(AmqpMessage.text(text), toQueue))

/** The next session, with the channel of a client. Returns the consumer tag of its replies. */
const nextSession = (peer: Peer) => Effect.andThen(peer.handshake(direct), openReplies(peer))

const reply = (peer: Peer, consumerTag: string, { properties: { correlationId } }: Published, text: string) =>
  peer.push(contentBytes(1, deliver(consumerTag), text, correlationId === undefined ? {} : { correlationId }))

const options = { server: direct }

describe("a client whose connection is lost", () => {
  it.effect("V9, E13: fails the calls that wait, and consumes the replies to further ones before it sends them", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const { client } = yield* openClient(first, { maxInFlight: 1 })
        const confirmed = yield* call(client, "confirmed")
        yield* first.expectPublish("confirmed")
        yield* first.send(1, ack(1))
        yield* rest
        const sent = yield* call(client, "sent")
        yield* first.expectPublish("sent")
        const waiting = yield* call(client, "waiting")
        yield* first.hangUp
        for (const fiber of [confirmed, sent]) {
          assertReason((yield* reasonOf(fiber, "OutcomeUnknown")).cause, "ConnectionLost")
        }
        const later = yield* call(client, "later")
        yield* assertWaits(waiting)
        const tag = yield* nextSession(second)
        yield* reply(second, tag, yield* second.expectPublish("waiting"), "reply")
        assert.strictEqual((yield* resultOf(waiting)).text, "reply")
        yield* second.send(1, ack(1))
        yield* reply(second, tag, yield* second.expectPublish("later"), "another reply")
        assert.strictEqual((yield* resultOf(later)).text, "another reply")
      }), options))

  it.effect("with a retry, sends calls again in their order, with the same correlation ids", () =>
    recovering(([first, second, third]) =>
      Effect.gen(function*() {
        const { client, replyTag } = yield* openClient(first, { retry: Schedule.forever })
        const answered = yield* call(client, "answered")
        const fibers = [yield* call(client, "1"), yield* call(client, "2"), yield* call(client, "3")]
        yield* reply(first, replyTag, yield* first.expectPublish("answered"), "reply")
        yield* resultOf(answered)
        const before = [yield* first.expectPublish(), yield* first.expectPublish(), yield* first.expectPublish()]
        // Only the second one is confirmed.
        yield* first.send(1, ack(3))
        yield* rest
        yield* first.hangUp
        yield* nextSession(second)
        const again = [yield* second.expectPublish(), yield* second.expectPublish(), yield* second.expectPublish()]
        assert.deepStrictEqual(again, before)
        yield* second.expectNothing
        yield* second.send(1, ack(3, true))
        yield* rest
        yield* second.hangUp
        const tag = yield* nextSession(third)
        for (const [index, fiber] of fibers.entries()) {
          const request = yield* third.expectPublish(String(index + 1))
          assert.deepStrictEqual(request, before[index])
          yield* reply(third, tag, request, `reply ${index}`)
          assert.strictEqual((yield* resultOf(fiber)).text, `reply ${index}`)
        }
      }), options))

  it.effect("with a retry, ends a call as the schedule says, and sends none again whose caller is interrupted", () =>
    recovering(([first, second]) =>
      Effect.gen(function*() {
        const { client } = yield* openClient(first, { retry: Schedule.recurs(1) })
        const timedOut = yield* call(client, "1")
        const lost = yield* call(client, "2")
        const interrupted = yield* call(client, "3")
        yield* takeTexts(first)
        yield* first.send(1, ack(3, true))
        yield* rest
        yield* Fiber.interrupt(timedOut)
        yield* first.hangUp
        yield* rest
        yield* Fiber.interrupt(interrupted)
        yield* nextSession(second)
        assert.deepStrictEqual(yield* takeTexts(second), ["2"])
        yield* second.hangUp
        assertReason((yield* reasonOf(lost, "OutcomeUnknown")).cause, "ConnectionLost")
      }), options))

  it.effect("with a retry, sends all calls again when the connection is lost while it waits for the replies of an ordered replacement", () =>
    recovering(([first, second], connection) =>
      Effect.gen(function*() {
        const { client } = yield* openClient(first, { retry: Schedule.forever })
        for (const text of ["1", "2", "3"]) yield* call(client, text)
        yield* takeTexts(first)
        yield* first.send(1, ack(3, true))
        yield* rest
        yield* fork(connection.reconnect)
        yield* rest
        yield* call(client, "4")
        yield* first.hangUp
        yield* TestClock.adjust("1 second")
        yield* nextSession(second)
        assert.deepStrictEqual(yield* takeTexts(second), ["1", "2", "3", "4"])
      }), options))

  it.effect("waits for replies in an ordered replacement of the connection", () =>
    recovering(([first, second], { reconnect }) =>
      Effect.gen(function*() {
        const { client, replyTag } = yield* openClient(first)
        const waiting = yield* call(client, "1")
        const request = yield* first.expectPublish("1")
        yield* first.send(1, ack(1))
        yield* rest
        const reconnecting = yield* fork(reconnect)
        const later = yield* call(client, "2")
        yield* TestClock.adjust("1 seconds")
        yield* first.expectNothing
        yield* reply(first, replyTag, request, "reply")
        assert.strictEqual((yield* resultOf(waiting)).text, "reply")
        yield* first.closeChannel()
        yield* first.answer(0, "connection.close", { _tag: "connection.close-ok" })
        const tag = yield* nextSession(second)
        yield* resultOf(reconnecting)
        yield* reply(second, tag, yield* second.expectPublish("2"), "another reply")
        yield* resultOf(later)
      }), options))

  it.effect("fails calls without a reply after closeTimeout in an ordered replacement of the connection", () =>
    recovering(([first, second], { reconnect }) =>
      Effect.gen(function*() {
        const { client } = yield* openClient(first)
        const waiting = yield* call(client, "1")
        yield* first.expectPublish("1")
        yield* first.send(1, ack(1))
        yield* rest
        yield* fork(reconnect)
        yield* TestClock.adjust("5 seconds")
        const { cause } = assertReason((yield* reasonOf(waiting, "OutcomeUnknown")).cause, "ConnectionLost")
        assertReason(cause, "ConnectionReplaced")
        yield* first.answer(0, "connection.close", { _tag: "connection.close-ok" })
        yield* nextSession(second)
      }), options))
})
