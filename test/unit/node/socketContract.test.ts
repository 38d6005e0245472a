// What programs other than a connection may expect of a socket to a URL.
import * as AmqpUri from "@effect-amqp/core/AmqpUri"
import * as NodeAmqp from "@effect-amqp/node/NodeAmqp"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as net from "node:net"

/** Listens on a free port until the scope closes, and reads nothing by itself. */
const peer: Effect.Effect<{ readonly port: number; readonly connections: ReadonlyArray<net.Socket> }, never, Scope.Scope> =
  Effect.acquireRelease(
    Effect.promise(async () => {
      const connections: Array<net.Socket> = []
      const server = net.createServer({ pauseOnConnect: true }, (socket) => {
        connections.push(socket.on("error", () => {}))
      })
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
      return { server, connections, port: (server.address() as net.AddressInfo).port } // a TCP server has no other kind
    }),
    ({ connections, server }) =>
      Effect.promise(() => {
        for (const socket of connections) socket.destroy()
        return new Promise((resolve) => server.close(resolve))
      })
  )

const socketTo = (port: number) => NodeAmqp.makeSocket(Result.getOrThrow(AmqpUri.parse(`amqp://127.0.0.1:${port}`)))

const until = (condition: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => condition() ? Effect.void : Effect.delay(until(condition), "5 millis"))

const chunk = new Uint8Array(256 * 1024)

describe("the writer of a socket", () => {
  it.live("writes a part at a time when a full socket has room again", () =>
    Effect.gen(function*() {
      const { connections, port } = yield* peer
      const socket = yield* socketTo(port)
      yield* socket.reader
      const { write } = yield* socket.writer
      let written = 0
      const writing = yield* Effect.forkChild(
        Effect.gen(function*() {
          while (true) {
            yield* write(chunk)
            written++
          }
        })
      )
      yield* until(() => connections.length === 1)
      yield* Effect.sleep("100 millis")
      const before = written
      connections[0].on("data", () => {
        if (written > before) connections[0].pause()
      }).resume()
      yield* until(() => written > before)
      // The system's buffers take some megabytes, and what the socket holds beyond that is at most one chunk.
      assert.isBelow((written - before) * chunk.length, 32 * 1024 * 1024)
      yield* Fiber.interrupt(writing)
    }).pipe(Effect.scoped))

  it.live("fails writes after the connection has ended while it was full", () =>
    Effect.gen(function*() {
      const { connections, port } = yield* peer
      const socket = yield* socketTo(port)
      yield* socket.reader
      const { write } = yield* socket.writer
      const writing = yield* Effect.forkChild(Effect.flip(Effect.forever(write(chunk))))
      yield* until(() => connections.length === 1)
      yield* Effect.sleep("100 millis")
      connections[0].resetAndDestroy()
      assert.strictEqual((yield* Fiber.join(writing)).reason._tag, "SocketWriteError")
      yield* until(() => connections[0].closed)
      yield* Effect.sleep("20 millis")
      const later = yield* Effect.timeout(Effect.flip(write(chunk)), "2 seconds")
      assert.strictEqual("reason" in later ? later.reason._tag : later, "SocketWriteError")
    }).pipe(Effect.scoped))
})
