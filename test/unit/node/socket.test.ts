import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpUri from "@effect-amqp/core/AmqpUri"
import * as NodeAmqp from "@effect-amqp/node/NodeAmqp"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Socket from "effect/socket/Socket"
import * as crypto from "node:crypto"
import * as fs from "node:fs"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import * as tls from "node:tls"
import { vi } from "vitest"
import { instancesOf } from "../../support/heap.ts"
import { assertHides, assertUnreachable } from "../../support/secrets.ts"
import { issue } from "./certificates.ts"
import type { Identity } from "./certificates.ts"
import { echoing, listening } from "./listening.ts"

const tcpServer = listening((onConnection) => net.createServer(onConnection), echoing)

const tlsServer = (options: tls.TlsOptions) =>
  listening((onConnection) => {
    const server = tls.createServer(options, onConnection)
    server.on("tlsClientError", () => {})
    return server
  }, echoing)

const temporaryFolder = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "effect-amqp-test-"))),
  (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true }))
)

/** Writes files into a temporary folder and returns their paths. */
const filesOf = <const Name extends string>(contents: Readonly<Record<Name, string>>) =>
  Effect.map(temporaryFolder, (folder) => {
    const entries = Object.entries<string>(contents).map(([name, content]) => {
      const file = path.join(folder, name)
      fs.writeFileSync(file, content)
      return [name, file]
    })
    return { folder, ...Object.fromEntries(entries) as Record<Name, string> } // the names that were given
  })

const parsed = (url: string): AmqpUri.AmqpUri => Result.getOrThrow(AmqpUri.parse(url))

const socketTo = (url: string, options?: NodeAmqp.TlsOptions) => NodeAmqp.makeSocket(parsed(url), options)

/** Connects, sends a text and returns the reply. */
const echo = (socket: Socket.Socket): Effect.Effect<string, Socket.SocketError> =>
  Effect.scoped(Effect.gen(function*() {
    const { pull } = yield* socket.reader
    const { write } = yield* socket.writer
    yield* write("hello")
    return (yield* pull).map((chunk) => Buffer.from(chunk).toString()).join("")
  }))

/** Waits for a condition, for at most the test's timeout. */
const until = (condition: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => condition() ? Effect.void : Effect.delay(until(condition), "5 millis"))

const messageOf = (error: Socket.SocketError): string =>
  "cause" in error.reason && error.reason.cause instanceof Error
    ? error.reason.cause.message
    : assert.fail(String(error))

const failureOf = (url: string, options?: NodeAmqp.TlsOptions) =>
  Effect.map(Effect.flip(Effect.flatMap(socketTo(url, options), echo)), messageOf)

const authority = issue("test authority")
const server = issue("test server", { hosts: ["localhost", "127.0.0.1"], issuer: authority })
const elsewhere = issue("test server elsewhere", { hosts: ["elsewhere.example"], issuer: authority })
const expired = issue("expired test server", { hosts: ["localhost"], issuer: authority, daysLeft: -1 })
const selfSigned = issue("self-signed test server", { hosts: ["localhost"] })
const client = issue("test client", { hosts: ["client.example"], issuer: authority })

const caFile = Effect.map(filesOf({ ca: authority.cert }), ({ ca }) => encodeURIComponent(ca))

const serving = ({ cert, key }: Identity, options?: tls.TlsOptions) => tlsServer({ cert, key, ...options })

describe("a socket to a URL", () => {
  it.live("sends and receives bytes over TCP", () =>
    Effect.gen(function*() {
      const { port } = yield* tcpServer
      assert.strictEqual(yield* Effect.flatMap(socketTo(`amqp://127.0.0.1:${port}`), echo), "hello")
    }))

  it.live("disables Nagle's algorithm", () =>
    Effect.gen(function*() {
      const { port } = yield* tcpServer
      // A socket does not report the option. Of the sockets in this test, only the client's sets it.
      const setNoDelay = yield* Effect.acquireRelease(
        Effect.sync(() => vi.spyOn(net.Socket.prototype, "setNoDelay")),
        (spy) => Effect.sync(() => spy.mockRestore())
      )
      yield* Effect.flatMap(socketTo(`amqp://127.0.0.1:${port}`), echo)
      assert.deepStrictEqual(setNoDelay.mock.calls.at(-1), [true])
    }))

  it.live("makes a new connection each time it is read", () =>
    Effect.gen(function*() {
      const { connections, port } = yield* tcpServer
      const socket = yield* socketTo(`amqp://127.0.0.1:${port}`)
      yield* echo(socket)
      yield* echo(socket)
      assert.lengthOf(connections, 2)
    }))

  it.live("reports that nothing listens on the port", () =>
    Effect.gen(function*() {
      const { port } = yield* Effect.scoped(tcpServer)
      const message = yield* failureOf(`amqp://user:secret@127.0.0.1:${port}`)
      assert.include(message, `ECONNREFUSED 127.0.0.1:${port}`)
      assert.include(message, "nothing listens there")
      assert.notInclude(message, "secret")
    }))

  it.live("reports that the host name does not resolve", () =>
    Effect.gen(function*() {
      const message = yield* failureOf("amqp://broker.invalid")
      assert.match(message, /^broker\.invalid:5672: getaddrinfo (ENOTFOUND|EAI_AGAIN) broker\.invalid \(the name/)
    }))

  it.live("X1: leaves no connection when it is interrupted while connecting (S4: in the TLS handshake)", () =>
    Effect.gen(function*() {
      const { connections, port } = yield* listening(
        (onConnection) => net.createServer(onConnection),
        (socket) => void socket.resume()
      )
      const socket = yield* socketTo(`amqps://127.0.0.1:${port}`)
      const fiber = yield* Effect.forkChild(echo(socket))
      yield* until(() => connections.length === 1)
      yield* Fiber.interrupt(fiber)
      yield* until(() => connections.every(({ destroyed }) => destroyed))
    }))

  it.live("S4: ends a stalled TLS handshake after the connect timeout, and destroys its connection", () =>
    Effect.gen(function*() {
      const { connections, port } = yield* listening(
        (onConnection) => net.createServer(onConnection),
        (socket) => void socket.resume()
      )
      const connecting = NodeAmqp.make({ url: `amqps://127.0.0.1:${port}`, connectTimeout: "200 millis" })
      const error = yield* Effect.flip(Effect.scoped(connecting))
      if (error._tag !== "AmqpConnectionError" || error.reason._tag !== "HandshakeTimeout") {
        return assert.fail(error._tag)
      }
      assert.strictEqual(error.reason.phase, "the socket")
      yield* until(() => connections.length === 1 && connections.every(({ destroyed }) => destroyed))
    }))

  it.live("W2: is destroyed when its scope closes, without what the peer does not read", () =>
    Effect.gen(function*() {
      const sent = 64 * 1024 * 1024
      const { connections, port } = yield* listening(
        (onConnection) => net.createServer({ pauseOnConnect: true }, onConnection)
      )
      const socket = yield* socketTo(`amqp://127.0.0.1:${port}`)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* socket.reader
        const { write } = yield* socket.writer
        yield* Effect.timeoutOption(write(new Uint8Array(sent)), "100 millis")
      }))
      let received = 0
      yield* Effect.callback<void>((resume) => {
        connections[0]?.on("data", (chunk) => received += chunk.length).on("close", () => resume(Effect.void)).resume()
      })
      assert.isBelow(received, sent)
    }))
})

describe("a socket to a URL with TLS", () => {
  it.live("trusts the authority in cacertfile", () =>
    Effect.gen(function*() {
      const { connections, port } = yield* serving(server)
      const url = `amqps://localhost:${port}?cacertfile=${yield* caFile}`
      assert.strictEqual(yield* Effect.flatMap(socketTo(url), echo), "hello")
      assert.strictEqual((connections[0] as tls.TLSSocket).servername, "localhost") // a TLS server has no other kind
    }))

  it.live("sends no server name if the host is an IP address, and verifies the address", () =>
    Effect.gen(function*() {
      const { connections, port } = yield* serving(server)
      const ca = yield* caFile
      assert.strictEqual(yield* Effect.flatMap(socketTo(`amqps://127.0.0.1:${port}?cacertfile=${ca}`), echo), "hello")
      assert.isFalse((connections[0] as tls.TLSSocket).servername) // a TLS server has no other kind
      const other = yield* serving(elsewhere)
      assert.include(yield* failureOf(`amqps://127.0.0.1:${other.port}?cacertfile=${ca}`), "server_name_indication")
    }))

  it.live("trusts the authorities in the folder capath", () =>
    Effect.gen(function*() {
      const { port } = yield* serving(server)
      const { folder } = yield* filesOf({ one: selfSigned.cert, two: authority.cert, key: server.key, readme: "text" })
      fs.mkdirSync(path.join(folder, "deeper"))
      const url = `amqps://localhost:${port}?capath=${encodeURIComponent(folder)}`
      assert.strictEqual(yield* Effect.flatMap(socketTo(url), echo), "hello")
    }))

  it.live("S1: refuses a self-signed certificate, and says how to trust it", () =>
    Effect.gen(function*() {
      const { port } = yield* serving(selfSigned)
      const message = yield* failureOf(`amqps://localhost:${port}`)
      assert.match(message, new RegExp(`^localhost:${port}: self-signed certificate.*cacertfile=`))
      const { own } = yield* filesOf({ own: selfSigned.cert })
      const url = `amqps://localhost:${port}?cacertfile=${encodeURIComponent(own)}`
      assert.strictEqual(yield* Effect.flatMap(socketTo(url), echo), "hello")
    }))

  it.live("S1: refuses a certificate of an unknown authority, and says how to trust it", () =>
    Effect.gen(function*() {
      const { port } = yield* serving(server)
      assert.match(yield* failureOf(`amqps://localhost:${port}`), /unknown authority.*cacertfile=/)
    }))

  it.live("S1: refuses an expired certificate", () =>
    Effect.gen(function*() {
      const { port } = yield* serving(expired)
      assert.include(yield* failureOf(`amqps://localhost:${port}?cacertfile=${yield* caFile}`), "has expired")
    }))

  it.live("S2: refuses a certificate for another host, unless the URL names that host", () =>
    Effect.gen(function*() {
      const { port } = yield* serving(elsewhere)
      const url = `amqps://localhost:${port}?cacertfile=${yield* caFile}`
      const message = yield* failureOf(url)
      assert.include(message, "elsewhere.example")
      assert.include(message, "server_name_indication=")
      assert.include(yield* failureOf(`${url}&server_name_indication=disable`), "elsewhere.example")
      const named = `${url}&server_name_indication=elsewhere.example`
      assert.strictEqual(yield* Effect.flatMap(socketTo(named), echo), "hello")
    }))

  it.live("with server_name_indication=disable sends no server name and still verifies the host", () =>
    Effect.gen(function*() {
      const { connections, port } = yield* serving(server)
      const url = `amqps://localhost:${port}?cacertfile=${yield* caFile}&server_name_indication=disable`
      assert.strictEqual(yield* Effect.flatMap(socketTo(url), echo), "hello")
      assert.isFalse((connections[0] as tls.TLSSocket).servername) // a TLS server has no other kind
    }))

  it.live("with ssl_check_hostname=false accepts a certificate for another host, but not of an unknown authority", () =>
    Effect.gen(function*() {
      const { port } = yield* serving(elsewhere)
      const url = `amqps://localhost:${port}?ssl_check_hostname=false`
      assert.include(yield* failureOf(url), "authority")
      assert.strictEqual(yield* Effect.flatMap(socketTo(`${url}&cacertfile=${yield* caFile}`), echo), "hello")
    }))

  it.live("with verify=verify_none accepts any certificate", () =>
    Effect.gen(function*() {
      const { port } = yield* serving(expired)
      const url = `amqps://127.0.0.1:${port}?verify=verify_none`
      assert.strictEqual(yield* Effect.flatMap(socketTo(url), echo), "hello")
    }))

  it.live("S3: reports that the server requires a client certificate, with TLS 1.2 and 1.3", () =>
    Effect.gen(function*() {
      const ca = yield* caFile
      for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
        const { port } = yield* serving(server, { ca: authority.cert, requestCert: true, maxVersion })
        assert.match(
          yield* failureOf(`amqps://localhost:${port}?cacertfile=${ca}`),
          /client certificate; pass certfile=/
        )
      }
    }))

  it.live("presents the certificate in certfile, with its key there or in keyfile, plain or encrypted", () =>
    Effect.gen(function*() {
      const subjects: Array<unknown> = []
      const { port } = yield* listening(
        (onConnection) =>
          tls.createServer({ ...server, ca: authority.cert, requestCert: true }, (socket) => {
            subjects.push(socket.getPeerCertificate().subject.CN)
            onConnection(socket)
          }),
        echoing
      )
      const encrypted = crypto.createPrivateKey(client.key)
        .export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "p&q" })
        .toString()
      const files = yield* filesOf({ cert: client.cert, key: client.key, both: client.cert + client.key, encrypted })
      const [cert, key, both, encryptedKey] = [files.cert, files.key, files.both, files.encrypted].map(
        encodeURIComponent
      )
      const url = `amqps://localhost:${port}?cacertfile=${yield* caFile}`
      for (
        const identity of [
          `certfile=${cert}&keyfile=${key}`,
          `certfile=${both}`,
          `certfile=${cert}&keyfile=${encryptedKey}&password=p%26q`
        ]
      ) {
        assert.strictEqual(yield* Effect.flatMap(socketTo(`${url}&${identity}`), echo), "hello")
      }
      assert.deepStrictEqual(subjects, [client.name, client.name, client.name])
      const wrong = yield* failureOf(`${url}&certfile=${cert}&keyfile=${encryptedKey}&password=secret`)
      assert.notInclude(wrong, "secret")
      assert.match(wrong, /certfile.*keyfile.*password/)
    }))

  it.live("accepts a passphrase as an option, and keeps neither it nor the key where they could be printed", () =>
    Effect.gen(function*() {
      const { connections, port } = yield* serving(server, { ca: authority.cert, requestCert: true })
      const passphrase = `passphrase-${crypto.randomUUID()}`
      const key = crypto.createPrivateKey(client.key)
        .export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase })
        .toString()
      const lines = key.split("\n")
      for (const given of [passphrase, Redacted.make(passphrase)]) {
        const options = { ca: authority.cert, cert: client.cert, key, passphrase: given }
        const socket = yield* socketTo(`amqps://localhost:${port}`, options)
        const { pull } = yield* socket.reader
        yield* Effect.flatMap(socket.writer, ({ write }) => write("hello"))
        yield* pull
        const inUse = instancesOf(tls.TLSSocket)
        assert.isAbove(inUse.length, connections.length, "the client's socket is among them")
        assertUnreachable({ inUse, socket }, passphrase, lines[1])
      }
      // JavaScript may pass this, and Node.js prints a value that it refuses.
      const pin = 123_456_789
      const unusable = yield* Effect.flip(
        Effect.scoped(
          Effect.flatMap(
            socketTo(`amqps://localhost:${port}`, { passphrase: pin as unknown as string }),
            ({ reader }) => reader
          )
        )
      )
      assertHides(unusable, String(pin))
    }))

  it.live("S5: reads its files each time it connects", () =>
    Effect.gen(function*() {
      const { port } = yield* serving(server)
      const { ca } = yield* filesOf({ ca: selfSigned.cert })
      const socket = yield* socketTo(`amqps://localhost:${port}?cacertfile=${encodeURIComponent(ca)}`)
      assert.include(messageOf(yield* Effect.flip(echo(socket))), "authority")
      fs.writeFileSync(ca, authority.cert)
      assert.strictEqual(yield* echo(socket), "hello")
    }))

  it.live("names the parameter whose file is missing or has no certificate", () =>
    Effect.gen(function*() {
      const { folder, key, text } = yield* filesOf({ key: client.key, text: "no certificate" })
      const url = "amqps://localhost:1"
      assert.match(yield* failureOf(`${url}?cacertfile=/missing.pem`), /cacertfile: ENOENT.*'\/missing\.pem'/)
      assert.match(yield* failureOf(`${url}?capath=/missing`), /capath: ENOENT.*'\/missing'/)
      assert.match(yield* failureOf(`${url}?certfile=/missing.pem`), /certfile: ENOENT/)
      assert.include(
        yield* failureOf(`${url}?cacertfile=${encodeURIComponent(text)}`),
        `'${text}' contains no certificate`
      )
      assert.include(
        yield* failureOf(`${url}?capath=${encodeURIComponent(folder)}`),
        `'${folder}' contains no certificate`
      )
      assert.include(yield* failureOf(`${url}?certfile=${encodeURIComponent(key)}`), `'${key}' contains no certificate`)
    }))

  it.live("H4: reports that the server does not speak TLS", () =>
    Effect.gen(function*() {
      for (const answer of ["AMQP\0\0\x09\x01", "HTTP/1.1 400 Bad Request\r\n\r\n"]) {
        const { port } = yield* listening((onConnection) => net.createServer(onConnection), (socket) => {
          socket.end(answer, "latin1")
        })
        assert.match(yield* failureOf(`amqps://localhost:${port}`), /does not speak TLS.*amqp:\/\//)
      }
    }))

  it.live("H4: reports that the server closed the connection", () =>
    Effect.gen(function*() {
      const { port } = yield* listening((onConnection) => net.createServer(onConnection), (socket) => socket.destroy())
      assert.match(yield* failureOf(`amqps://localhost:${port}`), /TLS/)
    }))

  it.live("refuses TLS versions before 1.2, unless the options allow them", () =>
    Effect.gen(function*() {
      const old: tls.TlsOptions = { minVersion: "TLSv1.1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" }
      const { port } = yield* serving(server, old)
      const url = `amqps://localhost:${port}?cacertfile=${yield* caFile}`
      assert.include(yield* failureOf(url), "no TLS version in common")
      const taking = socketTo(url, { minVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" })
      assert.strictEqual(yield* Effect.flatMap(taking, echo), "hello")
    }))

  it.live("S1: verifies certificates despite NODE_TLS_REJECT_UNAUTHORIZED and rejectUnauthorized", () =>
    Effect.gen(function*() {
      const { port } = yield* serving(server)
      const url = `amqps://localhost:${port}`
      const options = { servername: "localhost", rejectUnauthorized: false }
      assert.include(yield* failureOf(url, options), "authority")
      yield* Effect.acquireUseRelease(
        Effect.sync(() => process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = "0"),
        () => Effect.map(failureOf(url), (message) => assert.include(message, "authority")),
        () => Effect.sync(() => delete process.env["NODE_TLS_REJECT_UNAUTHORIZED"])
      )
    }))

  it.live("refuses anything but true or false for dangerouslyAcceptAnyCertificate", () =>
    Effect.gen(function*() {
      const { port } = yield* serving(expired)
      for (const value of ["false", "no", 1, 0, null, {}]) {
        // A configuration in JavaScript may have these.
        const options = { dangerouslyAcceptAnyCertificate: value as unknown as boolean }
        assert.include(yield* failureOf(`amqps://127.0.0.1:${port}`, options), "must be true or false")
      }
    }))

  it.live("with dangerouslyAcceptAnyCertificate accepts any certificate, and with false overrides verify_none", () =>
    Effect.gen(function*() {
      const { port } = yield* serving(expired)
      const url = `amqps://127.0.0.1:${port}`
      const unsafe = socketTo(url, { dangerouslyAcceptAnyCertificate: true })
      assert.strictEqual(yield* Effect.flatMap(unsafe, echo), "hello")
      const safe = { dangerouslyAcceptAnyCertificate: false }
      assert.include(yield* failureOf(`${url}?verify=verify_none`, safe), "expired")
    }))

  it.live("prefers the options to the URL", () =>
    Effect.gen(function*() {
      const { port } = yield* serving(server)
      const { ca } = yield* filesOf({ ca: selfSigned.cert })
      const socket = yield* socketTo(`amqps://localhost:${port}?cacertfile=${encodeURIComponent(ca)}`, {
        ca: authority.cert
      })
      assert.strictEqual(yield* echo(socket), "hello")
    }))
})

describe("the layer of a socket", () => {
  it.live("provides a socket to a URL that is a string, redacted, parsed, or a modified copy", () =>
    Effect.gen(function*() {
      const { port } = yield* tcpServer
      const url = `amqp://127.0.0.1:${port}`
      const copy = Object.assign({}, parsed("amqp://127.0.0.1:1"), { port })
      for (const given of [url, Redacted.make(url), parsed(url), copy]) {
        const answer = Effect.flatMap(Socket.Socket, echo)
        assert.strictEqual(yield* Effect.provide(answer, NodeAmqp.layerSocket({ url: given })), "hello")
      }
    }))

  it.effect("provides the protection level", () =>
    Effect.gen(function*() {
      for (
        const [options, level] of [
          [{ url: "amqp://127.0.0.1" }, "Local"],
          [{ url: "amqp://rabbit.example" }, "None"],
          [{ url: "amqps://rabbit.example" }, "Verified"],
          [{ url: "amqps://rabbit.example", tls: { dangerouslyAcceptAnyCertificate: true } }, "Unverified"]
        ] as const
      ) {
        const transport = yield* Effect.provide(AmqpConnection.TransportProtection, NodeAmqp.layerSocket(options))
        assert.strictEqual(transport?.level, level)
      }
    }))

  it.effect("fails with an AmqpUriError for an invalid URL, and for TLS options without TLS", () =>
    Effect.gen(function*() {
      const copy = Object.assign({}, parsed("amqp://user:secret@broker"), { port: 0 })
      for (
        const options of [{ url: "amqp://user:secret@broker:x" }, { url: copy }, { url: "amqp://broker", tls: {} }]
      ) {
        const error = yield* Effect.flip(Effect.scoped(Layer.build(NodeAmqp.layerSocket(options))))
        assert.instanceOf(error, AmqpUri.AmqpUriError)
        assert.notInclude(error.message, "secret")
      }
    }))
})
