import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import type { FieldTable } from "@effect-amqp/core/protocol/fieldTable"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { wire } from "../../fixtures/wire.ts"
import { recovering } from "../../support/scriptedNetwork.ts"
import {
  assertWaits,
  bodyBytes,
  channelClose,
  connected,
  deliverBytes,
  exitOf,
  failureOf,
  fork,
  headerBytes,
  methodBytes,
  openConsumer,
  reasonOf,
  rest,
  resultOf
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"
import { deliver } from "../../support/scriptedRpc.ts"

/** A consumer with a handle, in a scope that the test closes. */
const openHandle = (
  peer: Peer,
  options: AmqpConsumer.Options,
  queues: AmqpConsumer.Queues = "q"
) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const opened = yield* openConsumer(peer, Scope.provide(AmqpConsumer.make(queues, options), scope))
    const consumer = yield* resultOf(opened.fiber)
    return { consumer, consumerTag: opened.consumerTag, close: Scope.close(scope, Exit.void) }
  })

const cancelOk = (consumerTag: string) => ({ _tag: "basic.cancel-ok", consumerTag }) as const
const qosOk = { _tag: "basic.qos-ok" } as const

/** Answers as the broker does when the consumer on channel 1 is replaced. Returns the new tag. */
const replace = (peer: Peer, consumerTag: string, prefetchCount: number, table?: FieldTable) =>
  Effect.gen(function*() {
    yield* peer.answer(1, "basic.cancel", cancelOk(consumerTag))
    assert.strictEqual((yield* peer.expect("basic.qos", 1)).prefetchCount, prefetchCount)
    yield* peer.send(1, qosOk)
    const consume = yield* peer.expect("basic.consume", 1)
    if (table !== undefined) assert.deepEqual(consume.arguments, table)
    yield* peer.send(1, { _tag: "basic.consume-ok", consumerTag: consume.consumerTag })
    return consume.consumerTag
  })

/** The frames of a message as a stream delivers it. */
const withOffset = (consumerTag: string, offset: number) => [
  methodBytes(1, deliver(consumerTag)),
  headerBytes(1, 1, { headers: { "x-stream-offset": offset } }),
  bodyBytes(1, Uint8Array.of(1))
]

describe("setPrefetch", () => {
  it.effect("K1: fails the stream when the connection is lost meanwhile", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { close, consumer, consumerTag } = yield* openHandle(peer, {})
        const stream = yield* fork(Stream.runDrain(consumer.stream))
        const changing = yield* fork(consumer.setPrefetch(5))
        yield* peer.answer(1, "basic.cancel", cancelOk(consumerTag))
        yield* peer.expect("basic.qos", 1)
        yield* peer.hangUp
        yield* reasonOf(changing, "ConnectionLost")
        const exit = yield* Effect.exit(exitOf(stream))
        yield* close
        assert.isTrue(Exit.isSuccess(exit), "the stream still waits")
      })
    ))

  it.effect("K1: fails the stream when the broker does not answer in time", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumer, consumerTag } = yield* openHandle(peer, {})
        const stream = yield* fork(Stream.runDrain(consumer.stream))
        const changing = yield* fork(consumer.setPrefetch(5))
        yield* peer.answer(1, "basic.cancel", cancelOk(consumerTag))
        yield* peer.expect("basic.qos", 1)
        yield* TestClock.adjust("1 minutes")
        yield* reasonOf(changing, "RequestTimeout")
        yield* failureOf(stream)
      })
    ))

  it.effect("starts no new consumer when the consumer is cancelled meanwhile", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumer, consumerTag } = yield* openHandle(peer, {})
        const stream = yield* fork(Stream.runDrain(consumer.stream))
        const changing = yield* fork(consumer.setPrefetch(5))
        yield* peer.answer(1, "basic.cancel", cancelOk(consumerTag))
        const cancelling = yield* fork(consumer.cancel)
        yield* peer.answer(1, "basic.qos", qosOk)
        yield* rest
        const tags = yield* peer.takeTags
        yield* Fiber.interrupt(changing).pipe(Effect.forkChild)
        yield* Fiber.interrupt(cancelling)
        yield* Fiber.interrupt(stream)
        assert.notInclude(tags, "basic.consume")
      })
    ))

  it.effect("called twice at once leaves one consumer, with a tag that was not used before", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumer, consumerTag } = yield* openHandle(peer, { consumerTag: "worker" })
        const changing = yield* fork(
          Effect.all([consumer.setPrefetch(5), consumer.setPrefetch(6)], { concurrency: 2 })
        )
        const tags = [consumerTag]
        for (const prefetchCount of [5, 6]) tags.push(yield* replace(peer, tags[tags.length - 1], prefetchCount))
        yield* resultOf(changing)
        assert.lengthOf(new Set(tags), 3)
      })
    ))

  it.effect("resumes a stream where it was, even if it is called again before the next delivery", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumer, consumerTag } = yield* openHandle(peer, { offset: "first" })
        yield* peer.push(...withOffset(consumerTag, 41))
        let tag = consumerTag
        for (const prefetch of [5, 6]) {
          const changing = yield* fork(consumer.setPrefetch(prefetch))
          tag = yield* replace(peer, tag, prefetch, { "x-stream-offset": 42 })
          yield* resultOf(changing)
        }
      })
    ))

  it.effect("K7: resumes a stream after the last known offset when later properties are unreadable", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumer, consumerTag } = yield* openHandle(peer, { offset: "first" })
        yield* peer.push(...withOffset(consumerTag, 41))
        const first = yield* fork(consumer.setPrefetch(5))
        const tag = yield* replace(peer, consumerTag, 5, { "x-stream-offset": 42 })
        yield* resultOf(first)
        yield* peer.push(
          methodBytes(1, { ...deliver(tag), deliveryTag: 2 }),
          // The flag of a content type without the content type.
          wire("02 0001 0000000e 003c 0000 0000000000000000 8000 ce")
        )
        const second = yield* fork(consumer.setPrefetch(6))
        yield* replace(peer, tag, 6, { "x-stream-offset": 42 })
        yield* resultOf(second)
      })
    ))

  it.effect("ignores an x-stream-offset header that a publisher set", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumer, consumerTag } = yield* openHandle(peer, {})
        yield* peer.push(...withOffset(consumerTag, 41))
        yield* fork(consumer.setPrefetch(5))
        yield* peer.answer(1, "basic.cancel", cancelOk(consumerTag))
        yield* peer.answer(1, "basic.qos", qosOk)
        // The client asks whether the queue is a stream, by a consumer that only other queues refuse like this.
        yield* peer.openChannel(2)
        yield* peer.answer(2, "basic.consume", channelClose(403, "ACCESS_REFUSED - queue 'q' in exclusive use"))
        yield* peer.expect("channel.close-ok", 2)
        // RabbitMQ 3.10 closes the channel when the argument is used to consume a classic queue.
        assert.deepEqual((yield* peer.expect("basic.consume", 1)).arguments, {})
      })
    ))

  for (const when of ["before", "meanwhile"] as const) {
    it.effect(`K1: starts no new consumer when the broker cancels the old one ${when}`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const { consumer, consumerTag } = yield* openHandle(peer, {})
          const cancel = peer.send(1, { _tag: "basic.cancel", consumerTag, noWait: true })
          if (when === "before") yield* cancel
          yield* fork(consumer.setPrefetch(5))
          if (when === "meanwhile") {
            yield* peer.expect("basic.cancel", 1)
            yield* Effect.andThen(cancel, peer.send(1, cancelOk(consumerTag)))
          }
          if ((yield* peer.takeTags).includes("basic.qos")) yield* peer.send(1, qosOk)
          assert.notInclude(yield* peer.takeTags, "basic.consume")
        })
      ))
  }

  it.effect("V5: sets the prefetch per consumer and never per channel, as AmqpConsumer.make does", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const opening = yield* fork(AmqpConsumer.make("q", { prefetch: 5 }))
        yield* peer.openChannel()
        const qos = { _tag: "basic.qos", prefetchSize: 0, global: false } as const
        assert.deepStrictEqual(yield* peer.expect("basic.qos", 1), { ...qos, prefetchCount: 5 })
        yield* peer.send(1, { _tag: "basic.qos-ok" })
        const { consumerTag } = yield* peer.expect("basic.consume", 1)
        yield* peer.send(1, { _tag: "basic.consume-ok", consumerTag })
        const { setPrefetch } = yield* resultOf(opening)
        const changing = yield* fork(setPrefetch(7))
        yield* peer.answer(1, "basic.cancel", { _tag: "basic.cancel-ok", consumerTag })
        assert.deepStrictEqual(yield* peer.expect("basic.qos", 1), { ...qos, prefetchCount: 7 })
        yield* peer.send(1, { _tag: "basic.qos-ok" })
        const again = yield* peer.expect("basic.consume", 1)
        yield* peer.send(1, { _tag: "basic.consume-ok", consumerTag: again.consumerTag })
        yield* resultOf(changing)
      })
    ))
})

describe("a consumer that has ended", () => {
  for (
    const [how, end, reason] of [
      ["its channel was closed", channelClose(404, "NOT_FOUND - no queue 'q' in vhost '/'"), "NotFound"],
      ["it was cancelled", undefined, "ChannelClosed"]
    ] as const
  ) {
    it.effect(`because ${how} fails to give its queues and to change its prefetch`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const { consumer, consumerTag } = yield* openHandle(peer, { recovery: false })
          yield* peer.send(1, end ?? { _tag: "basic.cancel", consumerTag, noWait: true })
          yield* failureOf(yield* fork(Stream.runDrain(consumer.stream)))
          assert.strictEqual(
            (yield* failureOf(yield* fork(consumer.queues)))._tag,
            end === undefined ? "AmqpConsumerCancelled" : "AmqpChannelError"
          )
          yield* reasonOf(yield* fork(consumer.setPrefetch(5)), reason)
        })
      ))
  }
})

describe("the stream of a consumer", () => {
  it.effect("ends for every fiber that runs it", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumer, consumerTag } = yield* openHandle(peer, {})
        const texts: Array<string> = []
        const take = Stream.runForEach(consumer.stream, ({ text }) => Effect.sync(() => void texts.push(text)))
        const one = yield* fork(take)
        const two = yield* fork(take)
        yield* peer.push(deliverBytes(1, consumerTag, 1, "1"))
        yield* peer.push(deliverBytes(1, consumerTag, 2, "2"))
        yield* peer.hangUp
        yield* failureOf(two)
        const exit = yield* Effect.exit(exitOf(one))
        yield* Fiber.interrupt(one)
        assert.isTrue(Exit.isSuccess(exit), "one still waits")
      })
    ))

  it.effect("ends when the scope of the consumer closes, for fibers that wait and for those that come later", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { close, consumer } = yield* openHandle(peer, {})
        const waiting = yield* fork(Stream.runDrain(consumer.stream))
        const closing = yield* fork(close)
        yield* peer.closeChannel(1)
        yield* resultOf(closing)
        yield* resultOf(waiting)
        yield* resultOf(yield* fork(Stream.runDrain(consumer.stream)))
      })
    ))

  it.effect("ends when the scope of the consumer closes while there is no connection", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        const { close, consumer } = yield* openHandle(peer, {})
        const waiting = yield* fork(Stream.runDrain(consumer.stream))
        network.faults.set("a", Effect.never)
        yield* peer.hangUp
        yield* rest
        yield* assertWaits(waiting)
        yield* resultOf(yield* fork(close))
        yield* resultOf(waiting)
      })
    ))

  it.effect("ends when the consumer's cancel is interrupted after it was sent", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumer, consumerTag } = yield* openHandle(peer, {})
        const stream = yield* fork(Stream.runDrain(consumer.stream))
        const cancelling = yield* fork(consumer.cancel)
        yield* peer.expect("basic.cancel", 1)
        const stopping = yield* fork(Fiber.interrupt(cancelling))
        yield* peer.send(1, cancelOk(consumerTag))
        yield* resultOf(stopping)
        const exit = yield* Effect.exit(exitOf(stream))
        yield* Fiber.interrupt(stream)
        assert.isTrue(Exit.isSuccess(exit), "the stream still waits")
      })
    ))

  it.effect("of several queues drops nothing from the others when one of them is deleted", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const handled: Array<string> = []
        const gate = Latch.makeUnsafe()
        const consumer = Stream.runForEach(AmqpConsumer.stream(["a", "b"], { autoAck: true }), ({ text }) =>
          Effect.map(gate.await, () => void handled.push(text)))
        const a = yield* openConsumer(peer, consumer, 1, false)
        const b = yield* peer.expect("basic.consume", 1)
        yield* peer.send(1, { _tag: "basic.consume-ok", consumerTag: b.consumerTag })
        yield* peer.push(deliverBytes(1, a.consumerTag, 1, "1"))
        yield* peer.send(1, { _tag: "basic.cancel", consumerTag: a.consumerTag, noWait: true })
        // Without a cancel the broker continues to deliver from the other queue.
        const tags = yield* peer.takeTags
        if (tags.length === 0) {
          yield* peer.push(deliverBytes(1, b.consumerTag, 2, "2"))
        }
        yield* gate.open
        yield* rest
        yield* Fiber.interrupt(a.fiber).pipe(Effect.forkChild)
        assert.isTrue(tags.includes("basic.cancel") || handled.includes("2"), "the message is lost")
      })
    ))
})
