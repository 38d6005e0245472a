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
import {
  bodyBytes,
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

/** What the broker does when a consumer on channel 1 is made anew. Answers the new tag. */
const remake = (peer: Peer, consumerTag: string, prefetchCount: number, table?: FieldTable) =>
  Effect.gen(function*() {
    yield* peer.answer(1, "basic.cancel", cancelOk(consumerTag))
    assert.strictEqual((yield* peer.expect("basic.qos", 1)).prefetchCount, prefetchCount)
    yield* peer.send(1, qosOk)
    const consume = yield* peer.expect("basic.consume", 1)
    if (table !== undefined) assert.deepEqual(consume.arguments, table)
    yield* peer.send(1, { _tag: "basic.consume-ok", consumerTag: consume.consumerTag })
    return consume.consumerTag
  })

/** A message as a stream delivers it. */
const withOffset = (consumerTag: string, offset: number) => [
  methodBytes(1, deliver(consumerTag)),
  headerBytes(1, 1, { headers: { "x-stream-offset": offset } }),
  bodyBytes(1, Uint8Array.of(1))
]

describe("setPrefetch", () => {
  it.effect("K1: the stream fails when the channel is lost while the prefetch is changed", () =>
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

  it.effect("K1: the stream fails when the broker does not answer in time while the prefetch is changed", () =>
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

  it.effect("starts no consumer when the consumer is cancelled meanwhile", () =>
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

  it.effect("called twice at once leaves one consumer, whose tag no other one had", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumer, consumerTag } = yield* openHandle(peer, { consumerTag: "worker" })
        const changing = yield* fork(
          Effect.all([consumer.setPrefetch(5), consumer.setPrefetch(6)], { concurrency: 2 })
        )
        const tags = [consumerTag]
        for (const prefetchCount of [5, 6]) tags.push(yield* remake(peer, tags[tags.length - 1], prefetchCount))
        yield* resultOf(changing)
        assert.lengthOf(new Set(tags), 3)
      })
    ))

  it.effect("lets a stream go on where it was, also when it is called again before anything came", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumer, consumerTag } = yield* openHandle(peer, { offset: "first" })
        yield* peer.push(...withOffset(consumerTag, 41))
        let tag = consumerTag
        for (const prefetch of [5, 6]) {
          const changing = yield* fork(consumer.setPrefetch(prefetch))
          tag = yield* remake(peer, tag, prefetch, { "x-stream-offset": 42 })
          yield* resultOf(changing)
        }
      })
    ))

  it.effect("K7: lets a stream go on after the last offset it knows, when later properties can't be read", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumer, consumerTag } = yield* openHandle(peer, { offset: "first" })
        yield* peer.push(...withOffset(consumerTag, 41))
        const first = yield* fork(consumer.setPrefetch(5))
        const tag = yield* remake(peer, consumerTag, 5, { "x-stream-offset": 42 })
        yield* resultOf(first)
        yield* peer.push(
          methodBytes(1, { ...deliver(tag), deliveryTag: 2 }),
          // The flag of a content type, and no content type.
          wire("02 0001 0000000e 003c 0000 0000000000000000 8000 ce")
        )
        const second = yield* fork(consumer.setPrefetch(6))
        yield* remake(peer, tag, 6, { "x-stream-offset": 42 })
        yield* resultOf(second)
      })
    ))

  it.effect("takes a header that a publisher set for no offset of a stream", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumer, consumerTag } = yield* openHandle(peer, {})
        yield* peer.push(...withOffset(consumerTag, 41))
        yield* fork(consumer.setPrefetch(5))
        // RabbitMQ 3.10 closes the channel of who consumes a classic queue with the argument.
        yield* remake(peer, consumerTag, 5, {})
      })
    ))

  for (const when of ["before", "meanwhile"] as const) {
    it.effect(`K1: starts no consumer when the broker cancelled it ${when}`, () =>
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
})

describe("a consumer", () => {
  it.effect("its stream can be shared by several", () =>
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

  it.effect("its stream ends when a cancel was interrupted that the broker had heard of", () =>
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

  it.effect("of several queues throws nothing of the others away when one of them is deleted", () =>
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
        // The broker, which was not told to stop, goes on.
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
