import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import { AmqpConnection } from "@effect-amqp/core/AmqpConnection"
import { AmqpConnectionError } from "@effect-amqp/core/AmqpError"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpUri from "@effect-amqp/core/AmqpUri"
import * as NodeAmqp from "@effect-amqp/node/NodeAmqp"
import { assert, describe, it } from "@effect/vitest"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as net from "node:net"
import { inspect } from "node:util"
import { eventually, failsWith, uniqueName } from "../../support/broker.ts"
import { administration, brokerUrl, isAdministrable } from "../../support/brokerUnderTest.ts"
import { freshReader } from "../../support/user.ts"

const broker = Result.getOrThrow(AmqpUri.parse(brokerUrl))

const { host, password, port, tls, username, virtualHost } = broker

/** The broker's URL with some parts changed. */
const urlWith = (parts: AmqpUri.Options): string => {
  const uri = Result.getOrThrow(AmqpUri.make({ host, port, username, password, virtualHost, tls, ...parts }))
  return Redacted.value(AmqpUri.toRedacted(uri))
}

const connected = (options: NodeAmqp.Options) => Effect.provide(AmqpConnection, NodeAmqp.layer(options))

const failureOf = (options: NodeAmqp.Options) => Effect.flip(Effect.scoped(Layer.build(NodeAmqp.layer(options))))

/** The error of a failed connection, which must not show the password `hunter2` anywhere. */
const connectionFailureOf = (options: NodeAmqp.Options) =>
  Effect.map(failureOf(options), (error) => {
    for (const text of [error.message, String(error), inspect(error, { depth: 9 }), JSON.stringify(error)]) {
      assert.notInclude(text, "hunter2")
    }
    return error instanceof AmqpConnectionError ? error : assert.fail(String(error))
  })

/** A server that accepts connections and sends nothing. `closed` waits until it has none. */
const silentServer = Effect.acquireRelease(
  Effect.callback<{ readonly port: number; readonly closed: Effect.Effect<void>; readonly server: net.Server }>(
    (resume) => {
      const sockets = new Set<net.Socket>()
      const server = net.createServer((socket) => {
        sockets.add(socket)
        socket.on("error", () => {}).on("close", () => sockets.delete(socket)).resume()
      })
      const closed = Effect.asVoid(eventually(Effect.sync(() => sockets.size), (size) => size === 0))
      server.listen(0, "127.0.0.1", () => {
        const { port } = server.address() as net.AddressInfo // a TCP server has no other kind
        resume(Effect.succeed({ port, closed, server }))
      })
    }
  ),
  ({ server }) => Effect.sync(() => server.close())
)

/** A server that calls `onConnection` for each connection. */
const serverThat = (onConnection: (socket: net.Socket) => void) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly port: number; readonly server: net.Server }>((resume) => {
      const server = net.createServer((socket) => onConnection(socket.on("error", () => {})))
      server.listen(0, "127.0.0.1", () => {
        const { port } = server.address() as net.AddressInfo // a TCP server has no other kind
        resume(Effect.succeed({ port, server }))
      })
    }),
    ({ server }) => Effect.sync(() => server.close())
  )

describe("a connection on Node.js", () => {
  it.live("can be made from a URL: a string, a redacted or a parsed one", () =>
    Effect.gen(function*() {
      const url = urlWith({})
      for (const given of [url, Redacted.make(url), broker]) {
        const { serverProperties } = yield* connected({ url: given })
        assert.isString((yield* serverProperties)["product"])
      }
    }))

  it.live("can be made from Config", () =>
    Effect.gen(function*() {
      const layer = NodeAmqp.layerConfig({
        url: Config.Redacted("AMQP_URL"),
        connectionName: Config.String("AMQP_CONNECTION_NAME").pipe(Config.withDefault("effect-amqp test"))
      })
      const { negotiated } = yield* Effect.provide(AmqpConnection, layer).pipe(
        Effect.provideService(
          ConfigProvider.ConfigProvider,
          ConfigProvider.fromUnknown({ AMQP_URL: urlWith({ heartbeat: "7 seconds" }) })
        )
      )
      assert.deepStrictEqual((yield* negotiated).heartbeat, Duration.seconds(7))
    }))

  it.live("takes its settings from the URL, which options override", () =>
    Effect.gen(function*() {
      const url = urlWith({ heartbeat: "7 seconds", channelMax: 9, frameMax: 16384 })
      const fromUrl = yield* connected({ url })
      assert.deepStrictEqual(yield* fromUrl.negotiated, {
        heartbeat: Duration.seconds(7),
        channelMax: 9,
        frameMax: 16384
      })
      const fromOptions = yield* connected({ url, heartbeat: "5 seconds", channelMax: 8, frameMax: 8192 })
      assert.deepStrictEqual(yield* fromOptions.negotiated, {
        heartbeat: Duration.seconds(5),
        channelMax: 8,
        frameMax: 8192
      })
    }))

  it.live("takes credentials and virtual host from the options before the URL", () =>
    connected({
      url: urlWith({ username: "nobody", password: Redacted.make("hunter2"), virtualHost: "nowhere" }),
      credentials: { username, password },
      virtualHost
    }))

  it.live("fails with AuthenticationFailed for a wrong password", () =>
    Effect.gen(function*() {
      const error = yield* connectionFailureOf({ url: urlWith({ password: Redacted.make("hunter2") }) })
      assert.strictEqual(error.reason._tag, "AuthenticationFailed")
      assert.isFalse(error.isRetryable)
      assert.include(error.message, `refused the credentials of user "${username}"`)
      assert.include(error.message, "ACCESS_REFUSED")
    }))

  it.live("fails with the host, the step and a hint when a server closes the socket at once", () =>
    Effect.gen(function*() {
      const { port } = yield* serverThat((socket) => socket.destroy())
      const error = yield* connectionFailureOf({ url: `amqp://user:secret@127.0.0.1:${port}` })
      assert.strictEqual(error.reason._tag, "SocketLost")
      assert.include(error.message, `127.0.0.1:${port}`)
      assert.include(error.message, "waiting for connection.start")
      assert.include(error.message, "does this port want TLS (amqps://)")
    }))

  it.live("asks whether the port speaks TLS when a server closes the socket in the TLS handshake", () =>
    Effect.gen(function*() {
      const { port } = yield* serverThat((socket) => socket.once("data", () => socket.destroy()))
      const error = yield* connectionFailureOf({ url: `amqps://user:secret@127.0.0.1:${port}` })
      assert.strictEqual(error.reason._tag, "ConnectFailed")
      assert.include(error.message, `127.0.0.1:${port}`)
      assert.include(error.message, "does this port speak TLS?")
    }))

  it.live.skipIf(tls !== undefined)(
    "fails with a retryable error when the broker closes the socket during the login",
    () =>
      Effect.gen(function*() {
        const { port } = yield* serverThat((client) => {
          const upstream = net.connect(broker.port, host).on("error", () => {})
          client.on("close", () => upstream.destroy())
          client.once("data", (header) => {
            upstream.write(header)
            // The client's connection.start-ok.
            client.once("data", () => client.destroy())
          })
          upstream.once("data", (start) => client.write(start))
        })
        const error = yield* connectionFailureOf({ url: `amqp://${username}:secret@127.0.0.1:${port}` })
        assert.strictEqual(error.reason._tag, "SocketLost")
        assert.isTrue(error.isRetryable)
      })
  )

  for (
    const [key, text] of [["heartBeat", "heartbeat"], ["uri", "there is no \"uri\""], ["tsl", "tls"], [
      "vhost",
      "virtualHost"
    ]]
  ) {
    it.live(`refuses an unknown option: ${key}`, () =>
      Effect.gen(function*() {
        const options = { url: "amqp://user:secret@127.0.0.1:1", [key]: "x" }
        const error = yield* connectionFailureOf(options)
        assert.strictEqual(error.reason._tag, "InvalidArgument")
        assert.include(error.message, key)
        assert.include(error.message, text)
        const layer = NodeAmqp.layerConfig({ url: Config.succeed("amqp://localhost:1"), [key]: Config.succeed("x") })
        const fromConfig = yield* Effect.flip(Effect.provide(Effect.void, layer))
        assert.include(fromConfig.message, key)
      }))
  }

  it.live("fails with VirtualHostRefused for a virtual host that does not exist", () =>
    Effect.gen(function*() {
      const error = yield* connectionFailureOf({ url: urlWith({ virtualHost: "not/there" }) })
      assert.strictEqual(error.reason._tag, "VirtualHostRefused")
      assert.isFalse(error.isRetryable)
      assert.include(error.message, `refused virtual host "not/there"`)
      assert.include(error.message, "vhost not/there not found")
    }))

  it.live("fails with ConnectFailed for a port where nothing listens", () =>
    Effect.gen(function*() {
      const error = yield* connectionFailureOf({ url: "amqp://user:hunter2@127.0.0.1:1" })
      assert.strictEqual(error.reason._tag, "ConnectFailed")
      assert.isTrue(error.isRetryable)
      assert.include(error.message, "ECONNREFUSED 127.0.0.1:1")
    }))

  it.live("fails with ConnectFailed for a name that does not resolve", () =>
    Effect.gen(function*() {
      const error = yield* connectionFailureOf({ url: "amqp://user:hunter2@broker.invalid" })
      assert.strictEqual(error.reason._tag, "ConnectFailed")
      assert.match(error.message, /(ENOTFOUND|EAI_AGAIN) broker\.invalid/)
    }))

  it.live("H1: fails with HandshakeTimeout for a silent server, within the timeout, and leaves no socket", () =>
    Effect.gen(function*() {
      const { closed, port } = yield* silentServer
      for (const timeout of [{ handshakeTimeout: "100 millis" }, { connectTimeout: "100 millis" }] as const) {
        const failure = connectionFailureOf({ url: `amqp://user:hunter2@127.0.0.1:${port}`, ...timeout })
        const [elapsed, error] = yield* Effect.timed(failure)
        assert.strictEqual(error.reason._tag, "HandshakeTimeout")
        assert.isTrue(error.isRetryable)
        assert.include(error.message, "waited for connection.start")
        assert.isBelow(Duration.toMillis(elapsed), 2000)
        yield* closed
      }
    }))

  it.live.runIf(isAdministrable)(
    "S9: takes credentials with any characters; E6: fails with AccessRefused for what the user may not do",
    () =>
      Effect.gen(function*() {
        const password = ":@/%+?#é hunter2"
        const name = yield* freshReader(password)
        const { host, port, tls, virtualHost } = Result.getOrThrow(AmqpUri.parse(administration().url))
        const uri = AmqpUri.make({ host, port, tls, virtualHost, username: name, password: Redacted.make(password) })
        const url = AmqpUri.toRedacted(Result.getOrThrow(uri))
        const queue = uniqueName("queue")
        const declare = Effect.provide(AmqpChannel.run(AmqpQueue.declare(queue)), NodeAmqp.layer({ url }))
        const reason = yield* failsWith(declare, "AccessRefused")
        assert.strictEqual(reason.replyCode, 403)
        assert.isFalse(reason.isRetryable)
        for (const part of [queue, name]) assert.include(reason.message, part)
      })
  )

  it.live.skipIf(tls !== undefined)(
    "H4: fails with ConnectFailed for TLS to a plain port, as the error reports",
    () =>
      Effect.gen(function*() {
        const { host, port } = broker
        const url = Result.getOrThrow(AmqpUri.make({ host, port, tls: {} }))
        const error = yield* connectionFailureOf({ url })
        assert.strictEqual(error.reason._tag, "ConnectFailed")
        assert.include(error.message, "does not speak TLS")
      })
  )

  it.live("fails with AmqpUriError for an invalid URL", () =>
    Effect.gen(function*() {
      const error = yield* failureOf({ url: "amqp://user:hunter2@broker:port" })
      assert.instanceOf(error, AmqpUri.AmqpUriError)
      assert.notInclude(error.message, "hunter2")
    }))

  it.live("fails with a ConfigError for a variable that is not set", () =>
    Effect.gen(function*() {
      const layer = NodeAmqp.layerConfig({ url: Config.Redacted("AMQP_URL") })
      const error = yield* Effect.flip(Effect.scoped(Layer.build(layer))).pipe(
        Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown({}))
      )
      assert.strictEqual(error._tag, "ConfigError")
      assert.include(error.message, "AMQP_URL")
    }))
})
