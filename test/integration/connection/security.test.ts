import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import { AmqpConnection, State } from "@effect-amqp/core/AmqpConnection"
import { AmqpConnectionError } from "@effect-amqp/core/AmqpError"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpSasl from "@effect-amqp/core/AmqpSasl"
import * as AmqpUri from "@effect-amqp/core/AmqpUri"
import * as NodeAmqp from "@effect-amqp/node/NodeAmqp"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as crypto from "node:crypto"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import type { Administration } from "../../support/administration.ts"
import { assertReason, eventually, fork, uniqueName } from "../../support/broker.ts"
import { administration, isEmbedded, onRabbitMQ } from "../../support/brokerUnderTest.ts"
import { rabbitmqctlFor } from "../../support/command.ts"
import { canStartPrivateBroker, startPrivateBroker } from "../../support/privateBroker.ts"
import type { PrivateBroker } from "../../support/privateBroker.ts"
import { administer } from "../../support/rabbitmqAdministration.ts"
import { singleSession } from "../../support/recovery.ts"
import { assertHides } from "../../support/secrets.ts"
import { issue } from "../../unit/node/certificates.ts"

// -----------------------------------------------------------------------------
// a broker with TLS, client certificates, tokens, and a mechanism that challenges
// -----------------------------------------------------------------------------

const authority = issue("test authority")
const server = issue("test broker", { hosts: ["localhost"], issuer: authority })
const client = issue("test client", { hosts: ["client.example"], issuer: authority })
const unknownClient = issue("test unknown client", { hosts: ["client.example"], issuer: authority })
const otherAuthority = issue("other authority")

/** A user name and a password with reserved characters of a URL. */
const special = { username: "a:b@c/d%e+f", password: Redacted.make("p:a@s/s%w+o %41 ü") }

const tokenKeys = crypto.generateKeyPairSync("rsa", { modulusLength: 2048 })

/** An access token that RabbitMQ's OAuth 2.0 plugin accepts. */
const tokenFor = (seconds: number, key: crypto.KeyObject = tokenKeys.privateKey): string => {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url")
  const scope = ["configure", "write", "read"].map((right) => `rabbitmq.${right}:*/*`)
  const claims = {
    sub: "orders",
    client_id: "orders",
    aud: ["rabbitmq"],
    scope,
    exp: Math.floor(Date.now() / 1000) + seconds
  }
  const signed = `${part({ alg: "RS256", typ: "JWT", kid: "test" })}.${part(claims)}`
  return `${signed}.${crypto.sign("sha256", Buffer.from(signed), key).toString("base64url")}`
}

let folder: string

const fileWith = (name: string, content: string): string => {
  const file = path.join(folder, name)
  fs.writeFileSync(file, content)
  return file
}

const isSecured = onRabbitMQ("TLS, tokens and mechanisms of plugins") && canStartPrivateBroker()

const hasOperator = isSecured || isEmbedded

let broker: PrivateBroker

/** Administers that broker, or the embedded one. */
let operator: Administration

let files: Pick<AmqpUri.TlsParameters, "caFile" | "certFile" | "keyFile">

/** The URL of the broker with TLS. */
const tlsUrl = (tls: Partial<AmqpUri.TlsParameters> = {}, parts: AmqpUri.Options = {}) =>
  Result.getOrThrow(AmqpUri.make({ port: broker.tlsPort, ...parts, tls: { ...files, ...tls } }))

/** The URL of the broker, or of the embedded one, without TLS. */
const plainUrl = (parts: AmqpUri.Options = {}) =>
  Result.getOrThrow(AmqpUri.make({ host: "127.0.0.1", port: Number(new URL(operator.url).port), ...parts }))

/** Runs a test with a connection. */
const connected = <A, E, R>(options: NodeAmqp.Options, body: Effect.Effect<A, E, R>) =>
  Effect.provide(Effect.scoped(body), NodeAmqp.layer({ ...singleSession, ...options }))

const mechanismWith = (options: NodeAmqp.Options) =>
  connected(options, Effect.flatMap(AmqpConnection, ({ mechanism }) => mechanism))

const failureWith = (options: NodeAmqp.Options) =>
  Effect.map(
    Effect.flip(Effect.scoped(Layer.build(NodeAmqp.layer(options)))),
    (error) => error instanceof AmqpConnectionError ? error : assert.fail(String(error))
  )

/** An operation that needs permissions. */
const declare = AmqpChannel.run(
  AmqpQueue.declare(AmqpQueue.classic(uniqueName("security"), { exclusive: true, durable: false }))
)

beforeAll(async () => {
  if (isEmbedded) operator = administration()
  if (isSecured) {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), "effect-amqp-security-"))
    files = {
      caFile: fileWith("ca.pem", authority.cert),
      certFile: fileWith("client.pem", client.cert),
      keyFile: fileWith("client.key", client.key)
    }
    const tokenKey = fileWith("token.pem", tokenKeys.publicKey.export({ type: "spki", format: "pem" }).toString())
    broker = await startPrivateBroker({
      tls: { ca: authority.cert, cert: server.cert, key: server.key },
      plugins: ["rabbitmq_auth_mechanism_ssl", "rabbitmq_auth_backend_oauth2"],
      config: [
        ...["PLAIN", "AMQPLAIN", "EXTERNAL", "RABBIT-CR-DEMO"].map((name, at) => `auth_mechanisms.${at + 1} = ${name}`),
        "ssl_cert_login_from = common_name",
        "auth_backends.1 = rabbit_auth_backend_oauth2",
        "auth_backends.2 = internal",
        "auth_oauth2.resource_server_id = rabbitmq",
        "auth_oauth2.default_key = test",
        `auth_oauth2.signing_keys.test = ${tokenKey}`
      ]
    })
    operator = administer(broker)
    await Effect.runPromise(operator.addUser(client.name, "unused", "everything"))
  }
  if (hasOperator) {
    await Effect.runPromise(operator.addUser(special.username, Redacted.value(special.password), "everything"))
  }
}, 120_000)

afterAll(async () => {
  await broker?.stop()
  if (isSecured) fs.rmSync(folder, { recursive: true })
}, 30_000)

describe.runIf(isSecured)("a secured broker", () => {
  it.live("accepts a connection over TLS with a client certificate", () =>
    connected(
      { url: tlsUrl() },
      Effect.gen(function*() {
        assert.strictEqual(yield* (yield* AmqpConnection).mechanism, "PLAIN")
        yield* declare
      })
    ))

  it.live("S1: is refused when its authority is not trusted", () =>
    Effect.gen(function*() {
      const caFile = fileWith("other.pem", otherAuthority.cert)
      for (const tls of [{ caFile }, { caFile: undefined }]) {
        const { message } = assertReason(yield* failureWith({ url: tlsUrl(tls) }), "ConnectFailed")
        assert.include(message, "unknown authority")
      }
    }))

  it.live("S1: is accepted unverified only with dangerouslyAcceptAnyCertificate", () =>
    Effect.gen(function*() {
      const url = tlsUrl({ caFile: undefined })
      assert.strictEqual(yield* mechanismWith({ url, tls: { dangerouslyAcceptAnyCertificate: true } }), "PLAIN")
      const unsafe = tlsUrl({ caFile: undefined, dangerouslyAcceptAnyCertificate: true })
      assert.strictEqual(yield* mechanismWith({ url: unsafe }), "PLAIN")
      assertReason(
        yield* failureWith({ url: unsafe, tls: { dangerouslyAcceptAnyCertificate: false } }),
        "ConnectFailed"
      )
    }))

  it.live("S2: is refused under a host name that its certificate lacks, unless serverName is set", () =>
    Effect.gen(function*() {
      const { message } = assertReason(yield* failureWith({ url: tlsUrl({}, { host: "127.0.0.1" }) }), "ConnectFailed")
      assert.include(message, "connect to a name the certificate is for")
      assert.strictEqual(
        yield* mechanismWith({ url: tlsUrl({ serverName: "localhost" }, { host: "127.0.0.1" }) }),
        "PLAIN"
      )
    }))

  for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
    it.live(`S3: refuses a client without a certificate, as the error reports, with ${maxVersion}`, () =>
      Effect.gen(function*() {
        const url = tlsUrl({ certFile: undefined, keyFile: undefined })
        const error = yield* failureWith({ url, tls: { maxVersion } })
        assert.match(error.message, /client certificate; pass certfile=/)
        assert.include(["ConnectFailed", "SocketLost"], error.reason._tag)
      }))
  }

  it.live("S5: is verified with certificate files that are read for each connection", () =>
    Effect.gen(function*() {
      const caFile = fileWith("rotated.pem", otherAuthority.cert)
      const connect = connected({ url: tlsUrl({ caFile }) }, Effect.void)
      assert.strictEqual((yield* Effect.flip(connect))._tag, "AmqpConnectionError")
      fs.writeFileSync(caFile, authority.cert)
      yield* connect
    }))

  it.live("logs in the user of the client certificate with EXTERNAL", () =>
    Effect.gen(function*() {
      const url = tlsUrl({}, { username: "nobody", mechanisms: ["EXTERNAL", "PLAIN"] })
      const connectionName = uniqueName("connection")
      yield* connected(
        { url, connectionName },
        Effect.gen(function*() {
          assert.strictEqual(yield* (yield* AmqpConnection).mechanism, "EXTERNAL")
          yield* declare
          const listed = yield* Effect.promise(() =>
            rabbitmqctlFor(broker, "list_connections", "user", "auth_mechanism", "ssl", "client_properties")
          )
          const own = listed.split("\n").find((line) => line.includes(connectionName)) ?? assert.fail(listed)
          assert.match(own, /^test client\tEXTERNAL\ttrue\t/)
        })
      )
    }))

  it.live("H6: refuses EXTERNAL when the certificate names no user", () =>
    Effect.gen(function*() {
      const url = tlsUrl(
        { certFile: fileWith("unknown.pem", unknownClient.cert + unknownClient.key), keyFile: undefined },
        { mechanisms: ["EXTERNAL"] }
      )
      const reason = assertReason(yield* failureWith({ url }), "AuthenticationFailed")
      assert.strictEqual(reason.username, "")
      assert.isFalse(reason.isRetryable)
    }))

  it.live("accepts a custom mechanism that responds to its challenge", () => {
    const encode = (text: string) => Redacted.make(new TextEncoder().encode(text))
    const challenges: Array<string> = []
    const demo: AmqpSasl.Mechanism = {
      name: "RABBIT-CR-DEMO",
      start: (credentials) =>
        Effect.map(credentials, ({ password, username }) => ({
          response: encode(username),
          answer: (challenge) =>
            Effect.sync(() => {
              challenges.push(new TextDecoder().decode(challenge))
              return { response: encode(`My password is ${Redacted.value(password)}`) }
            })
        }))
    }
    return Effect.gen(function*() {
      const options = { url: plainUrl(), mechanisms: [demo] } as const
      assert.strictEqual(yield* mechanismWith({ ...options, credentials: special }), "RABBIT-CR-DEMO")
      assert.deepStrictEqual(challenges, ["Please tell me your password"])
      const wrong = { ...special, password: Redacted.make("secret") }
      const reason = assertReason(yield* failureWith({ ...options, credentials: wrong }), "AuthenticationFailed")
      assert.strictEqual(reason.username, special.username)
      assertHides(reason, "secret")
    })
  })

  it.live("H6: refuses a token that is signed with another key", () =>
    Effect.gen(function*() {
      const { privateKey } = crypto.generateKeyPairSync("rsa", { modulusLength: 2048 })
      const token = tokenFor(60, privateKey)
      const credentials = { username: "orders", password: Redacted.make(token) }
      const reason = assertReason(yield* failureWith({ url: plainUrl(), credentials }), "AuthenticationFailed")
      assertHides(reason, token)
    }))

  it.live("S6: accepts a token that is renewed before it expires, and the connection stays open", () => {
    let asked = 0
    const credentials = Effect.sync(() => {
      asked++
      return {
        username: "orders",
        password: Redacted.make(tokenFor(4)),
        expiresAt: new Date((Math.floor(Date.now() / 1000) + 4) * 1000)
      }
    })
    return connected(
      { url: plainUrl(), credentials, credentialsRefreshMargin: "2 seconds" },
      Effect.gen(function*() {
        const { state } = yield* AmqpConnection
        yield* declare
        yield* Effect.sleep("7 seconds")
        assert.isTrue(State.$is("Open")(yield* state))
        yield* declare
        assert.isAbove(asked, 2)
      })
    )
  })

  it.live("S7: ends the connection over a refused token, and accepts the next with a fresh one", () => {
    const credentials = Effect.sync(() => ({ username: "orders", password: Redacted.make(tokenFor(60)) }))
    const options = { url: plainUrl(), credentials }
    return Effect.gen(function*() {
      const forged = tokenFor(60, crypto.generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey)
      yield* connected(
        options,
        Effect.gen(function*() {
          const connection = yield* AmqpConnection
          yield* connection.updateSecret(Redacted.make(tokenFor(60)), "in time")
          const error = yield* Effect.flip(connection.updateSecret(Redacted.make(forged), "forged"))
          assertHides(error, forged)
          assert.isTrue(assertReason(error, "UpdateSecretFailed").isRetryable)
          assertReason(yield* Effect.flip(connection.awaitClosed), "UpdateSecretFailed")
        })
      )
      yield* connected(options, declare)
    })
  })
})

describe.runIf(hasOperator)("a broker", () => {
  it.live("S9: receives user and password unchanged, from a URL and from options, with PLAIN and AMQPLAIN", () =>
    Effect.gen(function*() {
      for (const mechanism of ["PLAIN", "AMQPLAIN"] as const) {
        const mechanisms = [mechanism]
        const text = AmqpUri.toRedacted(plainUrl({ ...special, mechanisms }))
        assert.strictEqual(yield* mechanismWith({ url: text }), mechanism)
        assert.strictEqual(yield* mechanismWith({ url: plainUrl({ mechanisms }), credentials: special }), mechanism)
      }
    }))

  it.live("H5: is refused by a client that supports none of its mechanisms", () =>
    Effect.gen(function*() {
      const error = yield* failureWith({ url: plainUrl(), mechanisms: [AmqpSasl.anonymous] })
      const reason = assertReason(error, "NoCommonMechanism")
      assert.includeMembers([...reason.offered], ["PLAIN", "AMQPLAIN"])
      assert.deepStrictEqual(reason.supported, ["ANONYMOUS"])
    }))

  it.live("H11: is not sent a token of 20,000 bytes", () =>
    Effect.gen(function*() {
      const credentials = { username: "orders", password: Redacted.make("x".repeat(20_000)) }
      assertReason(yield* failureWith({ url: plainUrl(), credentials }), "InvalidArgument")
    }))

  it.live("S10: closes the connection of a deleted user, and refuses the user's next login", () =>
    Effect.gen(function*() {
      const credentials = { username: "leaver", password: Redacted.make("leaving") }
      const options = { url: plainUrl(), credentials }
      yield* operator.addUser("leaver", "leaving", "everything")
      yield* connected(
        options,
        Effect.gen(function*() {
          const { stateChanges } = yield* AmqpConnection
          const states = yield* fork(Stream.runCollect(stateChanges))
          yield* operator.deleteUser("leaver")
          const last = (yield* Fiber.join(states)).at(-1)
          if (last?._tag !== "Closed") return assert.fail(last?._tag)
          const { replyText } = assertReason(last.error, "ConnectionForced")
          assert.strictEqual(replyText, "CONNECTION_FORCED - user 'leaver' is deleted")
        })
      )
      assert.isFalse(assertReason(yield* failureWith(options), "AuthenticationFailed").isRetryable)
    }))

  it.live("lists the connection with its name and client properties", () => {
    const connectionName = uniqueName("connection")
    return connected(
      { url: plainUrl(), connectionName, clientProperties: { version: "1.2.3", information: "tests" } },
      Effect.gen(function*() {
        const { capabilities, name } = yield* AmqpConnection
        assert.strictEqual(name, connectionName)
        for (
          const capability of ["basic.nack", "publisher_confirms", "connection.blocked", "consumer_priorities"] as const
        ) {
          assert.isTrue((yield* capabilities).has(capability))
        }
        const properties = yield* operator.clientPropertiesOf(connectionName)
        for (const text of ["effect-amqp", "1.2.3", "tests", "publisher_confirms"]) assert.include(properties, text)
      })
    )
  })

  // The last test, since the whole broker is out of memory.
  it.live("W1: blocks a publishing connection while it is out of memory, and unblocks it afterwards", () =>
    connected(
      { url: plainUrl() },
      Effect.gen(function*() {
        const { state } = yield* AmqpConnection
        yield* operator.exhaustMemory
        // The broker blocks connections that publish.
        const route = { exchange: "", routingKey: "nowhere" }
        yield* fork(AmqpChannel.run(AmqpChannel.publish(AmqpMessage.text("hello"), route)))
        const blocked = yield* eventually(state, ({ _tag }) => _tag === "Blocked")
        if (blocked._tag !== "Blocked") return assert.fail(blocked._tag)
        assert.include(blocked.reason, "memory")
        yield* operator.freeMemory
        yield* eventually(state, ({ _tag }) => _tag === "Open")
      })
    ), 40_000)
})
