import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import {
  ack,
  assertWaits,
  connected,
  deliverBytes,
  exitOf,
  failureOf,
  fork,
  gated,
  openConsumer,
  resultOf
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"

const acking = () => Effect.succeed(AmqpDelivery.ack)

/** Otherwise the loss of the connection would end the test's own program. */
const ignoringEnd = { onEnd: () => Effect.void }

/** Builds a layer up to its `basic.consume`, which is not answered yet. */
const building = <A, E, R>(peer: Peer, layer: Layer.Layer<A, E, R>) =>
  Effect.gen(function*() {
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope, exit) => Scope.close(scope, exit))
    const fiber = yield* fork(Layer.buildWithScope(layer, scope))
    yield* peer.openChannel()
    yield* peer.answer(1, "basic.qos", { _tag: "basic.qos-ok" })
    const { consumerTag } = yield* peer.expect("basic.consume")
    return { consumerTag, fiber, scope }
  })

const built = <A, E, R>(peer: Peer, layer: Layer.Layer<A, E, R>) =>
  Effect.gen(function*() {
    const { consumerTag, fiber, scope } = yield* building(peer, layer)
    yield* peer.send(1, { _tag: "basic.consume-ok", consumerTag })
    yield* resultOf(fiber)
    return { consumerTag, scope }
  })

const cancelled = (peer: Peer, consumerTag: string) => peer.send(1, { _tag: "basic.cancel", consumerTag, noWait: true })

describe("layerServe", () => {
  it.effect("is built only once the broker has accepted the consumer", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumerTag, fiber } = yield* building(peer, AmqpConsumer.layerServe("q", acking, ignoringEnd))
        yield* assertWaits(fiber)
        yield* peer.send(1, { _tag: "basic.consume-ok", consumerTag })
        yield* resultOf(fiber)
        yield* peer.push(deliverBytes(1, consumerTag, 1, "m"))
        assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(1))
        yield* peer.hangUp
      })
    ))

  it.effect("fails when the broker refuses the consumer", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { fiber } = yield* building(peer, AmqpConsumer.layerServe("q", acking))
        yield* peer.send(1, {
          _tag: "channel.close",
          replyCode: 404,
          replyText: "no queue 'q'",
          classId: 60,
          methodId: 20
        })
        yield* peer.expect("channel.close-ok")
        assert.strictEqual((yield* failureOf(fiber)).reason._tag, "NotFound")
      })
    ))

  it.effect("waits for running handlers when its scope closes", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { gate, handler } = gated()
        const { consumerTag, scope } = yield* built(peer, AmqpConsumer.layerServe("q", handler))
        yield* peer.push(deliverBytes(1, consumerTag, 1, "m"))
        const closing = yield* fork(Scope.close(scope, Exit.void))
        yield* assertWaits(closing)
        yield* gate.open
        assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(1))
        yield* peer.closeChannel()
        yield* resultOf(closing)
      })
    ))

  it.effect("calls onEnd once with what ended the consumer, and not when the consumer is stopped", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const ends: Array<string> = []
        const layer = AmqpConsumer.layerServe("q", acking, {
          onEnd: (error) => Effect.sync(() => ends.push(error._tag))
        })
        const first = yield* built(peer, layer)
        yield* cancelled(peer, first.consumerTag)
        yield* peer.expectNothing
        assert.deepStrictEqual(ends, ["AmqpConsumerCancelled"])
        const closing = yield* fork(Scope.close(first.scope, Exit.void))
        yield* peer.closeChannel()
        yield* resultOf(closing)
        const second = yield* built(peer, layer)
        const stopping = yield* fork(Scope.close(second.scope, Exit.void))
        yield* peer.closeChannel()
        yield* resultOf(stopping)
        assert.deepStrictEqual(ends, ["AmqpConsumerCancelled"])
      })
    ))

  const mistakes: Record<string, () => unknown> = {
    fails: () => Effect.fail("no"),
    dies: () => Effect.die(new Error("no")),
    "is interrupted": () => Effect.interrupt,
    throws: () => {
      throw new Error("no")
    },
    "returns nothing": () => undefined,
    "returns a rejected Promise": () => Promise.reject(new Error("no"))
  }
  for (const [what, mistake] of Object.entries(mistakes)) {
    it.effect(`ends its program when onEnd ${what}`, () => {
      const logged: Array<string> = []
      const logger = Logger.make(({ logLevel, message }) => {
        logged.push(`${logLevel}: ${String(message)}`)
      })
      return Effect.map(
        Effect.exit(
          connected((peer) =>
            Effect.gen(function*() {
              // Untyped code can pass this.
              const onEnd = mistake as () => Effect.Effect<void>
              const program = Layer.launch(AmqpConsumer.layerServe("q", acking, { onEnd }))
              const { consumerTag, fiber } = yield* openConsumer(peer, program)
              yield* cancelled(peer, consumerTag)
              yield* peer.closeChannel()
              return yield* exitOf(fiber)
            })
          )
        ),
        () => {
          assert.include(logged[0], "onEnd failed")
          assert.include(logged[1], "A consumer has ended, and its program with it")
        }
      ).pipe(Effect.provide(Logger.layer([logger])))
    })
  }

  it.effect("refuses an onEnd that is not a function, before anything is sent", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const options = { onEnd: "exit" } as object
        const exit = yield* Effect.exit(Effect.scoped(Layer.build(AmqpConsumer.layerServe("q", acking, options))))
        assert.include(String(exit), "onEnd: must be a function")
        yield* peer.expectNothing
      })
    ))

  it.effect("ends its program with the error that ended the consumer, and logs it as fatal", () => {
    const logged: Array<string> = []
    const logger = Logger.make(({ fiber, logLevel, message }) => {
      logged.push(`${logLevel}: ${String(message)}`)
      assert.deepInclude(fiber.getRef(References.CurrentLogAnnotations), { queue: "q" })
    })
    const layer = AmqpConsumer.layerServe("q", acking)
    const programs = [Layer.launch(layer), Effect.provide(Effect.never, layer), Layer.launch(Layer.mergeAll(layer))]
    return connected((peer) =>
      Effect.gen(function*() {
        for (const program of programs) {
          const { consumerTag, fiber } = yield* openConsumer(peer, Effect.exit(program))
          yield* cancelled(peer, consumerTag)
          yield* peer.closeChannel()
          const exit = (yield* exitOf(fiber)) as Exit.Exit<Exit.Exit<never, unknown>>
          if (!Exit.isFailure(exit)) return assert.fail("the program continues")
          const [error] = Cause.prettyErrors(exit.cause)
          assert.isFalse(Cause.hasInterruptsOnly(exit.cause))
          assert.include(error.message, "The broker cancelled the consumer of the queue \"q\"")
          assert.match(
            logged.splice(0).join(),
            /^Fatal: A consumer has ended, and its program with it: The broker cancelled the consumer of the queue "q"/
          )
        }
      })
    ).pipe(Effect.provide(Logger.layer([logger])))
  })

  it.effect("does not end its program when its scope closes", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { scope } = yield* built(peer, AmqpConsumer.layerServe("q", acking))
        const closing = yield* fork(Scope.close(scope, Exit.void))
        yield* peer.closeChannel()
        yield* resultOf(closing)
      })
    ))
})

describe("startServing", () => {
  it.effect("yields an effect that fails with what ended the consumer", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumerTag, fiber } = yield* openConsumer(peer, AmqpConsumer.startServing("q", acking))
        const end = yield* fork(yield* resultOf(fiber))
        yield* assertWaits(end)
        yield* cancelled(peer, consumerTag)
        assert.strictEqual((yield* failureOf(end))._tag, "AmqpConsumerCancelled")
        yield* peer.hangUp
      })
    ))

  it.effect("ends without an error when its scope closes, even if a handler takes too long", () =>
    connected((peer) =>
      Effect.gen(function*() {
        for (const handler of [acking, () => Effect.never]) {
          const scope = yield* Scope.make()
          const serving = AmqpConsumer.startServing("q", handler, { drainTimeout: 0 })
          const { consumerTag, fiber } = yield* openConsumer(peer, Scope.provide(serving, scope))
          const end = yield* fork(yield* resultOf(fiber))
          yield* peer.push(deliverBytes(1, consumerTag, 1, "m"))
          yield* peer.takeTags
          const closing = yield* fork(Scope.close(scope, Exit.void))
          yield* peer.takeTags
          yield* peer.send(1, { _tag: "channel.close-ok" })
          yield* resultOf(closing)
          yield* resultOf(end)
        }
      })
    ))
})
