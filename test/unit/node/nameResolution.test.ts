// The address of a broker: its name may refer to another one after each loss.
import { AmqpChannel, AmqpConnection, AmqpQueue, AmqpUri } from "@effect-amqp/core"
import { AmqpBroker } from "@effect-amqp/core/testing"
import * as NodeAmqp from "@effect-amqp/node/NodeAmqp"
import * as NodeAmqpBroker from "@effect-amqp/node/NodeAmqpBroker"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import dns from "node:dns"
import * as net from "node:net"
import * as tls from "node:tls"
import { vi } from "vitest"
import { issue } from "./certificates.ts"

const [first, second] = ["127.0.0.1", "127.0.0.2"]

/** A broker on this address until the scope closes. */
const listening = (host: string, port: number) =>
  Effect.gen(function*() {
    const broker = yield* AmqpBroker.make()
    const listener = NodeAmqpBroker.listen({ host, port })
    return { broker, ...yield* Effect.provideService(listener, AmqpBroker.AmqpBroker, broker) }
  })

/** Resolves every name to the addresses that `addresses` returns, in the place of the system. Records the names. */
const resolvingTo = (addresses: () => readonly [string, ...Array<string>]) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const names: Array<string> = []
      const lookup = (
        name: string,
        options: dns.LookupOptions,
        callback: (...results: Array<unknown>) => void
      ): void => {
        names.push(name)
        const found = addresses().map((address) => ({ address, family: net.isIP(address) }))
        if (options.all === true) callback(null, found)
        else callback(null, found[0].address, found[0].family)
      }
      // Node.js calls it in this one of the forms that its type has.
      return { names, spy: vi.spyOn(dns, "lookup").mockImplementation(lookup as typeof dns.lookup) }
    }),
    ({ spy }) => Effect.sync(() => spy.mockRestore())
  )

const hasConnection = ({ connections }: AmqpBroker.AmqpBroker["Service"]) =>
  Effect.repeat(connections, { until: ({ length }) => length === 1, schedule: Schedule.spaced("5 millis") })

describe("a connection to a broker by its name", () => {
  // macOS has only the first of these addresses.
  it.live.skipIf(process.platform === "darwin")(
    "resolves the name anew for each attempt to connect",
    () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        yield* Effect.addFinalizer((exit) => Scope.close(scope, exit))
        const old = yield* Scope.provide(listening(first, 0), scope)
        const moved = yield* listening(second, old.port)
        let address = first
        const { names } = yield* resolvingTo(() => [address])
        const connection = yield* NodeAmqp.make({
          url: `amqp://broker.example:${old.port}`,
          recovery: { schedule: Schedule.spaced("50 millis") }
        })
        yield* hasConnection(old.broker)
        assert.deepStrictEqual(names, ["broker.example"])

        // At its old address the broker is gone, and its name still refers to that.
        yield* Scope.close(scope, Exit.void)
        yield* Effect.repeat(connection.state, {
          until: (state) => state._tag === "Recovering" && state.attempt >= 3,
          schedule: Schedule.spaced("5 millis")
        })
        assert.isAtLeast(names.length, 3)
        assert.lengthOf(yield* moved.broker.connections, 0)

        address = second
        yield* AmqpChannel.run(AmqpQueue.declare("orders")).pipe(
          Effect.provideService(AmqpConnection.AmqpConnection, connection)
        )
        assert.deepStrictEqual((yield* moved.broker.queues()).map(({ name }) => name), ["orders"])
        assert.deepStrictEqual([...new Set(names)], ["broker.example"])
      }).pipe(Effect.scoped)
  )

  it.live("uses the next address if nothing listens at the first", () =>
    Effect.gen(function*() {
      const { broker, port } = yield* listening(first, 0)
      // `localhost` usually has both.
      yield* resolvingTo(() => ["::1", first])
      const connection = yield* NodeAmqp.make({ url: `amqp://broker.example:${port}`, connectTimeout: "5 seconds" })
      yield* AmqpChannel.run(AmqpQueue.declare("orders")).pipe(
        Effect.provideService(AmqpConnection.AmqpConnection, connection)
      )
      assert.deepStrictEqual((yield* broker.queues()).map(({ name }) => name), ["orders"])
    }).pipe(Effect.scoped))

  it.live("uses the next address with TLS too", () =>
    Effect.gen(function*() {
      const { cert, key } = issue("test server", { hosts: ["broker.example"] })
      const server = tls.createServer({ cert, key }, (socket) => void socket.pipe(socket))
      yield* Effect.acquireRelease(
        Effect.callback<void>((resume) => void server.listen(0, first, () => resume(Effect.void))),
        () => Effect.callback<void>((resume) => void server.close(() => resume(Effect.void)))
      )
      const { port } = server.address() as net.AddressInfo // a TCP server has no other kind
      yield* resolvingTo(() => ["::1", first])
      const uri = Result.getOrThrow(AmqpUri.parse(`amqps://broker.example:${port}?verify=verify_none`))
      const echoed = yield* Effect.scoped(Effect.gen(function*() {
        const socket = yield* NodeAmqp.makeSocket(uri)
        const { pull } = yield* socket.reader
        yield* Effect.flatMap(socket.writer, ({ write }) => write("hello"))
        return (yield* pull).map((chunk) => Buffer.from(chunk).toString()).join("")
      }))
      assert.strictEqual(echoed, "hello")
    }).pipe(Effect.scoped))
})
