import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpBroker from "@effect-amqp/core/testing/AmqpBroker"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { rest } from "../../support/scriptedPeer.ts"
import { connectionOf, declared, publish, textsOf, withBroker } from "./support.ts"

describe("invalid options and arguments are defects that name them", () => {
  const untyped = (options: unknown) => options as AmqpBroker.Options

  const defectOf = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>) =>
    Effect.map(
      Effect.exit(Effect.scoped(effect)),
      (exit) => Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : assert.fail("it was accepted")
    )

  it.effect.each<[string, AmqpBroker.Options]>([
    ["frameMax", { frameMax: 4095 }],
    ["frameMax", { frameMax: 2 ** 32 }],
    ["channelMax", { channelMax: 65_536 }],
    ["channelMax", { channelMax: -1 }],
    ["heartbeat", { heartbeat: "1500 millis" }],
    ["heartbeat", { heartbeat: "65536 seconds" }],
    ["maxMessageSize", { maxMessageSize: 1.5 }],
    ["consumerTimeout", { consumerTimeout: 0 }],
    ["virtualHosts", { virtualHosts: ["x".repeat(256)] }],
    // Untyped code, or a spread, can pass these.
    ["heartbeat", { heartbeat: Number.NaN }],
    ["consumerTimeout", { consumerTimeout: Number.NaN }],
    ["serverProperties", untyped({ serverProperties: new Set() })],
    [`did you mean "version"`, untyped({ verison: "4.3" })],
    ["must be an object", untyped(null)],
    [`did you mean "password"`, untyped({ users: { ann: { pasword: Redacted.make("x") } } })],
    ["a Redacted", untyped({ users: { ann: { password: "x" } } })],
    [
      `did you mean "configure"`,
      untyped({ users: { ann: { password: Redacted.make("x"), permissions: { "/": { configre: /x/ } } } } })
    ],
    [
      "write: must be a regular expression",
      untyped({
        users: {
          ann: { password: Redacted.make("x"), permissions: { "/": { configure: /x/, write: "x", read: /x/ } } }
        }
      })
    ]
  ])("of a broker: %s", ([name, options]) =>
    Effect.gen(function*() {
      assert.include(yield* defectOf(AmqpBroker.make(options)), name)
    }))

  it.effect.each<[string, AmqpBroker.NetworkOptions]>([
    ["readSize", { readSize: 0 }],
    ["cutAfterSent", { cutAfterSent: -1 }],
    ["cutAfterReceived", { cutAfterReceived: Number.NaN }],
    ["latency", { latency: "Infinity" }],
    ["latency", { latency: Number.NaN }],
    [`did you mean "latency"`, untyped({ latncy: 5 }) as AmqpBroker.NetworkOptions]
  ])("of the network: %s", ([name, network]) =>
    Effect.gen(function*() {
      const broker = yield* AmqpBroker.make()
      assert.include(yield* defectOf(broker.connect({}, network)), name)
    }))

  it.effect("of an operation on a connection, which continues unaffected", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        const { close, closeChannel, cutAfter } = yield* connectionOf(broker)
        yield* declared("q")
        assert.include(yield* defectOf(close(65_536, "")), "replyCode")
        assert.include(yield* defectOf(closeChannel(1, -1, "")), "replyCode")
        assert.include(yield* defectOf(cutAfter("toBroker", Number.NaN)), "bytes")
        yield* publish("q", "x")
        assert.deepStrictEqual(yield* textsOf(broker, "q"), ["x"])
      })
    ))

  it.effect("but long texts of the broker are cut to what AMQP allows", () =>
    withBroker((broker) =>
      Effect.gen(function*() {
        const connection = yield* AmqpConnection.AmqpConnection
        yield* declared("q")
        yield* publish("q", "x")
        yield* broker.block("é".repeat(1000))
        yield* rest
        const state = yield* connection.state
        assert.strictEqual(state._tag === "Blocked" ? state.reason : undefined, `${"é".repeat(126)}...`)
        yield* broker.unblock
      })
    ))
})
