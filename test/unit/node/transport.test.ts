// The transport of a socket to a URL: what a connection reads and writes through.
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import { isTransportReader, TypeId } from "@effect-amqp/core/AmqpTransport"
import { AmqpBroker } from "@effect-amqp/core/testing"
import * as NodeAmqpBroker from "@effect-amqp/node/NodeAmqpBroker"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Socket from "effect/socket/Socket"
import * as net from "node:net"
import * as tls from "node:tls"
import { issue } from "./certificates.ts"
import { listening, socketTo, until } from "./listening.ts"

const { cert, key } = issue("test server", { hosts: ["localhost"] })

const lengthOf = (chunks: ReadonlyArray<Uint8Array>): number => chunks.reduce((sum, { length }) => sum + length, 0)

describe("the transport of a socket", () => {
  for (
    const [scheme, started] of [
      ["amqp", listening((onConnection) => net.createServer(onConnection))],
      ["amqps", listening((onConnection) => tls.createServer({ cert, key }, onConnection))]
    ] as const
  ) {
    it.live(`passes on all bytes in order, and only what it has read while it is paused (${scheme})`, () =>
      Effect.gen(function*() {
        const { connections, port } = yield* started
        const socket = yield* socketTo(port, scheme)
        const reader = yield* socket.reader
        if (!isTransportReader(reader)) return assert.fail("has no transport")
        const transport = reader[TypeId]
        yield* until(() => connections.length === 1)
        const sent = Buffer.alloc(8 * 1024 * 1024)
        for (let at = 0; at < sent.length; at += 4) sent.writeUInt32BE(at, at)
        const received: Array<Uint8Array> = []
        let count = 0
        let isPaused = false
        let whilePaused = 0
        let mostWhilePaused = 0
        let ended: string | undefined
        transport.start({
          received: (chunks) => {
            if (isPaused) whilePaused += lengthOf(chunks)
            else whilePaused = 0
            mostWhilePaused = Math.max(mostWhilePaused, whilePaused)
            assert.isUndefined(ended)
            const kept = count++ % 2 === 0
            received.push(...kept ? chunks : chunks.map((chunk) => chunk.slice()))
            if (count % 3 === 0) {
              isPaused = true
              transport.pause()
              const resume = () => {
                isPaused = false
                transport.resume()
              }
              if (count % 2 === 0) setImmediate(resume)
              else queueMicrotask(resume)
            }
            return kept
          },
          drained: () => {},
          ended: ({ reason }) => ended = reason._tag
        })
        connections[0].end(sent)
        yield* until(() => ended !== undefined)
        assert.isTrue(sent.equals(Buffer.concat(received)))
        assert.isAtMost(mostWhilePaused, scheme === "amqp" ? 0 : 128 * 1024)
        assert.strictEqual(ended, "SocketCloseError")
      }).pipe(Effect.scoped))
  }

  it.live("is not used by a connection over a socket that wraps the reader or the writer", () =>
    Effect.gen(function*() {
      const broker = yield* AmqpBroker.make()
      const { port } = yield* Effect.provideService(
        NodeAmqpBroker.listen({ port: 0 }),
        AmqpBroker.AmqpBroker,
        broker
      )
      const { reader, writer } = yield* socketTo(port)
      let pulls = 0
      let writes = 0
      const counting = Effect.map(reader, (inner) => ({
        ...inner,
        pull: Effect.tap(inner.pull, () => Effect.sync(() => void pulls++))
      }))
      const countingWriter = Effect.map(writer, (inner) => ({
        ...inner,
        writeAll: (chunks: Parameters<typeof inner.writeAll>[0]) => {
          writes++
          return inner.writeAll(chunks)
        }
      }))
      for (
        const socket of [
          Socket.make({ reader: counting, writer }),
          Socket.make({ reader, writer: countingWriter })
        ]
      ) {
        yield* Effect.scoped(Effect.provideService(AmqpConnection.make(), Socket.Socket, socket))
      }
      assert.isAbove(pulls, 0)
      assert.isAbove(writes, 0)
    }).pipe(Effect.scoped))
})
