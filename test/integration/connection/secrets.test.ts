import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpUri from "@effect-amqp/core/AmqpUri"
import * as NodeAmqp from "@effect-amqp/node/NodeAmqp"
import * as NodeAmqpOneShot from "@effect-amqp/node/NodeAmqpOneShot"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as References from "effect/References"
import * as Result from "effect/Result"
import { uniqueName } from "../../support/broker.ts"
import { administration, isAdministrable } from "../../support/brokerUnderTest.ts"
import { everything, internals } from "../../support/everything.ts"
import { pathsTo } from "../../support/reachable.ts"
import { singleSession } from "../../support/recovery.ts"
import { assertHides, assertUnprinted, assertUnreachable, assertWiped, logged } from "../../support/secrets.ts"
import { freshUser } from "../../support/user.ts"

/** A new secret for each test, made at run time since the source of a test is in memory too. Has reserved characters of a URL. */
const secretOf = (name: string): string => `${name}:/@%-${crypto.randomUUID()}`

const uriOf = (username: string, password: string, parts: AmqpUri.Options = {}) => {
  const { hostname, pathname, port } = new URL(administration().url)
  const virtualHost = decodeURIComponent(pathname.slice(1)) || "/"
  const address = { host: hostname, port: Number(port), virtualHost }
  return Result.getOrThrow(AmqpUri.make({ ...address, username, password: Redacted.make(password), ...parts }))
}

describe.runIf(isAdministrable)("a program that is connected over TCP", () => {
  it.live("cannot reach a password or a channel, and no value that it holds prints one", () => {
    const [password, wrong] = [secretOf("password"), secretOf("wrong")]
    return Effect.gen(function*() {
      const username = yield* freshUser(password)
      // As a string, like in most programs.
      const url = Redacted.value(AmqpUri.toRedacted(uriOf(username, password)))
      const connecting = NodeAmqp.layer({ url })
      yield* Effect.gen(function*() {
        const all = yield* everything(uniqueName("queue"))
        const socket = yield* NodeAmqp.makeSocket(uriOf(username, password))
        const failures = yield* Effect.forEach(
          [
            uriOf(username, wrong),
            uriOf(username, wrong, { host: "host.invalid" }),
            uriOf(username, wrong, { port: 1 }),
            uriOf(username, password, { virtualHost: "nowhere" })
          ],
          (url) => Effect.exit(Effect.scoped(NodeAmqp.make({ url })))
        )
        assert.isTrue(failures.every(Exit.isFailure))
        const misspelled = yield* Effect.exit(Effect.scoped(NodeAmqp.make({ url: url.replace("amqp:", "ampq:") })))
        const oneShot = NodeAmqpOneShot.run(url, AmqpQueue.declarePassive("nowhere"))
        const oneShotFailure = yield* Effect.exit(oneShot)
        const parts = {
          ...all,
          connecting,
          socket,
          failures,
          misspelled,
          oneShot,
          oneShotFailure,
          uri: uriOf(username, password)
        }
        assertUnreachable(parts, password, wrong)
        for (const part of Object.values(parts)) {
          // All fibers print the same, so one is enough.
          if (!Fiber.isFiber(part) || part === all.fiber) assertUnprinted(part, password, wrong)
        }
        assert.deepStrictEqual(pathsTo(parts, (value) => internals.some((internal) => value instanceof internal)), [])
      }).pipe(Effect.scoped, Effect.provide(connecting))
    }).pipe(Effect.scoped)
  }, 180_000)

  it.live("leaves no password or token in memory after the broker has accepted or refused it", () => {
    const [password, token, wrong] = [secretOf("password"), secretOf("token"), secretOf("wrong")]
    return Effect.gen(function*() {
      const username = yield* freshUser(password)
      const exit = yield* Effect.exit(Effect.scoped(NodeAmqp.make({ url: uriOf(username, wrong) })))
      assert.isTrue(Exit.isFailure(exit))
      const connection = yield* NodeAmqp.make({ url: uriOf(username, password) })
      yield* connection.updateSecret(Redacted.make(token), "rotated")
      assertWiped(password, token, wrong)
    }).pipe(Effect.scoped)
  })

  it.live("logs no password at any level", () => {
    const [password, wrong] = [secretOf("password"), secretOf("wrong")]
    return logged((lines) =>
      Effect.gen(function*() {
        const username = yield* freshUser(password)
        yield* Effect.exit(Effect.scoped(NodeAmqp.make({ url: uriOf(username, wrong) })))
        const connected = Effect.gen(function*() {
          yield* everything(uniqueName("queue"))
          const { awaitClosed } = yield* AmqpConnection.AmqpConnection
          yield* administration().closeConnection(username, "a test")
          return yield* Effect.exit(awaitClosed)
        })
        yield* Effect.provide(
          Effect.scoped(connected),
          NodeAmqp.layer({ ...singleSession, url: uriOf(username, password), connectionName: username })
        )
        assertHides(lines, password, wrong)
      }).pipe(Effect.scoped)
    ).pipe(Effect.provideService(References.MinimumLogLevel, "All"))
  })
})

describe("a layer that is made from a URL", () => {
  it("shows no password", () => {
    const password = secretOf("password")
    const url = Redacted.value(
      AmqpUri.toRedacted(Result.getOrThrow(AmqpUri.make({ password: Redacted.make(password) })))
    )
    assertHides(NodeAmqp.layer({ url }), password)
    assertHides(NodeAmqp.layerSocket({ url }), password)
    assertHides(Layer.fresh(NodeAmqp.layer({ url: Redacted.make(url) })), password)
    assertHides(NodeAmqp.make({ url }), password)
  })
})
