// What programs other than a connection may expect of a socket to a URL.
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as net from "node:net"
import * as tls from "node:tls"
import { issue } from "./certificates.ts"
import { listening, socketTo, until } from "./listening.ts"

const { cert, key } = issue("test server", { hosts: ["localhost"] })

const peer = listening((onConnection) => net.createServer({ pauseOnConnect: true }, onConnection))

const tlsPeer = listening((onConnection) => tls.createServer({ cert, key }, onConnection))

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

describe("the reader of a socket", () => {
  for (const [scheme, started] of [["amqp", peer], ["amqps", tlsPeer]] as const) {
    it.live(`pulls all bytes in order, while pulls are slow and interrupted (${scheme})`, () =>
      Effect.gen(function*() {
        const { connections, port } = yield* started
        const socket = yield* socketTo(port, scheme)
        const { pull } = yield* socket.reader
        yield* until(() => connections.length === 1)
        const sent = Buffer.alloc(8 * 1024 * 1024)
        for (let at = 0; at < sent.length; at += 4) sent.writeUInt32BE(at, at)
        connections[0].end(sent)
        const received: Array<Uint8Array | string> = []
        for (let count = 0;; count++) {
          if (count % 7 === 0) yield* Effect.yieldNow
          if (count % 5 === 0) yield* Effect.sleep("1 millis")
          const fiber = yield* Effect.forkChild(
            Effect.tap(pull, (chunks) => Effect.sync(() => void received.push(...chunks))),
            { startImmediately: true }
          )
          if (count % 3 === 0) {
            yield* Fiber.interrupt(fiber)
            continue
          }
          const exit = yield* Fiber.await(fiber)
          if (Exit.isSuccess(exit)) continue
          const error = Result.getOrThrow(Exit.findError(exit))
          assert.strictEqual(error.reason._tag === "SocketCloseError" ? error.reason.code : error.reason._tag, 1000)
          break
        }
        assert.isTrue(sent.equals(Buffer.concat(received.map((chunk) => Buffer.from(chunk)))))
      }).pipe(Effect.scoped))

    it.live(`makes the peer wait while nothing is pulled (${scheme})`, () =>
      Effect.gen(function*() {
        const { connections, port } = yield* started
        const socket = yield* socketTo(port, scheme)
        const { pull } = yield* socket.reader
        yield* until(() => connections.length === 1)
        const before = process.memoryUsage().arrayBuffers
        connections[0].write(Buffer.alloc(64 * 1024 * 1024))
        yield* pull
        yield* Effect.sleep("100 millis")
        assert.isAbove(connections[0].writableLength, 0)
        assert.isBelow(process.memoryUsage().arrayBuffers - before, 70 * 1024 * 1024)
      }).pipe(Effect.scoped))
  }

  it.live("fails a pull when its scope closes", () =>
    Effect.gen(function*() {
      const { port } = yield* peer
      const socket = yield* socketTo(port)
      const scope = yield* Scope.make()
      const { pull } = yield* Scope.provide(socket.reader, scope)
      const fiber = yield* Effect.forkChild(Effect.flip(pull))
      yield* Effect.sleep("10 millis")
      yield* Scope.close(scope, Exit.void)
      const { reason } = yield* Fiber.join(fiber)
      assert.strictEqual(reason._tag === "SocketCloseError" ? reason.code : reason._tag, 1006)
    }).pipe(Effect.scoped))
})
