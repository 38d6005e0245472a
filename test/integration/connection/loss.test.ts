import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import { AmqpConnection } from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Stream from "effect/Stream"
import {
  assertReason,
  connected,
  eventually,
  failsWith,
  failureOf,
  fill,
  fork,
  uniqueName
} from "../../support/broker.ts"
import { administration, isAdministrable, onRabbitMQ } from "../../support/brokerUnderTest.ts"
import { awaitFlowControl, closeConnectionAndResume, suspendQueue } from "../../support/flowControl.ts"
import { start } from "../../support/process.ts"
import { tagsOf } from "../../support/tags.ts"
import { freshVirtualHost } from "../../support/vhost.ts"

const hello = AmqpMessage.text("hello")

/** The time within which all waiting operations must fail after the loss of the connection, in milliseconds. */
const atOnce = 500

/** Runs an operation, and records how and when it ended. */
const watch = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  fork(Effect.map(Effect.exit(self), (exit) => ({
    at: performance.now(),
    end: exit._tag === "Success" ? "success" : tagsOf(Cause.squash(exit.cause))
  })))

describe("when the broker closes a connection in use,", () => {
  it.live.runIf(onRabbitMQ("it suspends the process of a queue") && isAdministrable)(
    "E4, E13: every waiting operation fails at once, with the cause",
    () => {
      const connectionName = uniqueName("connection")
      return Effect.gen(function*() {
        const virtualHost = yield* freshVirtualHost
        const stuck: AmqpChannel.PublishOptions = { exchange: "", routingKey: "stuck" }
        const inMidUse = Effect.gen(function*() {
          const { awaitClosed } = yield* AmqpConnection
          for (const queue of ["stuck", "quiet"]) yield* AmqpChannel.run(AmqpQueue.declare(AmqpQueue.classic(queue)))
          const flood = yield* AmqpPublisher.make({ maxInFlight: 10_000 })
          const narrow = yield* AmqpPublisher.make({ maxInFlight: 1 })
          const gate = yield* Latch.make()
          const begun = yield* Deferred.make<void>()
          const quietStream = yield* watch(Stream.runDrain(AmqpConsumer.stream("quiet")))
          const serve = yield* watch(AmqpConsumer.serve("quiet", () => Effect.succeed(AmqpDelivery.ack)))
          // It is between two steps, and fails at the next one.
          const program = yield* watch(AmqpChannel.run(AmqpChannel.gen(function*() {
            yield* AmqpQueue.declarePassive("quiet")
            yield* Deferred.succeed(begun, undefined)
            yield* gate.await
            return yield* AmqpQueue.declarePassive("quiet")
          })))
          yield* Deferred.await(begun)

          yield* suspendQueue(virtualHost.name, "stuck")
          const publishAll = yield* watch(flood.publishAll(Array.from({ length: 5000 }, () => hello), stuck))
          const inFlight = yield* watch(narrow.publish(hello, stuck))
          const queued = yield* watch(narrow.publish(hello, stuck))
          yield* awaitFlowControl(connectionName)
          const waiting = {
            publishAll,
            inFlight,
            queued,
            quietStream,
            serve,
            request: yield* watch(AmqpChannel.run(AmqpQueue.declarePassive("quiet"))),
            unconfirmed: yield* watch(AmqpChannel.run(AmqpChannel.publish(hello, stuck))),
            confirmed: yield* watch(AmqpChannel.confirmed(AmqpChannel.publish(hello, stuck))),
            transaction: yield* watch(AmqpChannel.transaction(AmqpChannel.publish(hello, stuck))),
            consume: yield* watch(Stream.runDrain(AmqpConsumer.stream("quiet")))
          }
          const closed = yield* watch(awaitClosed)
          for (const [name, fiber] of Object.entries(waiting)) {
            assert.isUndefined(fiber.pollUnsafe(), `${name} has ended`)
          }

          yield* closeConnectionAndResume(virtualHost.name, "stuck", connectionName, "for a test")
          const { at, end } = yield* Fiber.join(closed)
          assert.strictEqual(end, "AmqpConnectionError > ConnectionForced")
          const { replyText } = yield* failsWith(awaitClosed, "ConnectionForced")
          assert.include(replyText, "CONNECTION_FORCED - for a test")

          yield* gate.open
          const ends: Record<string, string> = { program: (yield* Fiber.join(program)).end }
          for (const [name, fiber] of Object.entries(waiting)) {
            const ended = yield* Fiber.join(fiber)
            ends[name] = ended.end
            assert.isBelow(Math.abs(ended.at - at), atOnce, `milliseconds until the end of ${name}`)
          }
          const lost = "AmqpChannelError > ConnectionLost > AmqpConnectionError > ConnectionForced"
          assert.deepStrictEqual(ends, {
            program: lost,
            publishAll: `AmqpPublishAllError > AmqpPublishError > OutcomeUnknown > ${lost}`,
            inFlight: `AmqpPublishError > OutcomeUnknown > ${lost}`,
            queued: `AmqpPublishError > NotSent > ${lost}`,
            quietStream: lost,
            serve: lost,
            request: lost,
            unconfirmed: lost,
            confirmed: lost,
            transaction: lost,
            consume: lost
          })
          return at
        })
        const closedAt = yield* connected(inMidUse, { url: virtualHost.url, connectionName })
        assert.isBelow(performance.now() - closedAt, 2 * atOnce, "milliseconds until the connection's scope is closed")
      })
    }
  )

  it.live.runIf(isAdministrable)("every later operation fails at once, and a late ack returns false", () => {
    const connectionName = uniqueName("connection")
    return connected(
      Effect.gen(function*() {
        const { awaitClosed } = yield* AmqpConnection
        const { name: queue } = yield* AmqpChannel.run(AmqpQueue.declare(AmqpQueue.serverNamed()))
        const to = { exchange: "", routingKey: queue }
        const { publish, publishAll } = yield* AmqpPublisher.make()
        const received: Array<AmqpDelivery.AmqpDelivery> = []
        const consumer = yield* AmqpConsumer.stream(queue).pipe(
          Stream.runForEach((delivery) => Effect.sync(() => void received.push(delivery))),
          fork
        )
        yield* fill(queue, hello)
        yield* eventually(Effect.sync(() => received), ({ length }) => length === 1)

        yield* administration().closeConnection(connectionName, "for a test")
        yield* failsWith(awaitClosed, "ConnectionForced")
        assertReason(yield* failureOf(consumer), "ConnectionLost")

        const before = performance.now()
        // K3: the broker has requeued the message.
        assert.isFalse(yield* received[0].ack)
        yield* failsWith(AmqpChannel.run(AmqpQueue.declarePassive(queue)), "ConnectionLost")
        yield* failsWith(publish(hello, to), "NotSent")
        const { confirmed, failures, taken } = yield* Effect.flip(publishAll([hello, hello], to))
        assert.deepStrictEqual([confirmed, taken, failures.length], [0, 1, 1])
        assertReason(failures[0].error, "NotSent")
        yield* failsWith(AmqpPublisher.make(), "ConnectionLost")
        yield* failsWith(Stream.runDrain(AmqpConsumer.stream(queue)), "ConnectionLost")
        assert.isBelow(performance.now() - before, atOnce)
      }),
      { connectionName, url: administration().url }
    )
  })

  it.live.runIf(isAdministrable)("N1: a socket that closes without connection.close is a SocketLost", () => {
    const connectionName = uniqueName("connection")
    return connected(
      Effect.gen(function*() {
        const { awaitClosed } = yield* AmqpConnection
        const { name: queue } = yield* AmqpChannel.run(AmqpQueue.declare(AmqpQueue.serverNamed()))
        const consumer = yield* fork(Stream.runDrain(AmqpConsumer.stream(queue)))
        yield* administration().cutConnection(connectionName)
        const reason = yield* failsWith(awaitClosed, "SocketLost")
        assert.isTrue(reason.isRetryable)
        const { cause } = assertReason(yield* failureOf(consumer), "ConnectionLost")
        assertReason(cause, "SocketLost")
      }),
      { connectionName, url: administration().url }
    )
  })

  it.live.runIf(isAdministrable)(
    "X5: a process that uses every part of the client sees each part fail, and exits by itself",
    () =>
      Effect.gen(function*() {
        const connectionName = uniqueName("connection")
        const { ended, kill, printed } = start(["--import", "./test/support/sources.ts", "test/fixtures/midUse.ts"], {
          AMQP_URL: administration().url,
          CONNECTION_NAME: connectionName
        })
        yield* Effect.addFinalizer(() => Effect.sync(kill))
        yield* Effect.promise(() => printed("in use"))
        yield* administration().closeConnection(connectionName, "for a test")
        const { exitCode, lingered, stderr, stdout } = yield* Effect.promise(() => ended)
        assert.strictEqual(stderr, "")
        const { ends, spread }: { readonly ends: Readonly<Record<string, string>>; readonly spread: number } = JSON
          .parse(
            stdout.split("\n")[1]
          )
        const lost = "AmqpChannelError > ConnectionLost > AmqpConnectionError > ConnectionForced"
        const { queued, publish, publishAll, ...others } = ends
        assert.deepStrictEqual(others, {
          closed: "AmqpConnectionError > ConnectionForced",
          request: lost,
          program: lost,
          confirmed: lost,
          transaction: lost,
          stream: lost,
          quietStream: lost,
          serve: lost,
          autoAck: lost
        })
        // Whether a message had been sent at that moment is left to chance, but the reason must tell.
        assert.match(publish, new RegExp(`^AmqpPublishError > (OutcomeUnknown|NotSent) > ${lost}$`))
        assert.match(queued, new RegExp(`^AmqpPublishError > (OutcomeUnknown|NotSent) > ${lost}$`))
        assert.match(
          publishAll,
          new RegExp(`^AmqpPublishAllError > AmqpPublishError > (OutcomeUnknown|NotSent) > ${lost}$`)
        )
        assert.isBelow(spread, atOnce, "milliseconds between the first and the last end")
        assert.strictEqual(exitCode, 0)
        assert.isBelow(lingered, 1000, "milliseconds until the process has ended")
      })
  )
})
