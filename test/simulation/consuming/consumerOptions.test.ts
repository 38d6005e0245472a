import type { AmqpConnection } from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import { TypedField } from "@effect-amqp/core/AmqpMessage"
import type { FieldTable } from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpRpc from "@effect-amqp/core/AmqpRpc"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { connected, fork, resultOf } from "../../support/scriptedPeer.ts"

const acking = () => Effect.succeed(AmqpDelivery.ack)

/** Options as JavaScript, or a variable of another type, can pass them. */
const untyped = (options: object) => options as AmqpConsumer.Options

class InheritedAutoAck {
  get autoAck() {
    return true
  }
}

type Consumer = (options: object) => Effect.Effect<unknown, unknown, AmqpConnection>

describe("consumer options:", () => {
  const serving: Record<string, Consumer> = {
    serve: (options: object) => AmqpConsumer.serve("q", acking, untyped(options)),
    startServing: (options: object) => Effect.scoped(AmqpConsumer.startServing("q", acking, untyped(options))),
    serveTransaction: (options: object) =>
      AmqpConsumer.serveTransaction("q", () => assert.fail("it was called"), untyped(options)),
    layerServe: (options: object) => Effect.scoped(Layer.build(AmqpConsumer.layerServe("q", acking, untyped(options)))),
    "AmqpRpc.serve": (options: object) =>
      AmqpRpc.serve("q", () => Effect.succeed(AmqpMessage.text("")), untyped(options))
  }
  const streaming: Record<string, Consumer> = {
    stream: (options: object) => Stream.runDrain(AmqpConsumer.stream("q", untyped(options))),
    make: (options: object) => Effect.scoped(AmqpConsumer.make("q", untyped(options)))
  }

  /** Asserts that the options are refused with this text. */
  const assertRefused = <E, R>(consumer: Effect.Effect<unknown, E, R>, text: string) =>
    Effect.map(Effect.exit(consumer), (exit) => {
      assert.isTrue(Exit.isFailure(exit))
      assert.include(String(exit), text)
    })

  for (const [name, consumer] of Object.entries(serving)) {
    for (const autoAck of [true, "true", 1, null] as const) {
      it.effect(`${name} refuses autoAck: ${String(autoAck)}`, () =>
        connected((peer, connection) =>
          Effect.gen(function*() {
            const fiber = yield* fork(assertRefused(consumer({ autoAck, prefetch: 10 }), "autoAck"))
            yield* resultOf(fiber)
            yield* peer.expectNothing
            assert.strictEqual(yield* connection.channelCount, 0)
          })
        ))
    }
  }

  for (const [name, consumer] of Object.entries({ ...serving, ...streaming })) {
    for (
      const [options, text] of [
        [{ prefech: 10 }, "there is no \"prefech\"; did you mean \"prefetch\"?"],
        [{ exclusiv: true }, "did you mean \"exclusive\"?"],
        [{ autoack: true }, "did you mean \"autoAck\"?"],
        [{ onOversized: "drop" }, "onOversized: must be"],
        [{ offset: "begin" }, "offset: must be"],
        [{ exclusive: "no" }, "exclusive: must be"]
      ] as const
    ) {
      it.effect(`${name} refuses ${JSON.stringify(options)}`, () =>
        connected((peer) => Effect.andThen(assertRefused(consumer(options), text), peer.expectNothing)))
    }
  }

  // RabbitMQ ends the whole connection for each of these.
  const fatal: ReadonlyArray<FieldTable> = [
    ...[
      1.5,
      -1,
      true,
      null,
      [1],
      {},
      "bogus",
      "-1D",
      "1w",
      "",
      Number.NaN,
      -1n,
      new Uint8Array(1),
      TypedField.double(5)
    ]
      .map((offset) => ({ "x-stream-offset": offset })),
    { "x-credit": 1 },
    { "x-credit": { credit: 1, drain: false } }
  ]
  for (const [name, consumer] of Object.entries({ ...serving, ...streaming })) {
    it.effect(`${name} refuses arguments for which RabbitMQ would end the connection`, () =>
      connected((peer) =>
        Effect.andThen(
          Effect.forEach(fatal, (table) => assertRefused(consumer({ arguments: table }), "arguments: x-")),
          peer.expectNothing
        )
      ))
  }

  it.effect("a stream refuses a priority, and any other described queue an offset", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const log = AmqpQueue.stream("log")
        const tables = { priority: { "x-priority": 1 }, offset: { "x-stream-offset": "first" } }
        for (const options of [{ priority: 1 }, { arguments: tables.priority }].map((each) => each as object)) {
          yield* assertRefused(
            AmqpConsumer.serve(log, acking, options),
            "priority: consumers of a stream have no priority"
          )
          yield* assertRefused(
            Stream.runDrain(AmqpConsumer.stream(["q", log], options)),
            "priority: consumers of a stream"
          )
        }
        for (const queue of [AmqpQueue.classic("q"), AmqpQueue.quorum("q"), AmqpQueue.serverNamed()]) {
          for (const options of [untyped({ offset: "first" }), untyped({ arguments: tables.offset })]) {
            yield* assertRefused(
              AmqpConsumer.serve(queue, acking, options),
              `offset: only for streams; a ${queue.type} queue`
            )
          }
        }
        yield* peer.expectNothing
      })
    ))

  for (const name of ["serve", "startServing", "layerServe"]) {
    for (const onFailure of ["requeue", AmqpDelivery.requeue, null]) {
      it.effect(`${name} refuses an onFailure that is not a function: ${JSON.stringify(onFailure)}`, () =>
        connected((peer) =>
          Effect.andThen(
            assertRefused(serving[name]({ onFailure }), "onFailure: must be a function"),
            peer.expectNothing
          )
        ))
    }
  }

  for (const [name, consumer] of Object.entries({ ...serving, ...streaming })) {
    it.effect(`${name} refuses an inherited unknown key`, () =>
      connected((peer) =>
        Effect.andThen(
          assertRefused(consumer(Object.create({ consumertag: "c" }) as object), "did you mean \"consumerTag\"?"),
          peer.expectNothing
        )
      ))
  }

  for (const [name, consumer] of Object.entries(streaming)) {
    for (
      const [options, text] of [
        [{ autoAck: true, prefetch: 10 }, "there is no \"prefetch\""],
        [{ autoAck: "true" }, "autoAck: must be true or absent"],
        [Object.create({ autoAck: true }) as object, "autoAck: must be an own property of the options"],
        [new InheritedAutoAck(), "autoAck: must be an own property of the options"],
        [{ concurrency: 2 }, "there is no \"concurrency\""]
      ] as const
    ) {
      it.effect(`${name} refuses ${JSON.stringify(options)}: ${text}`, () =>
        connected((peer) => Effect.andThen(assertRefused(consumer(options), text), peer.expectNothing)))
    }
  }

  for (const [what, options] of Object.entries({ null: null, "a number": 5, "an array": [], "a function": () => {} })) {
    for (const [name, consumer] of Object.entries({ ...serving, ...streaming })) {
      it.effect(`${name} refuses options that are ${what}`, () =>
        connected((peer) =>
          Effect.andThen(assertRefused(consumer(options as unknown as object), "must be an object"), peer.expectNothing)
        ))
    }
  }

  const notQueues = {
    undefined,
    null: null,
    "a number": 5,
    "an object": {},
    "a list with a gap": ["a", undefined],
    "a Date": new Date(0)
  }
  for (const [what, queues] of Object.entries(notQueues)) {
    it.effect(`${what} is refused as a queue`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          // Untyped code can pass this.
          const untypedQueues = queues as unknown as string
          for (
            const consumer of [
              AmqpConsumer.serve(untypedQueues, acking),
              Stream.runDrain(AmqpConsumer.stream(untypedQueues))
            ]
          ) {
            yield* assertRefused(consumer, "queue: must be a name or a description made by AmqpQueue")
          }
          yield* peer.expectNothing
        })
      ))
  }

  for (const [concurrency, prefetchCount] of [[1, 2], [10, 20], [40_000, 65_535], ["unbounded", 100]] as const) {
    it.effect(`the default prefetch is ${prefetchCount} for a concurrency of ${concurrency}`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          yield* fork(AmqpConsumer.serve("q", acking, { concurrency }))
          yield* peer.openChannel()
          assert.strictEqual((yield* peer.expect("basic.qos", 1)).prefetchCount, prefetchCount)
        })
      ))
  }
})
