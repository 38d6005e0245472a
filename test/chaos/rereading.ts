/** Reads a stream again after a run in which messages are missing: are they not in it, or did its consumers leave them out? */
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import type * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { NodeAmqp } from "@effect-amqp/node"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Site } from "./site.ts"

/** How long the stream is read, in milliseconds: nothing marks its end. */
const readMillis = 15_000

/** The ids of the messages in a stream, read by a client of its own from the beginning. */
export const idsIn = (stream: AmqpQueue.AmqpQueue<"stream">, site: Site): Effect.Effect<ReadonlySet<string>> =>
  Effect.gen(function*() {
    const ids = new Set<string>()
    yield* AmqpConsumer.stream(stream, { prefetch: 500, offset: "first" }).pipe(
      Stream.runForEach(({ ack, properties: { messageId } }) => {
        if (messageId !== undefined) ids.add(messageId)
        return ack
      }),
      Effect.timeoutOption(readMillis),
      Effect.ignore,
      Effect.provide(NodeAmqp.layer({ url: site.urlsOf("direct") })),
      Effect.ignore
    )
    return ids
  })
