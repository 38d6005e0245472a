/**
 * The embedded broker's side of a connection: how long it waits for a client, and what happens to the messages of a connection that
 * ends. What it sends and refuses is compared with RabbitMQ (`integration/testing/wireHandshake.test.ts`, `wireFrames.test.ts`, `wireCloses.test.ts`).
 */
import { protocolHeader } from "@effect-amqp/core/protocol/constants"
import type { Method } from "@effect-amqp/core/protocol/methods.generated"
import * as AmqpBroker from "@effect-amqp/core/testing/AmqpBroker"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Socket from "effect/socket/Socket"
import * as TestClock from "effect/testing/TestClock"
import { rest } from "../../support/scriptedPeer.ts"
import { methodFrame } from "../../support/wireTalk.ts"

const startOk: Method = {
  _tag: "connection.start-ok",
  clientProperties: { capabilities: { "connection.blocked": true } },
  mechanism: "PLAIN",
  response: new TextEncoder().encode("\0guest\0guest"),
  locale: "en_US"
}

/** A client that sends bytes and counts heartbeats, second by second. */
const rawClient = Effect.fnUntraced(function*(broker: AmqpBroker.AmqpBroker["Service"]) {
  const socket = yield* broker.makeSocket()
  const pull = yield* Socket.readerBytes(socket)
  const writer = yield* socket.writer
  let seconds = 0
  const heartbeats: Array<number> = []
  let closedAt: number | undefined
  yield* pull.pipe(
    Effect.tap((chunks) => Effect.sync(() => chunks.filter(isHeartbeat).forEach(() => heartbeats.push(seconds)))),
    Effect.forever,
    Effect.ignore,
    Effect.andThen(Effect.sync(() => closedAt = seconds)),
    Effect.forkScoped
  )
  return {
    send: (...frames: ReadonlyArray<Uint8Array | Method>) =>
      Effect.andThen(
        writer.write(Buffer.concat(frames.map((each) => each instanceof Uint8Array ? each : methodFrame(0, each)))),
        rest
      ),
    /** Opens a connection with this interval of heartbeats. */
    open: (heartbeat: number) =>
      Effect.andThen(
        writer.write(
          Buffer.concat([
            protocolHeader,
            methodFrame(0, startOk),
            methodFrame(0, { _tag: "connection.tune-ok", channelMax: 2047, frameMax: 131_072, heartbeat }),
            methodFrame(0, { _tag: "connection.open", virtualHost: "/" })
          ])
        ),
        rest
      ),
    /** Lets this many seconds pass, in half seconds. */
    wait: (duration: number) =>
      Effect.repeat(
        Effect.suspend(() => {
          seconds += 0.5
          return Effect.andThen(TestClock.adjust("500 millis"), rest)
        }),
        { times: duration * 2 - 1 }
      ),
    heartbeats: (): ReadonlyArray<number> => heartbeats,
    closedAt: (): number | undefined => closedAt
  }
})

const isHeartbeat = (chunk: Uint8Array): boolean => chunk.length === 8 && chunk[0] === 8

const heartbeat = Uint8Array.of(8, 0, 0, 0, 0, 0, 0, 206)

/** The content header of an empty message on channel 1. */
const contentHeader = Uint8Array.of(2, 0, 1, 0, 0, 0, 14, 0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 206)

const close: Method = { _tag: "connection.close", replyCode: 200, replyText: "", classId: 0, methodId: 0 }

type RawClient = Effect.Success<ReturnType<typeof rawClient>>

const withClient = <E>(
  body: (client: RawClient, broker: AmqpBroker.AmqpBroker["Service"]) => Effect.Effect<void, E>
) =>
  Effect.gen(function*() {
    const broker = yield* AmqpBroker.AmqpBroker
    yield* body(yield* rawClient(broker), broker)
  }).pipe(Effect.scoped, Effect.provide(AmqpBroker.layerBroker()))

describe("the embedded broker waits", () => {
  it.effect("10 seconds for a handshake", () =>
    withClient((client) =>
      Effect.gen(function*() {
        yield* client.send(protocolHeader, startOk)
        yield* client.wait(9.5)
        assert.isUndefined(client.closedAt())
        yield* client.wait(1)
        assert.strictEqual(client.closedAt(), 10)
      })
    ))

  it.effect("without limit for a client without heartbeats", () =>
    withClient((client) =>
      Effect.gen(function*() {
        yield* client.open(0)
        yield* client.wait(100)
        assert.isUndefined(client.closedAt())
        assert.deepStrictEqual(client.heartbeats(), [])
      })
    ))

  it.effect("three intervals for a client that is silent from the start, and sends a heartbeat every half interval", () =>
    withClient((client) =>
      Effect.gen(function*() {
        yield* client.open(2)
        yield* client.wait(8)
        assert.deepStrictEqual(client.heartbeats(), [1, 2, 3, 4, 5])
        assert.strictEqual(client.closedAt(), 6)
      })
    ))

  it.effect("two whole intervals without data", () =>
    withClient((client) =>
      Effect.gen(function*() {
        yield* client.open(2)
        // In the third interval: the fourth and the fifth have to be silent.
        yield* client.wait(4.5)
        yield* client.send(heartbeat)
        yield* client.wait(10)
        assert.strictEqual(client.closedAt(), 10)
      })
    ))

  it.effect("as long as the client sends anything", () =>
    withClient((client) =>
      Effect.gen(function*() {
        yield* client.open(2)
        for (let times = 0; times < 20; times++) {
          yield* client.wait(3.5)
          yield* client.send(heartbeat)
        }
        assert.isUndefined(client.closedAt())
      })
    ))

  it.effect("without limit while it does not read from the client", () =>
    withClient((client, broker) =>
      Effect.gen(function*() {
        yield* client.open(2)
        yield* client.send(
          methodFrame(1, { _tag: "channel.open" }),
          methodFrame(1, { _tag: "basic.publish", exchange: "", routingKey: "", mandatory: false, immediate: false }),
          contentHeader
        )
        yield* broker.block("low on memory")
        yield* client.wait(20)
        assert.isUndefined(client.closedAt())
        yield* broker.unblock
        yield* client.wait(5.5)
        assert.isUndefined(client.closedAt())
        yield* client.wait(1)
        assert.strictEqual(client.closedAt(), 26)
      })
    ))

  it.effect.each([[0, 30], [60, 30], [30, 30], [5, 5]])(
    "for the reply to its close, with heartbeats of %d s: %d s",
    ([interval, expected]) =>
      withClient((client, broker) =>
        Effect.gen(function*() {
          yield* client.open(interval)
          const [connection] = yield* broker.connections
          yield* connection.close(320, "CONNECTION_FORCED - bye")
          yield* client.wait(expected - 0.5)
          assert.isUndefined(client.closedAt())
          yield* client.wait(1)
          assert.strictEqual(client.closedAt(), expected)
        })
      )
  )

  it.effect.each([[0, 30], [5, 5]])(
    "for a client to disconnect after its own close, with heartbeats of %d s: %d s",
    ([interval, expected]) =>
      withClient((client, broker) =>
        Effect.gen(function*() {
          yield* client.open(interval)
          yield* client.send(close)
          yield* client.wait(expected - 0.5)
          assert.isUndefined(client.closedAt())
          assert.lengthOf(yield* broker.connections, 1)
          yield* client.wait(1)
          assert.strictEqual(client.closedAt(), expected)
          assert.lengthOf(yield* broker.connections, 0)
        })
      )
  )
})

const empty = { passive: false, durable: false, exclusive: false, autoDelete: false, noWait: false, arguments: {} }

describe("an unacknowledged message is requeued, and not delivered to another channel of its connection,", () => {
  const ends: Record<
    string,
    (client: RawClient, broker: AmqpBroker.AmqpBroker["Service"]) => Effect.Effect<void, unknown>
  > = {
    "when the client closes the connection": (client) => client.send(close),
    "when a frame ends the connection": (client) => client.send(Uint8Array.of(9, 0, 0, 0, 0, 0, 0, 206)),
    "when a frame that can't be read ends the connection": (client) =>
      client.send(Uint8Array.of(8, 0, 0, 0, 0, 0, 0, 1)),
    "when an unknown method ends the connection": (client) =>
      client.send(Uint8Array.of(1, 0, 1, 0, 0, 0, 4, 0, 60, 0, 255, 206)),
    "when the broker closes the connection": (_, broker) =>
      Effect.flatMap(broker.connections, ([connection]) => connection.close(320, "CONNECTION_FORCED - bye")),
    "when the connection is cut": (_, broker) => Effect.flatMap(broker.connections, ([connection]) => connection.cut),
    "when the client is silent": (client) => client.wait(10)
  }

  const cases = Object.keys(ends).flatMap((end) => [[end, 1, 2], [end, 2, 1]] as const)

  it.effect.each(cases)(
    "%s; on channels %d and %d",
    ([end, holder, other]) =>
      withClient((client, broker) =>
        Effect.gen(function*() {
          yield* client.open(2)
          yield* client.send(
            methodFrame(1, { _tag: "channel.open" }),
            methodFrame(2, { _tag: "channel.open" }),
            methodFrame(1, { _tag: "queue.declare", queue: "q", ...empty }),
            methodFrame(1, {
              _tag: "basic.publish",
              exchange: "",
              routingKey: "q",
              mandatory: false,
              immediate: false
            }),
            contentHeader,
            methodFrame(holder, {
              _tag: "basic.consume",
              queue: "q",
              consumerTag: "",
              noLocal: false,
              noAck: false,
              ...empty
            }),
            methodFrame(other, {
              _tag: "basic.consume",
              queue: "q",
              consumerTag: "",
              noLocal: false,
              noAck: true,
              ...empty
            })
          )
          assert.strictEqual((yield* broker.queues())[0].messagesUnacknowledged, 1)
          yield* ends[end](client, broker)
          const [queue] = yield* broker.queues()
          assert.deepInclude(queue, { messagesReady: 1, messagesUnacknowledged: 0, consumers: 0 })
        })
      )
  )
})
