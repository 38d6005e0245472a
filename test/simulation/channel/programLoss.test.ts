import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import type { AmqpChannelError } from "@effect-amqp/core/AmqpError"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { recovering } from "../../support/scriptedNetwork.ts"
import {
  assertWaits,
  channelClose,
  connected,
  declareOk,
  exitOf,
  failureOf,
  fork,
  getOkBytes,
  reasonOf,
  rest,
  resultOf
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"

const runners = {
  run: AmqpChannel.run,
  confirmed: AmqpChannel.confirmed,
  transaction: AmqpChannel.transaction
} as const

/** The server's part of a program that declares a queue. */
const serveDeclare = (peer: Peer, runner: keyof typeof runners) =>
  Effect.gen(function*() {
    yield* peer.openChannel()
    if (runner === "confirmed") yield* peer.answer(1, "confirm.select", { _tag: "confirm.select-ok" })
    if (runner === "transaction") yield* peer.answer(1, "tx.select", { _tag: "tx.select-ok" })
    yield* peer.answer(1, "queue.declare", declareOk("q"))
  })

describe("a channel program whose connection is lost in the middle of another Effect", () => {
  for (const [runner, run] of Object.entries(runners) as ReadonlyArray<[keyof typeof runners, typeof runners.run]>) {
    it.effect(`fails at once, and interrupts that (${runner})`, () =>
      recovering(({ peer }) =>
        Effect.gen(function*() {
          let isInterrupted = false
          const long = Effect.onInterrupt(Effect.never, () => Effect.sync(() => void (isInterrupted = true)))
          const running = yield* fork(run(AmqpChannel.andThen(AmqpQueue.declare("q"), long)))
          yield* serveDeclare(peer, runner)
          yield* assertWaits(running)
          yield* peer.hangUp
          const error = yield* reasonOf(running, "ConnectionLost")
          assert.isTrue(error.isRetryable)
          assert.isTrue(isInterrupted)
        })
      ))
  }

  it.effect("can be retried around, on the next connection", () =>
    recovering(({ network, peer }) =>
      Effect.gen(function*() {
        let attempts = 0
        const program = AmqpChannel.gen(function*() {
          yield* AmqpQueue.declare("q")
          yield* Effect.suspend(() => ++attempts === 1 ? Effect.never : Effect.void)
          return attempts
        })
        const running = yield* fork(Effect.retry(AmqpChannel.run(program), { while: (error) => error.isRetryable }))
        yield* serveDeclare(peer, "run")
        yield* peer.hangUp
        const next = yield* network.serve()
        yield* serveDeclare(next, "run")
        yield* next.closeChannel()
        assert.strictEqual(yield* resultOf(running), 2)
      }), { recovery: { stableAfter: 0 } }))

  it.effect("passes by what catches errors, and runs its finalizers", () =>
    recovering(({ peer }) =>
      Effect.gen(function*() {
        const seen: Array<string> = []
        // It has the type of an error that it does not have.
        const failingLater: Effect.Effect<never, AmqpChannelError> = Effect.never
        const note = (text: string) => Effect.sync(() => void seen.push(text))
        const program = AmqpQueue.declare("q").pipe(
          AmqpChannel.andThen(
            AmqpChannel.catchTag(AmqpChannel.fromEffect(failingLater), "AmqpChannelError", () => note("caught"))
          ),
          AmqpChannel.ensuring(AmqpChannel.gen(function*() {
            yield* rest
            yield* note("finalizer")
          })),
          AmqpChannel.andThen(note("next step"))
        )
        const running = yield* fork(AmqpChannel.run(program))
        yield* serveDeclare(peer, "run")
        yield* peer.hangUp
        yield* reasonOf(running, "ConnectionLost")
        assert.deepStrictEqual(seen, ["finalizer"])
      })
    ))

  it.effect("waits for what is uninterruptible", () =>
    recovering(({ peer }) =>
      Effect.gen(function*() {
        const gate = Deferred.makeUnsafe<void>()
        const program = AmqpChannel.andThen(AmqpQueue.declare("q"), Effect.uninterruptible(Deferred.await(gate)))
        const running = yield* fork(AmqpChannel.run(program))
        yield* serveDeclare(peer, "run")
        yield* peer.hangUp
        yield* rest
        yield* assertWaits(running)
        yield* Deferred.succeed(gate, undefined)
        yield* reasonOf(running, "ConnectionLost")
      })
    ))

  it.effect("does the same if its caller may not be interrupted", () =>
    recovering(({ peer }) =>
      Effect.gen(function*() {
        const gate = Deferred.makeUnsafe<void>()
        const program = AmqpChannel.andThen(AmqpQueue.declare("q"), Deferred.await(gate))
        const running = yield* fork(Effect.uninterruptible(AmqpChannel.run(program)))
        yield* serveDeclare(peer, "run")
        yield* peer.hangUp
        yield* rest
        yield* assertWaits(running)
        yield* Deferred.succeed(gate, undefined)
        yield* reasonOf(running, "ConnectionLost")
      })
    ))

  it.effect("is interrupted if its caller interrupts it, and not failed", () =>
    recovering(({ peer }) =>
      Effect.gen(function*() {
        const running = yield* fork(AmqpChannel.run(AmqpChannel.andThen(AmqpQueue.declare("q"), Effect.never)))
        yield* serveDeclare(peer, "run")
        const interrupting = yield* fork(Fiber.interrupt(running))
        yield* peer.closeChannel(1)
        yield* resultOf(interrupting)
        const exit = yield* exitOf(running)
        assert.isTrue(Exit.hasInterrupts(exit))
      })
    ))

  it.effect("goes on with an error of its own that came first", () =>
    recovering(({ peer }) =>
      Effect.gen(function*() {
        const gate = Deferred.makeUnsafe<void, "mine">()
        const program = AmqpChannel.andThen(AmqpQueue.declare("q"), Deferred.await(gate))
        const running = yield* fork(AmqpChannel.run(program))
        yield* serveDeclare(peer, "run")
        yield* Deferred.fail(gate, "mine" as const)
        yield* peer.hangUp
        assert.strictEqual(yield* failureOf(running), "mine")
      })
    ))
})

describe("a channel program whose channel the broker closes in the middle of another Effect", () => {
  it.effect("fails at once with the broker's reason", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const running = yield* fork(AmqpChannel.run(AmqpChannel.andThen(AmqpQueue.declare("q"), Effect.never)))
        yield* serveDeclare(peer, "run")
        yield* peer.send(1, channelClose(404, "NOT_FOUND - no exchange 'x' in vhost '/'"))
        yield* peer.expect("channel.close-ok", 1)
        yield* reasonOf(running, "NotFound")
      })
    ))

  it.effect("may say what it does about a failed operation, which the closed channel does not interrupt", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const gate = Deferred.makeUnsafe<string>()
        const program = AmqpChannel.catchTag(AmqpQueue.declarePassive("q"), "AmqpChannelError", () =>
          Deferred.await(gate))
        const running = yield* fork(AmqpChannel.run(program))
        yield* peer.openChannel()
        yield* peer.answer(1, "queue.declare", channelClose(404, "NOT_FOUND - no queue 'q' in vhost '/'"))
        yield* peer.expect("channel.close-ok", 1)
        yield* rest
        yield* assertWaits(running)
        yield* Deferred.succeed(gate, "instead")
        assert.strictEqual(yield* resultOf(running), "instead")
      })
    ))
})

describe("the handler of AmqpQueue.get whose connection is lost", () => {
  it.effect("is interrupted, and the program fails", () =>
    recovering(({ peer }) =>
      Effect.gen(function*() {
        const handler = () => Effect.as(Effect.never, AmqpDelivery.ack)
        const running = yield* fork(AmqpChannel.run(AmqpQueue.get("q", handler)))
        yield* peer.openChannel()
        yield* peer.expect("basic.get", 1)
        yield* peer.push(getOkBytes(1, "text"))
        yield* assertWaits(running)
        yield* peer.hangUp
        yield* reasonOf(running, "ConnectionLost")
      })
    ))
})
