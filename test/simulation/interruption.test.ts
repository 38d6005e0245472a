import * as Core from "@effect-amqp/core"
import { AmqpChannel, AmqpConnection, AmqpConsumer, AmqpPublisher, AmqpQueue, AmqpRpc } from "@effect-amqp/core"
import * as AmqpBroker from "@effect-amqp/core/testing/AmqpBroker"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { operations } from "./interruption/operations.ts"
import { sweep, work } from "./interruption/sweep.ts"

/** Modules that do not communicate with a broker. */
const withoutBroker: ReadonlySet<string> = new Set([
  "AmqpDelivery",
  "AmqpCompression",
  "AmqpEnvelope",
  "AmqpError",
  "AmqpMessage",
  "AmqpSasl",
  "AmqpTelemetry",
  "AmqpTransport",
  "AmqpUri"
])

/** Functions that build or combine descriptions, or return at once: there is nothing to interrupt. */
const withoutSteps: Readonly<Record<string, ReadonlyArray<string>>> = {
  AmqpChannel: [
    "gen",
    "fromEffect",
    "succeed",
    "fail",
    "map",
    "as",
    "flatMap",
    "andThen",
    "tap",
    "forEach",
    "all",
    "catchTag",
    "catchTags"
  ],
  AmqpConnection: [
    "AmqpConnection",
    "TransportProtection",
    "state",
    "channelCount",
    "serverProperties",
    "capabilities",
    "mechanism",
    "negotiated"
  ],
  AmqpConsumer: [],
  AmqpExchange: ["make", "direct", "fanout", "topic", "headers", "withBinding", "isExchange"],
  AmqpFailurePolicy: ["historyOf", "delayQueue", "retryAfter", "requeueAfter"],
  AmqpPublisher: ["AmqpPublisher"],
  AmqpQueue: ["classic", "serverNamed", "quorum", "stream", "withBinding", "route", "isQueue"],
  AmqpRpc: ["AmqpRpcClient"],
  AmqpTopology: ["make", "isTopology"]
}

const isOperation = (value: unknown): boolean =>
  typeof value === "function" || Effect.isEffect(value) || Stream.isStream(value) || value === AmqpChannel.recover

describe("an operation interrupted at any of its steps", () => {
  it.live.each(operations)("ends, and leaves nothing behind: $name", (operation) =>
    Effect.gen(function*() {
      const { steps, violations } = yield* sweep(operation)
      assert.deepStrictEqual(violations, [])
      // An operation that waits for the broker takes several steps.
      assert.isAbove(steps, 5)
    }))
})

describe("the list of interrupted operations", () => {
  it.effect("has all operations that the package exports", () =>
    Effect.gen(function*() {
      const connection = yield* AmqpConnection.AmqpConnection
      yield* AmqpChannel.run(AmqpQueue.declare(work))
      const services: Readonly<Record<string, object>> = {
        AmqpConnection: connection,
        AmqpConsumer: yield* AmqpConsumer.make(work),
        AmqpPublisher: yield* AmqpPublisher.make(),
        AmqpRpc: yield* AmqpRpc.makeClient()
      }
      const modules = Object.entries(Core).filter(([module]) => !withoutBroker.has(module))
      const exported = modules.flatMap(([module, members]) =>
        Object.entries({ ...members, ...services[module] })
          .filter(([name, member]) => isOperation(member) && !withoutSteps[module].includes(name))
          .map(([name]) => `${module}.${name}`)
      )
      const covered = new Set(operations.flatMap(({ covers }) => covers))
      assert.isAbove(exported.length, 40)
      assert.deepStrictEqual(exported.filter((name) => !covered.has(name)), [])
    }).pipe(Effect.provide(AmqpBroker.layer())))
})
