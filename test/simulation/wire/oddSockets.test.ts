// Sockets that behave in unusual ways: connecting ends, and within its time.
import { AmqpConnection } from "@effect-amqp/core"
import { AmqpBroker } from "@effect-amqp/core/testing"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Socket from "effect/socket/Socket"

const lost = new Socket.SocketError({ reason: new Socket.SocketCloseError({ code: 1006 }) })

const outcomes: ReadonlyArray<readonly [name: string, outcome: Effect.Effect<never, Socket.SocketError>]> = [
  ["never completes", Effect.never],
  ["fails at once", Effect.fail(lost)],
  ["fails later", Effect.andThen(Effect.yieldNow, Effect.fail(lost))],
  ["dies at once", Effect.die("defect")],
  ["dies later", Effect.andThen(Effect.yieldNow, Effect.die("defect"))],
  ["is interrupted", Effect.interrupt]
]

const connecting = (pull: Effect.Effect<never, Socket.SocketError>, write: Effect.Effect<void, Socket.SocketError>) =>
  AmqpConnection.make({
    credentials: { username: "guest", password: Redacted.make("guest") },
    connectTimeout: "300 millis"
  }).pipe(
    Effect.provideService(
      Socket.Socket,
      Socket.make({
        reader: Effect.succeed({ pull, upgrade: () => Effect.fail(lost) }),
        writer: Effect.succeed({ write: () => write, writeAll: () => write })
      })
    ),
    Effect.scoped,
    Effect.flip,
    Effect.timeout("3 seconds")
  )

describe("a connection over a socket", () => {
  it.live("is lost at once if a pull is interrupted by the socket, even without heartbeats", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpBroker.make()
      const closing = yield* Deferred.make<void>()
      const socket = yield* broker.makeSocket()
      const connection = yield* Effect.provideService(
        AmqpConnection.make({ heartbeat: 0, recovery: false }),
        Socket.Socket,
        Socket.make({
          reader: Effect.map(socket.reader, (reader) => ({
            ...reader,
            pull: Effect.raceFirst(reader.pull, Effect.andThen(Deferred.await(closing), Effect.interrupt))
          })),
          writer: socket.writer
        })
      )
      yield* Deferred.succeed(closing, undefined)
      yield* Effect.timeout(
        Effect.repeat(connection.state, {
          until: ({ _tag }) => _tag === "Closed",
          schedule: Schedule.spaced("5 millis")
        }),
        "3 seconds"
      )
    }).pipe(Effect.scoped))

  for (const [readName, pull] of outcomes) {
    for (const [writeName, write] of [...outcomes, ["succeeds", Effect.void] as const]) {
      it.live(`fails if a pull ${readName} and a write ${writeName}`, () =>
        Effect.map(connecting(pull, write), ({ _tag }) => assert.strictEqual(_tag, "AmqpConnectionError")))
    }
  }
})
