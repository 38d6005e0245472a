import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { connected, fork, resultOf } from "../../support/scriptedPeer.ts"

describe("what newer versions of RabbitMQ refuse", () => {
  it.effect("V5: a prefetch is asked for each consumer and never for the channel, also when it is changed", () =>
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
