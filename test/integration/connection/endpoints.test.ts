import { AmqpConnection } from "@effect-amqp/core/AmqpConnection"
import { EndpointsFailed } from "@effect-amqp/core/AmqpError"
import * as NodeAmqp from "@effect-amqp/node/NodeAmqp"
import { assert, describe, it } from "@effect/vitest"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as net from "node:net"
import * as tls from "node:tls"
import { brokerUrl } from "../../support/brokerUnderTest.ts"
import { issue } from "../../unit/node/certificates.ts"

/** A server on a loopback port, for as long as the scope lives. */
const listening = (server: net.Server) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly port: number; readonly sockets: Set<net.Socket> }>((resume) => {
      const sockets = new Set<net.Socket>()
      server.on("connection", (socket: net.Socket) => void sockets.add(socket.on("error", () => {})))
      server.listen(0, "127.0.0.1", () => {
        // A TCP server has no other kind of address.
        const { port } = server.address() as net.AddressInfo
        resume(Effect.succeed({ port, sockets }))
      })
    }),
    ({ sockets }) =>
      Effect.callback<void>((resume) => {
        for (const socket of sockets) socket.destroy()
        server.close(() => resume(Effect.void))
      })
  )

/** A port on which nothing listens. */
const closedPort = Effect.map(Effect.scoped(Effect.suspend(() => listening(net.createServer()))), ({ port }) => port)

const failureOf = (options: NodeAmqp.Options) => Effect.flip(Effect.scoped(Layer.build(NodeAmqp.layer(options))))

const stateWith = (options: NodeAmqp.Options) =>
  Effect.flatMap(AmqpConnection, ({ state }) => state).pipe(Effect.provide(NodeAmqp.layer(options)))

const { host: brokerHost } = new URL(brokerUrl)

describe("a connection with several URLs", () => {
  it.live("H13: connects to the next one when one is refused, and when one says nothing", () =>
    Effect.scoped(Effect.gen(function*() {
      const refused = yield* closedPort
      const { port: silent } = yield* listening(net.createServer())
      const state = yield* stateWith({
        url: [`amqp://127.0.0.1:${refused}`, `amqp://127.0.0.1:${silent}`, brokerUrl],
        virtualHost: "/",
        endpointOrder: "ordered",
        handshakeTimeout: "200 millis"
      })
      assert.deepInclude(state, { _tag: "Open", endpoint: brokerHost })
    })))

  it.live("H13: fails with the reason of each when none can be connected to", () =>
    Effect.gen(function*() {
      const refused = yield* closedPort
      const error = yield* failureOf({
        url: [`amqp://127.0.0.1:${refused}`, brokerUrl],
        virtualHost: "missing-virtual-host",
        endpointOrder: "ordered"
      })
      assert.strictEqual(error._tag, "AmqpConnectionError")
      if (!("reason" in error) || !(error.reason instanceof EndpointsFailed)) return assert.fail(error.message)
      assert.deepStrictEqual(error.reason.failures.map(({ endpoint, reason }) => [endpoint, reason._tag]), [
        [`127.0.0.1:${refused}`, "ConnectFailed"],
        [brokerHost, "VirtualHostRefused"]
      ])
      assert.include(error.message, "None of the 2 endpoints could be used")
      assert.include(error.message, `connect ECONNREFUSED 127.0.0.1:${refused}`)
      assert.include(error.message, "missing-virtual-host")
      assert.notInclude(error.message, "guest")
      assert.isTrue(error.isRetryable, "another node may be available again")
    }))

  it.live("takes them from one environment variable", () =>
    Effect.gen(function*() {
      const refused = yield* closedPort
      const state = yield* Effect.flatMap(AmqpConnection, ({ state }) => state).pipe(
        Effect.provide(
          NodeAmqp.layerConfig({
            url: Config.Array(Schema.Redacted(Schema.String), "AMQP_URLS"),
            endpointOrder: Config.succeed("ordered"),
            virtualHost: Config.succeed("/")
          })
        ),
        Effect.provideService(
          ConfigProvider.ConfigProvider,
          ConfigProvider.fromEnv({
            env: { AMQP_URLS: `amqp://127.0.0.1:${refused}/%2f,${brokerUrl.replace(/\/?$/, "")}` }
          })
        )
      )
      assert.deepInclude(state, { _tag: "Open", endpoint: brokerHost })
    }))

  for (
    const [what, urls, part, text] of [
      ["virtual hosts", ["amqp://a/x", "amqp://b/y"], "VirtualHost", "it is \"x\" for a:5672 and \"y\" for b:5672"],
      ["heartbeats", ["amqp://a?heartbeat=5", "amqp://b?heartbeat=6"], "Query", "the same heartbeat"],
      ["channel limits", ["amqp://a?channel_max=5", "amqp://b"], "Query", "it is 5 for a:5672 and not set for b:5672"],
      ["timeouts", ["amqp://a?connection_timeout=5", "amqp://b"], "Query", "the same connection_timeout"],
      ["mechanisms", ["amqp://a?auth_mechanism=external", "amqp://b"], "Query", "the same auth_mechanism"]
    ] as const
  ) {
    it.live(`fails before it connects if they have different ${what}`, () =>
      Effect.gen(function*() {
        const error = yield* failureOf({ url: urls })
        assert.deepInclude(error, { _tag: "AmqpUriError", part })
        assert.include(error.message, text)
      }))
  }

  it.live("fails for an empty list, and for one with an invalid URL", () =>
    Effect.gen(function*() {
      assert.include((yield* failureOf({ url: [] })).message, "The list of URLs is empty")
      assert.deepInclude(yield* failureOf({ url: ["amqp://a", "http://b"] }), { _tag: "AmqpUriError", part: "Scheme" })
    }))
})

describe("a connection whose certificate is not trusted", () => {
  const server = issue("test broker", { hosts: ["localhost"] })

  it.live("S1: is not retryable, and is given up after three attempts although the program wants to wait", () =>
    Effect.scoped(Effect.gen(function*() {
      const { port, sockets } = yield* listening(tls.createServer({ cert: server.cert, key: server.key }))
      const error = yield* failureOf({
        url: `amqps://localhost:${port}`,
        recovery: { initial: "retry", schedule: Schedule.spaced("1 millis") }
      })
      assert.deepInclude(error, { _tag: "AmqpConnectionError", isRetryable: false })
      if (!("reason" in error)) return assert.fail(error.message)
      assert.deepInclude(error.reason, { _tag: "ConnectFailed", isRetryable: false })
      assert.strictEqual(sockets.size, 3)
    })))
})
