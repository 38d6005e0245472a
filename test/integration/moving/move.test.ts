import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Scheduler from "effect/Scheduler"
import {
  assertReason,
  awaitMessages,
  connected,
  declaredExchange,
  declaredQueue,
  failsWith,
  fill,
  fork,
  infoOf,
  queueName,
  take,
  uniqueName
} from "../../support/broker.ts"

const numbered = (count: number) => Array.from({ length: count }, (_, index) => AmqpMessage.text(String(index)))

/** The texts of all messages in a queue, in order. The messages are requeued. */
const textsIn = (queue: string) =>
  AmqpChannel.run(AmqpQueue.getAll(queue, ({ text }) => Effect.succeed(AmqpDelivery.as(AmqpDelivery.requeue, text))))

const texts = (count: number, isChosen: (index: number) => boolean = () => true) =>
  Array.from({ length: count }, (_, index) => index).filter(isChosen).map(String)

const isEven = ({ text }: AmqpDelivery.ReceivedMessage) => Number(text) % 2 === 0

/** A queue with numbered messages, and an empty one. */
const fromAndTo = (count: number) =>
  Effect.gen(function*() {
    const [from, to] = [yield* declaredQueue(), yield* declaredQueue()]
    yield* fill(from, ...numbered(count))
    return { from, to }
  })

const depth = (queue: string) => Effect.map(infoOf(queue), ({ messageCount }) => messageCount)

/** The error of a move that fails after its start. */
const moveErrorOf = <A, E extends { readonly _tag: string }, R>(move: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(move), (error) => {
    assert.strictEqual(error._tag, "AmqpMoveError")
    return error as Extract<E, { readonly _tag: "AmqpMoveError" }>
  })

describe("a move", () => {
  for (const make of [AmqpQueue.classic, AmqpQueue.quorum]) {
    it.live(`moves all messages of a ${make("q").type} queue to another one, in order`, () =>
      connected(Effect.gen(function*() {
        const [from, to] = [make(yield* queueName), make(yield* queueName)]
        yield* AmqpChannel.run(AmqpChannel.all([AmqpQueue.declare(from), AmqpQueue.declare(to)]))
        yield* fill(from.name, ...numbered(2000))
        const result = yield* AmqpQueue.move(from, to)
        assert.deepStrictEqual(result, { total: 2000, moved: 2000, skipped: 0, failed: 0 })
        assert.deepStrictEqual(yield* textsIn(to.name), texts(2000))
        assert.deepStrictEqual(yield* textsIn(from.name), [])
        assert.deepStrictEqual(yield* AmqpQueue.move(from, to), { total: 0, moved: 0, skipped: 0, failed: 0 })
      })))

    it.live(`leaves the messages that its filter does not select in place in a ${make("q").type} queue`, () =>
      connected(Effect.gen(function*() {
        const [from, to] = [make(yield* queueName), make(yield* queueName)]
        yield* AmqpChannel.run(AmqpChannel.all([AmqpQueue.declare(from), AmqpQueue.declare(to)]))
        yield* fill(from.name, ...numbered(300))
        const result = yield* AmqpQueue.move(from, to, { filter: isEven, limit: 100 })
        assert.deepInclude(result, { total: 300, moved: 100, failed: 0 })
        assert.deepStrictEqual(yield* textsIn(to.name), texts(200, (index) => index % 2 === 0))
        assert.deepStrictEqual(yield* textsIn(from.name), texts(300, (index) => index % 2 === 1 || index >= 200))
      })))
  }

  it.live("can filter more messages than its prefetch, and than a channel may hold", () =>
    connected(Effect.gen(function*() {
      const { from, to } = yield* fromAndTo(2600)
      const options = { filter: ({ text }: AmqpDelivery.ReceivedMessage) => Number(text) >= 2590, prefetch: 7 }
      assert.deepStrictEqual(yield* AmqpQueue.move(from, to, options), {
        total: 2600,
        moved: 10,
        skipped: 2590,
        failed: 0
      })
      assert.deepStrictEqual(yield* textsIn(from), texts(2590))
      assert.deepStrictEqual(yield* textsIn(to), texts(2600, (index) => index >= 2590))
    })))

  it.live("moves at most as many messages as its limit", () =>
    connected(Effect.gen(function*() {
      const { from, to } = yield* fromAndTo(20)
      assert.deepInclude(yield* AmqpQueue.move(from, to, { limit: 5 }), { total: 20, moved: 5 })
      assert.deepStrictEqual(yield* textsIn(from), texts(20, (index) => index >= 5))
      assert.deepInclude(yield* AmqpQueue.move(from, to, { limit: 50 }), { total: 15, moved: 15 })
      assert.deepStrictEqual(yield* textsIn(to), texts(20))
    })))

  it.live("only counts in a dry run", () =>
    connected(Effect.gen(function*() {
      const { from, to } = yield* fromAndTo(10)
      const all = { total: 10, moved: 10, skipped: 0, failed: 0 }
      assert.deepStrictEqual(yield* AmqpQueue.move(from, to, { dryRun: true }), all)
      assert.isFalse(
        (yield* AmqpChannel.run(AmqpQueue.get(from, (m) => Effect.succeed(AmqpDelivery.as(AmqpDelivery.requeue, m)))))
          .pipe((found) => found._tag === "Some" ? found.value.redelivered : assert.fail("nothing was found"))
      )
      assert.deepStrictEqual(yield* AmqpQueue.move(from, to, { dryRun: true, limit: 4 }), { ...all, moved: 4 })
      const filtered = yield* AmqpQueue.move(from, to, { dryRun: true, filter: isEven })
      assert.deepStrictEqual(filtered, { ...all, moved: 5, skipped: 5 })
      assert.deepInclude(yield* AmqpQueue.move(from, to, { dryRun: true, filter: isEven, limit: 2 }), { moved: 2 })
      assert.deepStrictEqual(yield* textsIn(from), texts(10))
      assert.deepStrictEqual(yield* textsIn(to), [])
    })))

  it.live("keeps all properties except the CC header", () =>
    connected(Effect.gen(function*() {
      const { from, to } = yield* fromAndTo(0)
      const copied = yield* declaredQueue()
      const properties: AmqpMessage.Properties = {
        contentType: "text/plain",
        contentEncoding: "identity",
        headers: { text: "a", number: 1, nested: { list: [true, null, 1.5] }, "x-death": "kept", CC: [copied] },
        deliveryMode: "persistent",
        priority: 3,
        correlationId: "c",
        replyTo: "r",
        expiration: "1 hour",
        messageId: "m",
        timestamp: new Date(1_700_000_000_000),
        type: "t",
        userId: "guest",
        appId: "a"
      }
      yield* fill(from, AmqpMessage.make(Uint8Array.of(0, 255, 10), properties))
      yield* take(copied)
      yield* AmqpQueue.move(from, to)
      const moved = yield* take(to)
      const { CC: _, ...headers } = properties.headers ?? {}
      assert.deepStrictEqual(moved.body, Uint8Array.of(0, 255, 10))
      const { expiration, raw: _raw, ...received } = moved.properties
      const { expiration: _expiration, ...sent } = properties
      assert.deepStrictEqual({ ...received }, { ...sent, headers })
      assert.isDefined(expiration)
      assert.deepStrictEqual(moved.properties.headers, headers)
      assert.strictEqual(yield* depth(copied), 0)
    })))

  it.live("resets the failure headers with resetFailures", () =>
    connected(Effect.gen(function*() {
      const { from, to } = yield* fromAndTo(0)
      const headers = { "x-failure-count": 3, "x-failure-queue": "q", "x-first-death-reason": "rejected", other: 1 }
      yield* fill(
        from,
        AmqpMessage.text("a", { headers }),
        AmqpMessage.text("b", { headers: { "x-failure-count": 1 } })
      )
      yield* AmqpQueue.move(from, to)
      assert.deepStrictEqual((yield* take(to)).properties.headers, headers)
      yield* fill(from, AmqpMessage.text("c", { headers }))
      yield* AmqpQueue.move(to, from)
      yield* AmqpQueue.move(from, to, { resetFailures: true })
      assert.deepStrictEqual((yield* take(to)).properties.headers, { other: 1 })
      assert.isUndefined((yield* take(to)).properties.headers)
    })))

  it.live("publishes to an exchange with a key, or to a target computed from the message", () =>
    connected(Effect.gen(function*() {
      const { from, to } = yield* fromAndTo(10)
      const exchange = yield* declaredExchange(AmqpExchange.topic)
      yield* AmqpChannel.run(AmqpQueue.bind(to, { exchange, routingKey: "again.#" }))
      const other = yield* declaredQueue()
      yield* AmqpQueue.move(from, { exchange, routingKey: "again.5" }, { limit: 5 })
      yield* AmqpQueue.move(
        from,
        (message) =>
          isEven(message) ? other : { exchange: AmqpExchange.topic(exchange), routingKey: `again.${message.text}` }
      )
      assert.deepStrictEqual(yield* textsIn(to), ["0", "1", "2", "3", "4", "5", "7", "9"])
      assert.deepStrictEqual(yield* textsIn(other), ["6", "8"])
    })))

  it.live("reports its progress and its result", () =>
    connected(Effect.gen(function*() {
      const { from, to } = yield* fromAndTo(3000)
      const seen: Array<AmqpQueue.MoveProgress> = []
      const result = yield* AmqpQueue.move(from, to, {
        filter: isEven,
        onProgress: (progress) => Effect.sync(() => seen.push(progress))
      })
      assert.deepStrictEqual(seen.at(-1), result)
      for (const [index, { moved, skipped, total }] of seen.entries()) {
        assert.strictEqual(total, 3000)
        assert.isAtLeast(moved, seen[index - 1]?.moved ?? 0)
        assert.isAtLeast(skipped, seen[index - 1]?.skipped ?? 0)
      }
    })))
})

describe("a move loses nothing:", () => {
  const assertIntact = (from: string, count: number) =>
    Effect.map(textsIn(from), (found) => assert.deepStrictEqual(found, texts(count)))

  it.live("when its queue, its target queue or its target exchange does not exist", () =>
    connected(Effect.gen(function*() {
      const { from, to } = yield* fromAndTo(100)
      const missing = uniqueName("missing")
      for (
        const move of [
          AmqpQueue.move(from, missing),
          AmqpQueue.move(from, AmqpQueue.quorum(missing)),
          AmqpQueue.move(from, { exchange: missing, routingKey: "a" }),
          AmqpQueue.move(from, { exchange: "", routingKey: missing }),
          AmqpQueue.move(from, missing, { dryRun: true }),
          AmqpQueue.move(missing, to)
        ]
      ) {
        assert.include((yield* failsWith(move, "NotFound")).message, missing)
      }
      yield* assertIntact(from, 100)
    })))

  it.live("when a message is unroutable: it stays, and the move stops", () =>
    connected(Effect.gen(function*() {
      const { from, to } = yield* fromAndTo(100)
      const exchange = yield* declaredExchange(AmqpExchange.direct)
      const unroutable = yield* moveErrorOf(AmqpQueue.move(from, { exchange, routingKey: "nowhere" }))
      assertReason(unroutable.cause, "Returned")
      assert.deepInclude(unroutable, { from, total: 100, moved: 0, skipped: 0 })
      assert.include(unroutable.message, "0 were moved")
      yield* assertIntact(from, 100)
      const missing = uniqueName("missing")
      const one = yield* moveErrorOf(AmqpQueue.move(from, ({ text }) => text === "50" ? missing : to, { prefetch: 1 }))
      assert.deepInclude(one, { moved: 50, failed: 1 })
      assert.deepStrictEqual(yield* textsIn(to), texts(50))
      assert.deepStrictEqual(yield* textsIn(from), texts(100, (index) => index >= 50))
    })))

  it.live("when fewer messages fail than maxFailures: the others are moved", () =>
    connected(Effect.gen(function*() {
      const { from, to } = yield* fromAndTo(100)
      const missing = uniqueName("missing")
      const options = { maxFailures: Infinity }
      const error = yield* moveErrorOf(AmqpQueue.move(from, (message) => isEven(message) ? missing : to, options))
      assert.deepInclude(error, { total: 100, moved: 50, skipped: 0, failed: 50 })
      assertReason(error.cause, "Returned")
      assert.deepStrictEqual(yield* textsIn(from), texts(100, (index) => index % 2 === 0))
      assert.deepStrictEqual(yield* textsIn(to), texts(100, (index) => index % 2 === 1))
    })))

  it.live("when the exchange of a computed target does not exist", () =>
    connected(Effect.gen(function*() {
      const { from } = yield* fromAndTo(100)
      const missing = uniqueName("missing")
      const error = yield* moveErrorOf(AmqpQueue.move(from, () => ({ exchange: missing, routingKey: "a" })))
      assert.deepInclude(error, { moved: 0 })
      assertReason(error.cause, "NotFound")
      yield* assertIntact(from, 100)
    })))

  it.live("when the target is full", () =>
    connected(Effect.gen(function*() {
      const { from } = yield* fromAndTo(100)
      const to = yield* declaredQueue({ maxLength: 10, overflow: "reject-publish" })
      const error = yield* moveErrorOf(AmqpQueue.move(from, to, { prefetch: 1 }))
      assertReason(error.cause, "Nacked")
      assert.deepStrictEqual(yield* textsIn(to), texts(error.moved))
      assert.deepStrictEqual(yield* textsIn(from), texts(100, (index) => index >= error.moved))
    })))

  it.live("when a message is larger than maxBodySize", () =>
    connected(
      Effect.gen(function*() {
        const { from, to } = yield* fromAndTo(2)
        yield* fill(from, AmqpMessage.text("x".repeat(1000)), AmqpMessage.text("2"))
        const error = yield* moveErrorOf(AmqpQueue.move(from, to, { maxFailures: 1 }))
        assertReason(error.cause, "ContentTooLarge")
        assert.deepInclude(error, { moved: 3, failed: 1 })
        assert.strictEqual(yield* depth(from), 1)
        assert.deepStrictEqual(yield* textsIn(to), texts(3))
      }),
      { maxBodySize: 999 }
    ))

  it.live("when a function of the caller throws", () =>
    connected(Effect.gen(function*() {
      const { from, to } = yield* fromAndTo(100)
      const fail = (): never => {
        throw new Error("a bug")
      }
      for (const move of [AmqpQueue.move(from, to, { filter: fail }), AmqpQueue.move(from, fail)]) {
        assert.include(String(yield* Effect.exit(move)), "a bug")
        yield* assertIntact(from, 100)
      }
    })))

  const notBooleans: Record<string, unknown> = {
    "a promise": Promise.resolve(false),
    "an Effect": Effect.succeed(false),
    nothing: undefined
  }
  for (const [what, answer] of Object.entries(notBooleans)) {
    it.live(`when its filter returns ${what} instead of a boolean`, () =>
      connected(Effect.gen(function*() {
        const { from, to } = yield* fromAndTo(3)
        // As JavaScript, or `any`, may return it.
        const filter = (): boolean => answer as boolean
        const exit = yield* Effect.exit(AmqpQueue.move(from, to, { filter }))
        assert.include(String(exit), "filter: must return true or false")
        yield* awaitMessages(from, 3)
        assert.strictEqual(yield* depth(to), 0)
      })))
  }

  it.live("when it is interrupted at any point, and duplicates nothing", () =>
    connected(Effect.gen(function*() {
      const { from, to } = yield* fromAndTo(400)
      for (let turns = 0; turns < 60; turns += 3) {
        const moving = yield* fork(
          AmqpQueue.move(from, to).pipe(Effect.provideService(Scheduler.MaxOpsBeforeYield, 5))
        )
        for (let turn = 0; turn < turns; turn++) yield* Effect.sleep(0)
        yield* Fiber.interrupt(moving)
        const [left, moved] = [yield* textsIn(from), yield* textsIn(to)]
        assert.deepStrictEqual([...moved, ...left], texts(400), `after ${turns} turns`)
        // The queue may not have received the requeued messages yet.
        yield* awaitMessages(to, moved.length)
        yield* awaitMessages(from, left.length)
        yield* AmqpQueue.move(to, from)
        yield* AmqpChannel.run(AmqpQueue.purge(from))
        yield* fill(from, ...numbered(400))
      }
    })))

  it.live("when its queue is deleted meanwhile, except what is still in it", () =>
    connected(Effect.gen(function*() {
      const { from, to } = yield* fromAndTo(50)
      const filter = () => true
      const seen = Latch.makeUnsafe()
      const moving = yield* fork(AmqpQueue.move(from, to, {
        filter,
        prefetch: 1,
        onProgress: () => Effect.andThen(seen.open, Effect.sleep("50 millis"))
      }))
      yield* seen.await
      yield* AmqpChannel.run(AmqpQueue.delete(from))
      const exit = yield* Fiber.await(moving)
      const moved = yield* depth(to)
      // All messages may have been moved before the delete.
      if (Exit.isSuccess(exit)) assert.strictEqual(moved, 50)
      else assert.include(String(exit), `${moved} were moved`)
    })))
})

describe("a move ends", () => {
  it.live("when other consumers take messages too", () =>
    connected(Effect.gen(function*() {
      const { from, to } = yield* fromAndTo(1000)
      let others = 0
      const other = yield* fork(AmqpConsumer.serve(from, () => Effect.sync(() => (others++, AmqpDelivery.ack)), {
        prefetch: 50,
        concurrency: 10
      }))
      const result = yield* AmqpQueue.move(from, to, { prefetch: 10 })
      yield* Fiber.interrupt(other)
      const left = yield* depth(from)
      assert.strictEqual(result.moved, yield* depth(to))
      assert.strictEqual(others + result.moved + left, 1000)
    })))

  it.live("although its target dead-letters back to its queue", () =>
    connected(Effect.gen(function*() {
      const from = yield* declaredQueue()
      const to = yield* declaredQueue({ messageTtl: 0, deadLetterQueue: from })
      yield* fill(from, ...numbered(500))
      assert.deepInclude(yield* AmqpQueue.move(from, to), { total: 500, moved: 500 })
    })))

  it.live("without moving messages that arrive after its start", () =>
    connected(Effect.gen(function*() {
      const { from, to } = yield* fromAndTo(200)
      const result = yield* AmqpQueue.move(from, to, {
        prefetch: 1,
        onProgress: () => Effect.ignore(fill(from, ...numbered(100)))
      })
      assert.deepInclude(result, { total: 200, moved: 200 })
      assert.deepStrictEqual(yield* textsIn(to), texts(200))
    })))
})

describe("a move is refused", () => {
  it.live("when its target is its own queue", () =>
    connected(Effect.gen(function*() {
      const { from } = yield* fromAndTo(3)
      for (
        const move of [
          AmqpQueue.move(from, from),
          AmqpQueue.move(AmqpQueue.classic(from), from),
          AmqpQueue.move(from, AmqpQueue.classic(from)),
          AmqpQueue.move(from, { exchange: "", routingKey: from }),
          AmqpQueue.move(from, from, { dryRun: true })
        ]
      ) {
        assert.include((yield* failsWith(move, "InvalidArgument")).message, "must not be the queue")
      }
      const error = yield* moveErrorOf(AmqpQueue.move(from, () => from))
      assert.include(assertReason(error.cause, "InvalidArgument").message, "must not be the queue")
      assert.deepStrictEqual(yield* textsIn(from), texts(3))
    })))

  it.live("for a stream, also when it is known by name only, and the connection stays open", () =>
    connected(Effect.gen(function*() {
      const to = yield* declaredQueue()
      const stream = AmqpQueue.stream(yield* queueName)
      yield* AmqpChannel.run(AmqpQueue.declare(stream))
      yield* fill(stream.name, ...numbered(10))
      // RabbitMQ updates the message count of a stream with a delay.
      yield* awaitMessages(stream.name, 10)
      const described: AmqpQueue.AmqpQueue = stream
      // A description whose static type hides that it is a stream.
      const loose = described as AmqpQueue.AmqpQueue<"classic">
      for (
        const move of [
          AmqpQueue.move(loose, to),
          AmqpQueue.move(stream.name, to),
          AmqpQueue.move(stream.name, to, { dryRun: true })
        ]
      ) {
        assert.include((yield* failsWith(move, "InvalidArgument")).message, "is a stream")
      }
      const publishing = yield* fork(
        Effect.forever(Effect.andThen(fill(stream.name, AmqpMessage.text("new")), Effect.sleep("5 millis")))
      )
      const busy = AmqpQueue.move(stream.name, to)
      assert.include((yield* failsWith(busy, "InvalidArgument")).message, "is a stream")
      yield* Fiber.interrupt(publishing)
      assert.strictEqual(yield* depth(to), 0)
    })))

  it.live("for options that are out of range, unknown or of the wrong type", () =>
    connected(Effect.gen(function*() {
      const { from, to } = yield* fromAndTo(1)
      const refused: ReadonlyArray<readonly [options: object, problem: string]> = [
        [{ limit: 0 }, "limit: must be a whole number from 1"],
        [{ limit: NaN }, "limit: must be"],
        [{ limit: 1.5 }, "limit: must be"],
        [{ prefetch: 0 }, "prefetch: must be a whole number from 1 to 20000"],
        [{ prefetch: Infinity }, "prefetch: must be"],
        [{ maxFailures: -1 }, "maxFailures: must be"],
        [{ dryrun: true }, `did you mean "dryRun"?`],
        [{ batchSize: 3 }, `there is no "batchSize"`],
        [{ dryRun: "true" }, "dryRun: must be true or false"],
        [{ resetFailures: 1 }, "resetFailures: must be true or false"],
        [{ filter: { customer: "acme" } }, "filter: must be a function"],
        [{ onProgress: Effect.void }, "onProgress: must be a function"]
      ]
      for (const [options, problem] of refused) {
        assert.include((yield* failsWith(AmqpQueue.move(from, to, options), "InvalidArgument")).message, problem)
      }
      const serverNamed: AmqpQueue.AmqpQueue<"classic"> = AmqpQueue.serverNamed()
      yield* failsWith(AmqpQueue.move(serverNamed, to), "InvalidArgument")
      yield* failsWith(AmqpQueue.move(from, serverNamed), "InvalidArgument")
      yield* failsWith(AmqpQueue.move(from, ""), "InvalidArgument")
      yield* failsWith(AmqpQueue.move(from, { exchange: "", routingKey: "" }), "InvalidArgument")
      yield* failsWith(AmqpQueue.move(from, { exchange: "x", routingKey: "é".repeat(128) }), "InvalidArgument")
      assert.strictEqual(yield* depth(from), 1)
    })))
})
