/** What tests of consumers that recover share. */
import type * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import type { FieldValue } from "@effect-amqp/core/protocol/fieldTable"
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"
import type { Network } from "../../support/scriptedNetwork.ts"
import { bodyBytes, declareOk, deliverBytes, headerBytes, methodBytes } from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"

/** Starts again a second after the broker ended the consumer. */
export const afterASecond = {
  recovery: { schedule: Schedule.spaced("1 second") }
} as const satisfies AmqpConsumer.Options

/** The server's part of a consumer that starts on a channel: its prefetch, and then the consumer. Returns the consumer tag. */
export const acceptConsumer = (
  peer: Peer,
  { channel = 1, offset, prefetch, queue = "q" }: {
    readonly channel?: number
    readonly offset?: FieldValue
    readonly prefetch?: number
    readonly queue?: string
  } = {}
) =>
  Effect.gen(function*() {
    yield* peer.openChannel(channel)
    return yield* acceptOnChannel(peer, channel, queue, offset, prefetch)
  })

/** As {@link acceptConsumer}, on a channel that is open. */
export const acceptOnChannel = (peer: Peer, channel: number, queue: string, offset?: FieldValue, prefetch?: number) =>
  Effect.gen(function*() {
    const qos = yield* peer.expect("basic.qos", channel)
    if (prefetch !== undefined) assert.strictEqual(qos.prefetchCount, prefetch)
    yield* peer.send(channel, { _tag: "basic.qos-ok" })
    const consume = yield* peer.expect("basic.consume", channel)
    assert.strictEqual(consume.queue, queue)
    if (offset !== undefined) assert.deepEqual(consume.arguments, { "x-stream-offset": offset })
    yield* peer.send(channel, { _tag: "basic.consume-ok", consumerTag: consume.consumerTag })
    return consume.consumerTag
  })

/** The server's part of a consumer of a described queue on a new session. The queue is declared before anything else uses the session. */
export const acceptDescribed = (peer: Peer, queue = "q") =>
  Effect.gen(function*() {
    yield* peer.openChannel()
    yield* peer.answer(1, "queue.declare", declareOk(queue))
    yield* peer.closeChannel()
    return yield* acceptConsumer(peer, { queue })
  })

/** The next session of a connection that was lost. */
export const nextSession = (network: Network) => Effect.andThen(TestClock.adjust("1 second"), network.serve())

/** Delivers messages whose texts are their tags. */
export const deliver = (peer: Peer, consumerTag: string, ...tags: ReadonlyArray<number>) =>
  peer.push(...tags.map((tag) => deliverBytes(1, consumerTag, tag, String(tag))))

/** Delivers a stream's messages, each with its tag and its offset. */
export const deliverAt = (peer: Peer, consumerTag: string, ...messages: ReadonlyArray<readonly [number, number]>) =>
  peer.push(...messages.flatMap(([deliveryTag, offset]) => [
    methodBytes(1, {
      _tag: "basic.deliver",
      consumerTag,
      deliveryTag,
      redelivered: false,
      exchange: "",
      routingKey: "q"
    }),
    headerBytes(1, 1, { headers: { "x-stream-offset": offset } }),
    bodyBytes(1, Uint8Array.of(48))
  ]))

export const cancelled = (peer: Peer, consumerTag: string) =>
  peer.send(1, { _tag: "basic.cancel", consumerTag, noWait: true })
