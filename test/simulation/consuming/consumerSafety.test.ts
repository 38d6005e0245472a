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
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import {
  ack,
  channelClose,
  connected,
  contentBytes,
  declareOk,
  deliverBytes,
  fork,
  handedBack,
  openConsumer,
  rejected,
  rest,
  resultOf
} from "../../support/scriptedPeer.ts"
import type { Peer } from "../../support/scriptedPeer.ts"

const acking = () => Effect.succeed(AmqpDelivery.ack)

/** Options as they come from JavaScript, or from a variable of another type. */
const untyped = (options: object) => options as AmqpConsumer.Options

class InheritedAutoAck {
  get autoAck() {
    return true
  }
}

type Consumer = (options: object) => Effect.Effect<unknown, unknown, AmqpConnection>

describe("the options of consumers", () => {
  const serving: Record<string, Consumer> = {
    serve: (options: object) => AmqpConsumer.serve("q", acking, untyped(options)),
    startServing: (options: object) => Effect.scoped(AmqpConsumer.startServing("q", acking, untyped(options))),
    serveTransaction: (options: object) =>
      AmqpConsumer.serveTransaction("q", () => assert.fail("it was called"), untyped(options)),
    layerServe: (options: object) => Effect.scoped(Layer.build(AmqpConsumer.layerServe("q", acking, untyped(options)))),
    "AmqpRpc.serve": (options: object) =>
      AmqpRpc.serve("q", () => Effect.succeed(AmqpMessage.text("")), untyped(options))
  }
  const taking: Record<string, Consumer> = {
    stream: (options: object) => Stream.runDrain(AmqpConsumer.stream("q", untyped(options))),
    make: (options: object) => Effect.scoped(AmqpConsumer.make("q", untyped(options)))
  }

  /** Asserts what they are refused with, and that no consumer was started. */
  const isRefused = <E, R>(consumer: Effect.Effect<unknown, E, R>, text: string) =>
    Effect.map(Effect.exit(consumer), (exit) => {
      assert.isTrue(Exit.isFailure(exit))
      assert.include(String(exit), text)
    })

  for (const [name, consumer] of Object.entries(serving)) {
    for (const autoAck of [true, "true", 1, null] as const) {
      it.effect(`${name} never acknowledges automatically, whatever autoAck says: ${String(autoAck)}`, () =>
        connected((peer, connection) =>
          Effect.gen(function*() {
            const fiber = yield* fork(isRefused(consumer({ autoAck, prefetch: 10 }), "autoAck"))
            yield* resultOf(fiber)
            yield* peer.expectNothing
            assert.strictEqual(yield* connection.channelCount, 0)
          })
        ))
    }
  }

  for (const [name, consumer] of Object.entries({ ...serving, ...taking })) {
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
        connected((peer) => Effect.andThen(isRefused(consumer(options), text), peer.expectNothing)))
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
  for (const [name, consumer] of Object.entries({ ...serving, ...taking })) {
    it.effect(`${name} refuses arguments for which RabbitMQ would end the connection`, () =>
      connected((peer) =>
        Effect.andThen(
          Effect.forEach(fatal, (table) => isRefused(consumer({ arguments: table }), "arguments: x-")),
          peer.expectNothing
        )
      ))
  }

  it.effect("are refused where the described queue has no use for them", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const log = AmqpQueue.stream("log")
        const tables = { priority: { "x-priority": 1 }, offset: { "x-stream-offset": "first" } }
        for (const options of [{ priority: 1 }, { arguments: tables.priority }].map((each) => each as object)) {
          yield* isRefused(AmqpConsumer.serve(log, acking, options), "priority: consumers of a stream have no priority")
          yield* isRefused(
            Stream.runDrain(AmqpConsumer.stream(["q", log], options)),
            "priority: consumers of a stream"
          )
        }
        for (const queue of [AmqpQueue.classic("q"), AmqpQueue.quorum("q"), AmqpQueue.serverNamed()]) {
          for (const options of [untyped({ offset: "first" }), untyped({ arguments: tables.offset })]) {
            yield* isRefused(
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
      it.effect(`${name} refuses a policy that is not a function: ${JSON.stringify(onFailure)}`, () =>
        connected((peer) =>
          Effect.andThen(
            isRefused(serving[name]({ onFailure }), "onFailure: must be a function"),
            peer.expectNothing
          )
        ))
    }
  }

  for (const [name, consumer] of Object.entries({ ...serving, ...taking })) {
    it.effect(`${name} refuses an unknown key that is inherited`, () =>
      connected((peer) =>
        Effect.andThen(
          isRefused(consumer(Object.create({ consumertag: "c" }) as object), "did you mean \"consumerTag\"?"),
          peer.expectNothing
        )
      ))
  }

  for (const [name, consumer] of Object.entries(taking)) {
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
        connected((peer) => Effect.andThen(isRefused(consumer(options), text), peer.expectNothing)))
    }
  }

  for (const [what, options] of Object.entries({ null: null, "a number": 5, "an array": [], "a function": () => {} })) {
    for (const [name, consumer] of Object.entries({ ...serving, ...taking })) {
      it.effect(`${name} refuses options that are ${what}`, () =>
        connected((peer) =>
          Effect.andThen(isRefused(consumer(options as unknown as object), "must be an object"), peer.expectNothing)
        ))
    }
  }

  const noQueues = {
    undefined,
    null: null,
    "a number": 5,
    "an object": {},
    "a list with a gap": ["a", undefined],
    "a Date": new Date(0)
  }
  for (const [what, queues] of Object.entries(noQueues)) {
    it.effect(`what is no queue is refused: ${what}`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          // As it may come from JavaScript.
          const untypedQueues = queues as unknown as string
          for (
            const consumer of [
              AmqpConsumer.serve(untypedQueues, acking),
              Stream.runDrain(AmqpConsumer.stream(untypedQueues))
            ]
          ) {
            yield* isRefused(consumer, "queue: must be a name or a description made by AmqpQueue")
          }
          yield* peer.expectNothing
        })
      ))
  }

  for (const [concurrency, prefetchCount] of [[1, 2], [10, 20], [40_000, 65_535], ["unbounded", 100]] as const) {
    it.effect(`the prefetch is ${prefetchCount} unless told otherwise, for a concurrency of ${concurrency}`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          yield* fork(AmqpConsumer.serve("q", acking, { concurrency }))
          yield* peer.openChannel()
          assert.strictEqual((yield* peer.expect("basic.qos", 1)).prefetchCount, prefetchCount)
        })
      ))
  }
})

describe("a message that is larger than maxBodySize", () => {
  const client = { client: { maxBodySize: 10 } }
  const large = "x".repeat(11)

  const logging = () => {
    const logged: Array<string> = []
    return { logged, layer: Logger.layer([Logger.map(Logger.formatSimple, (line) => void logged.push(line))]) }
  }

  const consumers = {
    serve: (options: AmqpConsumer.Options) => AmqpConsumer.serve("q", acking, options),
    stream: (options: AmqpConsumer.Options) =>
      Stream.runForEach(AmqpConsumer.stream("q", options), (delivery) => delivery.ack)
  }
  for (const [name, consumer] of Object.entries(consumers)) {
    for (const onOversized of [undefined, "keep"] as const) {
      it.effect(`C12, K7: of ${name} stays in its queue (${onOversized}), is logged, and the next one is handled`, () => {
        const { layer, logged } = logging()
        return connected((peer) =>
          Effect.gen(function*() {
            const { consumerTag } = yield* openConsumer(peer, consumer({ onOversized }))
            yield* peer.push(deliverBytes(1, consumerTag, 1, large), deliverBytes(1, consumerTag, 2, "small"))
            assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(2))
            yield* rest
            assert.match(
              logged.join(),
              /A message of 11 bytes from the queue \\?"q\\?" is larger than maxBodySize, 10 bytes/
            )
            assert.include(logged.join(), "level=ERROR")
            yield* TestClock.adjust("59999 millis")
            yield* peer.expectNothing
            yield* TestClock.adjust("1 millis")
            assert.deepStrictEqual(yield* peer.expect("basic.nack"), handedBack(1))
          }), client).pipe(Effect.provide(layer))
      })
    }

    it.effect(`C12, K7: of ${name} is rejected when the option says so by name`, () => {
      const { layer, logged } = logging()
      return connected((peer) =>
        Effect.gen(function*() {
          const { consumerTag } = yield* openConsumer(peer, consumer({ onOversized: "reject" }))
          yield* peer.push(deliverBytes(1, consumerTag, 1, large))
          assert.deepStrictEqual(yield* peer.expect("basic.reject"), rejected(1, false))
          assert.include(logged.join(), "is rejected, as the option onOversized says")
          assert.notInclude(logged.join(), "dead-letter")
        }), client).pipe(Effect.provide(layer))
    })
  }

  it.effect("C12: of a consumer without acknowledgements is lost, which is logged as an error", () => {
    const { layer, logged } = logging()
    return connected((peer) =>
      Effect.gen(function*() {
        const texts: Array<string> = []
        const stream = Stream.runForEach(
          AmqpConsumer.stream("q", { autoAck: true }),
          ({ text }) => Effect.sync(() => texts.push(text))
        )
        const { consumerTag } = yield* openConsumer(peer, stream, 1, false)
        yield* peer.push(deliverBytes(1, consumerTag, 1, large), deliverBytes(1, consumerTag, 2, "small"))
        yield* rest
        assert.deepStrictEqual(texts, ["small"])
        assert.include(logged.join(), "is lost: the consumer acknowledges automatically")
        yield* peer.expectNothing
      }), client).pipe(Effect.provide(layer))
  })

  it.effect("C12: of a consumer that stops goes back with the others", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumerTag, fiber } = yield* openConsumer(peer, AmqpConsumer.serve("q", acking))
        yield* peer.push(deliverBytes(1, consumerTag, 1, large))
        yield* rest
        const stopping = yield* fork(Fiber.interrupt(fiber))
        yield* peer.closeChannel()
        yield* resultOf(stopping)
        yield* TestClock.adjust("1 minute")
        yield* peer.expectNothing
      }), client).pipe(Effect.provide(Logger.layer([]))))

  /** Serves a queue that is described with a queue for dead letters, which the broker is asked for on channel 2. */
  const asking = (peer: Peer) =>
    Effect.gen(function*() {
      const queue = AmqpQueue.classic("q", { deadLetterExchange: "", deadLetterRoutingKey: "dead" })
      yield* fork(AmqpConsumer.serve(queue, acking))
      yield* peer.openChannel()
      yield* peer.answer(1, "queue.declare", declareOk("q"))
      yield* peer.answer(1, "basic.qos", { _tag: "basic.qos-ok" })
      const { consumerTag } = yield* peer.expect("basic.consume", 1)
      yield* peer.send(1, { _tag: "basic.consume-ok", consumerTag })
      yield* peer.push(deliverBytes(1, consumerTag, 1, large))
      yield* peer.openChannel(2)
      const declare = yield* peer.expect("queue.declare", 2)
      assert.deepStrictEqual([declare.queue, declare.passive], ["dead", true])
    })

  it.effect("K7: is rejected to the queue for dead letters, when that is there", () =>
    connected((peer) =>
      Effect.gen(function*() {
        yield* asking(peer)
        yield* peer.send(2, declareOk("dead"))
        yield* peer.closeChannel(2)
        assert.deepStrictEqual(yield* peer.expect("basic.reject", 1), rejected(1, false))
      }), client).pipe(Effect.provide(Logger.layer([]))))

  it.effect("K7: stays in its queue when the queue for dead letters is not there", () =>
    connected((peer) =>
      Effect.gen(function*() {
        yield* asking(peer)
        yield* peer.send(2, channelClose(404, "no queue 'dead'"))
        yield* peer.expect("channel.close-ok", 2)
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(yield* peer.expect("basic.nack", 1), handedBack(1))
      }), client).pipe(Effect.provide(Logger.layer([]))))

  it.effect("K7: of a stream is skipped, and nothing of a stream is given back", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const { consumerTag } = yield* openConsumer(peer, AmqpConsumer.serve("q", acking, { offset: "first" }))
        yield* peer.push(deliverBytes(1, consumerTag, 1, large))
        assert.deepStrictEqual(yield* peer.expect("basic.ack"), ack(1))
      }), client).pipe(Effect.provide(Logger.layer([]))))
})

describe("what waits to be handled", () => {
  for (
    const [what, consumer, hasLimit] of [
      ["stream", Stream.runForEach(AmqpConsumer.stream("q", { autoAck: true }), () => Effect.never), false],
      ["serve", AmqpConsumer.serve("q", () => Effect.never, { prefetch: 0, drainTimeout: 0 }), true]
    ] as const
  ) {
    it.effect(`K6: counts with its properties and headers: a ${what} that is behind stops the reader`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const { consumerTag } = yield* openConsumer(peer, consumer, 1, hasLimit)
          yield* rest
          const header = "h".repeat(100_000)
          for (let tag = 1; tag <= 400; tag++) {
            yield* peer.push(contentBytes(
              1,
              {
                _tag: "basic.deliver",
                consumerTag,
                deliveryTag: tag,
                redelivered: false,
                exchange: "",
                routingKey: "q"
              },
              "",
              { headers: { header } }
            ))
          }
          yield* rest
          // 40 MB of headers, and 16 MiB may wait.
          assert.isAbove(peer.bytesUnread, 20_000_000)
        })
      ))
  }

  it.effect("K6: is taken one by one by handlers, and then the reader goes on", () =>
    connected((peer) =>
      Effect.gen(function*() {
        let handled = 0
        const serve = AmqpConsumer.serve("q", () => Effect.as(Effect.sleep(1), AmqpDelivery.ack), {
          prefetch: 0,
          drainTimeout: 0
        })
        const { consumerTag } = yield* openConsumer(peer, serve)
        const megabyte = "x".repeat(1024 * 1024)
        for (let tag = 1; tag <= 40; tag++) yield* peer.push(deliverBytes(1, consumerTag, tag, megabyte))
        yield* rest
        assert.isAbove(peer.bytesUnread, 0)
        for (; handled < 60 && peer.bytesUnread > 0; handled++) {
          yield* TestClock.adjust(1)
          yield* rest
        }
        assert.strictEqual(peer.bytesUnread, 0)
      }), { server: { frameMax: 0 }, client: { frameMax: 0 } }))
})
