import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import {
  awaitMessages,
  connected,
  connection,
  declaredQueue,
  drain,
  eventually,
  exchangeName,
  failsWith,
  fill,
  fork,
  infoOf,
  queueName,
  take,
  toQueue,
  uniqueName
} from "../../support/broker.ts"

const { run } = AmqpChannel

const message = (text: string, properties?: AmqpMessage.Properties) => AmqpMessage.text(text, properties)

/** Waits until a queue is gone. A mandatory publish, since a passive declare would count as a use of the queue. */
const awaitGone = (queue: string) =>
  eventually(
    Effect.exit(run(AmqpChannel.publish(message(""), { ...toQueue(queue), mandatory: true }))),
    Exit.isFailure
  )

/** A dead-letter exchange with a queue, and the options that refer to it. */
const deadLetters = Effect.gen(function*() {
  const exchange = AmqpExchange.fanout(yield* exchangeName)
  const queue = AmqpQueue.classic(yield* queueName).pipe(AmqpQueue.withBinding({ exchange }))
  yield* run(AmqpQueue.declare(queue))
  return { queue: queue.name, options: { deadLetterExchange: exchange } }
})

/** A queue of this description that is deleted at the end of the scope. */
const declaredAs = (describe: (name: string) => AmqpQueue.AmqpQueue) =>
  Effect.tap(queueName, (name) => run(AmqpQueue.declare(describe(name))))

const { classic, quorum } = AmqpQueue

const numbered = (count: number) => Array.from({ length: count }, (_, index) => AmqpMessage.text(`message ${index}`))

describe("a queue", () => {
  it.live("can be declared again, and its counts are returned", () =>
    connected(Effect.gen(function*() {
      const queue = yield* queueName
      const declare = run(AmqpQueue.declare(queue))
      assert.deepStrictEqual(yield* declare, { name: queue, messageCount: 0, consumerCount: 0 })
      yield* fill(queue, ...numbered(2))
      assert.deepStrictEqual(yield* declare, { name: queue, messageCount: 2, consumerCount: 0 })
      assert.deepStrictEqual(yield* infoOf(queue), { name: queue, messageCount: 2, consumerCount: 0 })
    })))

  it.live("E9: fails with PreconditionFailed when it exists with other arguments", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue({ maxLength: 5 })
      const different = AmqpQueue.classic(queue, { maxLength: 6 })
      const reason = yield* failsWith(run(AmqpQueue.declare(different)), "PreconditionFailed")
      assert.strictEqual(reason.replyCode, 406)
      assert.isFalse(reason.isRetryable)
      assert.include(reason.message, queue)
      assert.include(reason.message, "inequivalent arg 'x-max-length'")
      assert.include(reason.message, "received '6' but current is '5'")
    })))

  it.live("E8: fails with ResourceLocked when it is exclusive to another connection", () =>
    connected(Effect.gen(function*() {
      const queue = AmqpQueue.classic(uniqueName("queue"), { exclusive: true })
      yield* run(AmqpQueue.declare(queue))
      const infoOnAnother = Effect.provide(infoOf(queue.name), connection())
      const reason = yield* failsWith(infoOnAnother, "ResourceLocked")
      assert.strictEqual(reason.replyCode, 405)
      assert.isTrue(reason.isRetryable)
      assert.include(reason.message, "cannot obtain exclusive access")
      assert.include(reason.message, queue.name)
    })))

  it.live("that is exclusive can be redeclared as durable or not", () =>
    connected(Effect.gen(function*() {
      const queue = uniqueName("queue")
      for (const durable of [true, false]) {
        yield* run(AmqpQueue.declare(AmqpQueue.classic(queue, { exclusive: true, durable })))
      }
    })))

  it.live.each([["quorum", AmqpQueue.quorum], ["stream", AmqpQueue.stream]] as const)(
    "fails with PreconditionFailed for an unknown leader locator: %s queue",
    ([, describe]) =>
      connected(Effect.gen(function*() {
        const queue = describe(yield* queueName, { arguments: { "x-queue-leader-locator": "anywhere" } })
        const { replyText } = yield* failsWith(run(AmqpQueue.declare(queue)), "PreconditionFailed")
        assert.include(replyText, `invalid arg 'x-queue-leader-locator' for queue '${queue.name}'`)
        assert.include(replyText, "invalid_queue_locator_arg")
      }))
  )

  it.live("is named by the broker when it is declared without a name", () =>
    connected(Effect.gen(function*() {
      const declare = run(AmqpQueue.declare(AmqpQueue.serverNamed()))
      const [first, second] = yield* Effect.all([declare, declare])
      assert.match(first.name, /^amq\.gen-/)
      assert.match(second.name, /^amq\.gen-/)
      assert.notStrictEqual(first.name, second.name)
    })))

  it.live("cannot have an empty name or one that begins with amq.", () =>
    connected(Effect.gen(function*() {
      yield* failsWith(run(AmqpQueue.declare("")), "InvalidArgument")
      const reason = yield* failsWith(run(AmqpQueue.declare("amq.mine")), "AccessRefused")
      assert.include(reason.replyText, "reserved prefix 'amq.*'")
    })))

  it.live("can be purged: 5 messages, then 0", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(5))
      const purgeTwice = AmqpChannel.all([AmqpQueue.purge(queue), AmqpQueue.purge(queue)])
      assert.deepStrictEqual(yield* run(purgeTwice), [5, 0])
      assert.strictEqual((yield* infoOf(queue)).messageCount, 0)
    })))

  it.live("can be deleted with its messages, and is not found afterwards", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredQueue()
      yield* fill(queue, ...numbered(3))
      const reason = yield* failsWith(run(AmqpQueue.delete(queue, { ifEmpty: true })), "PreconditionFailed")
      assert.include(reason.message, "not empty")
      assert.strictEqual(yield* run(AmqpQueue.delete(queue)), 3)
      yield* failsWith(infoOf(queue), "NotFound")
      assert.strictEqual(yield* run(AmqpQueue.delete(queue)), 0)
    })))

  it.live("can be declared with every option", () =>
    connected(Effect.gen(function*() {
      const deadLetters = AmqpExchange.fanout(yield* exchangeName)
      const common = {
        messageTtl: "1 minute",
        expires: "5 minutes",
        maxLength: 0,
        maxLengthBytes: 1024,
        deadLetterExchange: deadLetters,
        deadLetterRoutingKey: "dead",
        singleActiveConsumer: true
      } as const
      const queues = [
        AmqpQueue.classic(yield* queueName, {
          ...common,
          autoDelete: true,
          overflow: "reject-publish-dlx",
          maxPriority: 5
        }),
        AmqpQueue.quorum(yield* queueName, {
          ...common,
          overflow: "reject-publish",
          deliveryLimit: 0,
          deadLetterStrategy: "at-least-once",
          initialGroupSize: 1,
          leaderLocator: "client-local"
        }),
        AmqpQueue.stream(yield* queueName, {
          maxLengthBytes: 1_000_000,
          maxAge: "1 hour",
          segmentSizeBytes: 500_000,
          initialGroupSize: 1,
          leaderLocator: "balanced"
        })
      ]
      for (const queue of queues) {
        const declare = run(AmqpQueue.declare(queue))
        assert.strictEqual((yield* declare).name, queue.name)
        yield* declare
      }
    })))
})

describe("a described queue", () => {
  it.live.each([["classic", classic], ["quorum", quorum]] as const)(
    "dead-letters messages older than its messageTtl: %s",
    ([, make]) =>
      connected(Effect.gen(function*() {
        const { options, queue: dead } = yield* deadLetters
        const queue = yield* declaredAs((name) => make(name, { ...options, messageTtl: "30 millis" }))
        yield* fill(queue, message("a"), message("b"))
        yield* awaitMessages(dead, 2)
        assert.deepStrictEqual(yield* drain(dead), ["a", "b"])
        assert.strictEqual((yield* infoOf(queue)).messageCount, 0)
      }))
  )

  it.live("dead-letters messages that no consumer takes at once when its messageTtl is 0", () =>
    connected(Effect.gen(function*() {
      const { options, queue: dead } = yield* deadLetters
      const queue = yield* declaredAs((name) => classic(name, { ...options, messageTtl: 0 }))
      yield* fill(queue, message("unconsumed"))
      yield* awaitMessages(dead, 1)
      const consumer = yield* AmqpConsumer.make(queue)
      yield* fill(queue, message("consumed"))
      const [delivery] = yield* Stream.runCollect(Stream.take(consumer.stream, 1))
      assert.strictEqual(delivery.text, "consumed")
      assert.deepStrictEqual(yield* drain(dead), ["unconsumed"])
    })))

  it.live("is deleted when it is unused for its expires time", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredAs((name) => classic(name, { expires: "100 millis" }))
      yield* awaitGone(queue)
      yield* failsWith(infoOf(queue), "NotFound")
    })))

  it.live.each(
    [
      ["maxLength", { maxLength: 2 }],
      ["maxLengthBytes", { maxLengthBytes: 2 }],
      ["the maxLength of a quorum queue", { maxLength: 2, isQuorum: true }]
    ] as const
  )(
    "dead-letters its oldest messages when it exceeds %s",
    ([, limits]) =>
      connected(Effect.gen(function*() {
        const { options, queue: dead } = yield* deadLetters
        const { isQuorum, ...limit } = { isQuorum: false, ...limits }
        const queue = yield* declaredAs((name) => (isQuorum ? quorum : classic)(name, { ...options, ...limit }))
        yield* fill(queue, ...["1", "2", "3", "4"].map((text) => message(text)))
        yield* awaitMessages(dead, 2)
        assert.deepStrictEqual(yield* drain(dead), ["1", "2"])
        assert.deepStrictEqual(yield* drain(queue), ["3", "4"])
      }))
  )

  it.live("dead-letters every message when its maxLength or maxLengthBytes is 0", () =>
    connected(Effect.gen(function*() {
      const { options, queue: dead } = yield* deadLetters
      const none = yield* declaredAs((name) => classic(name, { ...options, maxLength: 0 }))
      const empty = yield* declaredAs((name) => classic(name, { ...options, maxLengthBytes: 0 }))
      yield* fill(none, message("a"))
      yield* fill(empty, message("b"))
      yield* awaitMessages(dead, 2)
      assert.deepStrictEqual(yield* drain(dead), ["a", "b"])
    })))

  it.live("P7: nacks the new message with reject-publish, and also dead-letters it with reject-publish-dlx", () =>
    connected(Effect.gen(function*() {
      const { options, queue: dead } = yield* deadLetters
      const refusing = { ...options, maxLength: 1 }
      for (
        const [queue, deadLettered] of [
          [yield* declaredAs((name) => classic(name, { ...refusing, overflow: "reject-publish" })), 0],
          [yield* declaredAs((name) => classic(name, { ...refusing, overflow: "reject-publish-dlx" })), 1]
        ] as const
      ) {
        yield* fill(queue, message("1"))
        const error = yield* Effect.flip(fill(queue, message("2")))
        if (error._tag !== "AmqpPublishAllError") return assert.fail(String(error))
        assert.strictEqual(error.failures[0].error.reason._tag, "Nacked")
        assert.deepStrictEqual(yield* drain(queue), ["1"])
        assert.strictEqual((yield* drain(dead)).length, deadLettered)
      }
    })))

  it.live("dead-letters messages with their own routing key or the given one, and with x-death", () =>
    connected(Effect.gen(function*() {
      const deadLetterExchange = AmqpExchange.topic(yield* exchangeName)
      const dead = AmqpQueue.classic(yield* queueName).pipe(
        AmqpQueue.withBinding({ exchange: deadLetterExchange, routingKey: "#" })
      )
      const own = yield* declaredAs((name) => classic(name, { deadLetterExchange }))
      const other = yield* declaredAs((name) => classic(name, { deadLetterExchange, deadLetterRoutingKey: "other" }))
      yield* run(AmqpQueue.declare(dead))
      for (const queue of [own, other]) {
        yield* fill(queue, message("bad"))
        yield* run(AmqpQueue.get(queue, () => Effect.succeed(AmqpDelivery.reject)))
      }
      yield* awaitMessages(dead.name, 2)
      const letters = [yield* take(dead.name), yield* take(dead.name)]
      assert.deepStrictEqual(letters.map(({ routingKey }) => routingKey), [own, "other"])
      for (const [index, { exchange, properties }] of letters.entries()) {
        assert.strictEqual(exchange, deadLetterExchange.name)
        assert.containSubset(properties.headers?.["x-death"], [
          {
            reason: "rejected",
            queue: [own, other][index],
            count: 1,
            exchange: "",
            "routing-keys": [[own, other][index]]
          }
        ])
      }
    })))

  it.live("delivers messages by priority, up to its maxPriority", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredAs((name) => classic(name, { maxPriority: 5 }))
      yield* fill(queue, ...[0, 5, 2, 9, 1].map((priority) => message(`of ${priority}`, { priority })))
      assert.deepStrictEqual(yield* drain(queue), ["of 5", "of 9", "of 2", "of 1", "of 0"])
    })))

  it.live.each([["classic", classic], ["quorum", quorum]] as const)(
    "has a single active consumer, and then the next one: %s",
    ([, make]) =>
      connected(Effect.gen(function*() {
        const queue = yield* declaredAs((name) => make(name, { singleActiveConsumer: true }))
        const firstScope = yield* Scope.make()
        const first = yield* Scope.provide(AmqpConsumer.make(queue, { prefetch: 1 }), firstScope)
        const second = yield* AmqpConsumer.make(queue)
        yield* fill(queue, message("1"), message("2"), message("3"))
        const [delivery] = yield* Stream.runCollect(Stream.take(first.stream, 1))
        assert.strictEqual(delivery.text, "1")
        // The second consumer gets nothing, although the first has no room.
        yield* awaitMessages(queue, 2)
        yield* delivery.ack
        yield* Scope.close(firstScope, Exit.void)
        // The first is cancelled before its message is requeued, so a quorum queue may deliver the next one first.
        const received = yield* Stream.runCollect(Stream.take(second.stream, 2))
        assert.sameMembers(received.map(({ text }) => text), ["2", "3"])
      }))
  )

  it.live.each([[0, 1], [2, 3]] as const)(
    "K12: redelivers a requeued message %i times, and then dead-letters it",
    ([deliveryLimit, deliveries]) =>
      connected(Effect.gen(function*() {
        const { options, queue: dead } = yield* deadLetters
        const queue = yield* declaredAs((name) => quorum(name, { ...options, deliveryLimit }))
        yield* fill(queue, message("poison"))
        const counts: Array<unknown> = []
        yield* fork(AmqpConsumer.serve(queue, ({ properties }) =>
          Effect.sync(() => {
            counts.push(properties.headers?.["x-delivery-count"])
            return AmqpDelivery.requeue
          })))
        yield* awaitMessages(dead, 1)
        assert.strictEqual(counts.length, deliveries)
        assert.deepStrictEqual(counts.slice(1), Array.from({ length: deliveries - 1 }, (_, index) => index + 1))
        assert.strictEqual((yield* infoOf(queue)).messageCount, 0)
      }))
  )

  it.live("is deleted with its last consumer when it is autoDelete", () =>
    connected(Effect.gen(function*() {
      const queue = yield* declaredAs((name) => classic(name, { autoDelete: true }))
      const [first, second] = [yield* AmqpConsumer.make(queue), yield* AmqpConsumer.make(queue)]
      yield* first.cancel
      assert.strictEqual((yield* infoOf(queue)).consumerCount, 1)
      yield* second.cancel
      yield* failsWith(infoOf(queue), "NotFound")
    })))

  it.live("is deleted with its connection when it is exclusive", () =>
    connected(Effect.gen(function*() {
      const queue = uniqueName("queue")
      const declare = run(AmqpQueue.declare(AmqpQueue.classic(queue, { exclusive: true })))
      yield* Effect.provide(declare, connection())
      yield* eventually(Effect.flip(infoOf(queue)), ({ reason }) => reason._tag === "NotFound")
    })))
})

describe("a described dead-letter queue", () => {
  it.live("is declared with its queue, and receives the dead letters", () =>
    connected(Effect.gen(function*() {
      const dead = AmqpQueue.quorum(yield* queueName)
      for (const make of [AmqpQueue.classic, AmqpQueue.quorum]) {
        const queue = make(yield* queueName, { deadLetterQueue: dead })
        assert.strictEqual((yield* run(AmqpQueue.declare(queue))).name, queue.name)
        yield* fill(queue.name, AmqpMessage.text(queue.type))
        yield* run(AmqpQueue.get(queue, () => Effect.succeed(AmqpDelivery.reject)))
        yield* awaitMessages(dead.name, 1)
        assert.strictEqual((yield* take(dead.name)).text, queue.type)
      }
    })))
})
