import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpSasl from "@effect-amqp/core/AmqpSasl"
import { AmqpBroker } from "@effect-amqp/core/testing"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as References from "effect/References"
import { everything, internals } from "../../support/everything.ts"
import { instancesOf } from "../../support/heap.ts"
import { pathsTo } from "../../support/reachable.ts"
import { connect, connectionClose, fork, reasonOf, script } from "../../support/scriptedPeer.ts"
import { assertHides, assertUnprinted, assertUnreachable, assertWiped, logged } from "../../support/secrets.ts"

/** A new one for each test, made at run time: the source of a test is in memory too. */
const secretOf = (name: string): string => `${name}-${crypto.randomUUID()}`

const user = (password: string) => ({ users: { anna: { password: Redacted.make(password) } } })

const as = (password: string) => ({ credentials: { username: "anna", password: Redacted.make(password) } })

describe("the search for secrets", () => {
  const secret = "hunter2-hunter2"
  const bytes = new TextEncoder().encode(secret)

  class Holder {
    readonly #held: unknown
    constructor(held: unknown) {
      this.#held = held
    }
    get held(): unknown {
      return this.#held
    }
  }

  const hidden: Readonly<Record<string, unknown>> = {
    "a text in a map in a symbol": { [Symbol("x")]: new Map([["a", { text: `of ${secret}` }]]) },
    "a text behind a getter": new Holder(secret),
    "a text that is not enumerable": Object.defineProperty({}, "a", { value: secret, enumerable: false }),
    "bytes behind a view": new Uint8Array(new Uint8Array([1, 2, 3, ...bytes]).buffer, 0, 2),
    "bytes of an error's cause's cause": new Error("a", { cause: new Error("b", { cause: { bytes } }) }),
    "a property of a function": Object.assign(() => {}, { secret })
  }
  it.for(Object.keys(hidden))("finds %s", (name) => {
    assert.throws(() => assertHides(hidden[name], secret))
  })

  const shown: Readonly<Record<string, unknown>> = {
    "as a list of bytes": { toString: () => [...bytes].join(", ") },
    "as hexadecimal": { toJSON: () => Buffer.from(bytes).toString("hex") },
    "as base64, from a byte on": { toJSON: () => Buffer.from([7, ...bytes, 8]).toString("base64") },
    "as an object with an index for each byte": { toJSON: () => Object.assign({}, bytes) },
    "in a URL": { toString: () => `amqp://a:${encodeURIComponent(secret)}@b` }
  }
  it.for(Object.keys(shown))("finds what is printed %s", (name) => {
    assert.throws(() => assertHides(shown[name], secret))
  })

  it("finds buffers that no object leads to", () => {
    const secret = secretOf("left")
    const left = new TextEncoder().encode(secret)
    assert.throws(() => assertWiped(secret))
    assert.isAbove(left.length, 0)
  })
})

describe("a program with a connection", () => {
  it.effect("can't reach a password or token, and nothing that it has prints one", () => {
    const [password, token] = [secretOf("password"), secretOf("token")]
    return Effect.gen(function*() {
      const all = yield* everything("everything")
      yield* all.connection.updateSecret(Redacted.make(token), "rotated")
      const broker = yield* AmqpBroker.AmqpBroker
      const brokerLayer = AmqpBroker.layer({ ...user(password), connection: as(password) })
      const parts = {
        ...all,
        broker,
        brokerLayer,
        connections: yield* broker.connections,
        refusals: yield* broker.refusals
      }
      assertUnreachable(parts, password, token)
      for (const part of Object.values(parts)) {
        // One fiber stands for all of them.
        if (!Fiber.isFiber(part) || part === all.fiber) assertUnprinted(part, password, token)
      }
    }).pipe(
      Effect.scoped,
      Effect.provide(AmqpBroker.layer({ ...user(password), connection: as(password) }))
    )
  }, 180_000)

  it.effect("can't reach a channel, session or buffer of the package", () =>
    Effect.gen(function*() {
      const all = yield* everything("everything")
      const broker = yield* AmqpBroker.AmqpBroker
      const parts = { ...all, broker, connections: yield* broker.connections, ...(yield* modules) }
      const isInternal = (value: unknown): boolean => internals.some((internal) => value instanceof internal)
      // They exist, so the search could find them.
      assert.isNotEmpty(instancesOf(Object).filter(isInternal))
      assert.deepStrictEqual(pathsTo(parts, isInternal), [])
      assert.deepStrictEqual(pathsTo(parts, (value) => internals.some((internal) => value === internal)), [])
    }).pipe(
      Effect.scoped,
      Effect.provide(AmqpBroker.layer())
    ))

  it.effect("can't make or change a class of the package to get the channel", () =>
    Effect.gen(function*() {
      const { declare, delivery, program } = yield* everything("everything")
      for (const value of [declare, program, delivery]) {
        for (let prototype = Object.getPrototypeOf(value); "toJSON" in prototype;) {
          // The loop ends at the prototype of objects or of `Pipeable`, which others share.
          assert.isFalse(Object.hasOwn(prototype, "constructor"))
          assert.isTrue(Object.isFrozen(prototype))
          prototype = Object.getPrototypeOf(prototype)
        }
      }
      const captured: Array<unknown> = []
      const capture = (...values: ReadonlyArray<unknown>) => Effect.sync(() => captured.push(...values))
      const forgeries: ReadonlyArray<unknown> = [
        Object.assign({}, declare, { run: capture }),
        Object.create(declare, { run: { value: capture } }),
        Object.setPrototypeOf({ run: capture }, Object.getPrototypeOf(declare)),
        Object.assign(capture, { run: capture })
      ]
      for (const forgery of forgeries) {
        // The type of a program, which none of these is.
        const exit = yield* Effect.exit(AmqpChannel.run(forgery as typeof declare))
        assert.include(String(exit), "neither a channel program nor an Effect")
      }
      // Its function is private, so other properties of a program are of no use.
      yield* AmqpChannel.run(Object.assign(declare, { run: capture, "#run": capture }))
      assert.isEmpty(captured)
    }).pipe(
      Effect.scoped,
      Effect.provide(AmqpBroker.layer())
    ))

  for (const mechanism of [AmqpSasl.plain, AmqpSasl.amqplain]) {
    it.effect(`leaves no password or token in memory once the broker has it, with ${mechanism.name}`, () => {
      const [password, token] = [secretOf("password"), secretOf("token")]
      return Effect.gen(function*() {
        const connection = yield* AmqpConnection.AmqpConnection
        yield* connection.updateSecret(Redacted.make(token), "rotated")
        assertWiped(password, token)
      }).pipe(
        Effect.provide(
          AmqpBroker.layer({ ...user(password), connection: { ...as(password), mechanisms: [mechanism] } })
        )
      )
    })
  }

  it.effect("leaves no password or token in memory when the broker refuses it, or disconnects before it answers", () => {
    const [password, token, wrong] = [secretOf("password"), secretOf("token"), secretOf("wrong")]
    return Effect.gen(function*() {
      const broker = yield* AmqpBroker.AmqpBroker
      const refused = yield* Effect.exit(Effect.scoped(broker.connect(as(wrong))))
      const connection = yield* broker.connect(as(password))
      const [server] = yield* broker.connections
      yield* server.stall("toClient")
      const update = yield* Effect.forkChild(connection.updateSecret(Redacted.make(token), ""), {
        startImmediately: true
      })
      yield* server.cut
      const lost = yield* Fiber.await(update)
      assert.isTrue(Exit.isFailure(refused) && Exit.isFailure(lost))
      assertHides([refused, lost], password, token, wrong)
      assertWiped(password, token, wrong)
    }).pipe(
      Effect.scoped,
      Effect.provide(AmqpBroker.layerBroker(user(password)))
    )
  })

  it.effect("logs no password or token at any level, however it fails", () => {
    const [password, token, wrong] = [secretOf("password"), secretOf("token"), secretOf("wrong")]
    return logged((lines) =>
      Effect.gen(function*() {
        const broker = yield* AmqpBroker.AmqpBroker
        const attempts = [as(wrong), { ...as(wrong), virtualHost: "nowhere" }, {
          ...as(password),
          virtualHost: "nowhere"
        }]
        for (const options of attempts) yield* Effect.exit(Effect.scoped(broker.connect(options)))
        yield* Effect.scoped(Effect.gen(function*() {
          const connection = yield* broker.connect(as(password))
          yield* connection.updateSecret(Redacted.make(token), "rotated")
          yield* broker.deleteUser("anna")
          yield* Effect.exit(connection.updateSecret(Redacted.make(token), "rotated again"))
        }))
        assertHides(lines, password, token, wrong)
      })
    ).pipe(
      Effect.provideService(References.MinimumLogLevel, "All"),
      Effect.provide(AmqpBroker.layerBroker(user(password)))
    )
  })

  it.effect("is warned once when a new password is sent over an unprotected transport", () =>
    logged((lines) =>
      Effect.gen(function*() {
        const connection = yield* AmqpConnection.AmqpConnection
        assert.lengthOf(lines, 0)
        yield* connection.updateSecret(Redacted.make("s3cret"), "rotated")
        yield* connection.updateSecret(Redacted.make("s3cret"), "rotated")
        assert.lengthOf(lines.filter((line) => line.includes("unencrypted")), 1)
      }).pipe(
        Effect.provide(
          AmqpBroker.layer({ connection: { mechanisms: [unrevealing] } }).pipe(
            Layer.provide(
              Layer.succeed(AmqpConnection.TransportProtection, { peer: "broker.example:5672", level: "None" as const })
            )
          )
        ),
        Effect.provideService(AmqpConnection.TransportProtection, {
          peer: "broker.example:5672",
          level: "None" as const
        })
      )
    ))
})

describe("secrets", () => {
  const secret = "s3cret-pässword"
  const credentials = { username: "ann", password: Redacted.make(secret) }

  for (const mechanism of [AmqpSasl.plain, AmqpSasl.amqplain]) {
    it.effect(`${mechanism.name}: appear in no part, log line or error of a connection`, () =>
      logged((lines) =>
        script((peer) =>
          Effect.gen(function*() {
            const options: AmqpConnection.Options = { credentials, mechanisms: [mechanism] }
            const connection = yield* connect(peer, { client: options })
            assertHides(connection, secret)
            assertHides(options, secret)
            // The session is among its members.
            for (const key of Reflect.ownKeys(connection)) assertHides(Reflect.get(connection, key), secret)
            const fiber = yield* fork(connection.updateSecret(credentials.password, "rotated"))
            yield* peer.expect("connection.update-secret")
            assertHides(connection, secret)
            yield* peer.send(0, connectionClose(530, "NOT_ALLOWED"))
            assertHides(yield* reasonOf(fiber, "UpdateSecretFailed"), secret)
            assertHides(yield* connection.state, secret)
            assertHides(lines, secret)
          })
        )
      ))
  }

  it.effect("appear in no SASL step or mechanism", () =>
    Effect.gen(function*() {
      for (const mechanism of [AmqpSasl.plain, AmqpSasl.amqplain]) {
        assertHides(yield* mechanism.start(Effect.succeed(credentials)), secret)
        assertHides(mechanism, secret)
      }
    }))
})

/** PLAIN, declared as a mechanism that reveals nothing. */
const unrevealing: AmqpSasl.Mechanism = { name: "PLAIN", start: AmqpSasl.plain.start }

const modules = Effect.promise(async () => ({
  core: await import("@effect-amqp/core"),
  testing: await import("@effect-amqp/core/testing")
}))
