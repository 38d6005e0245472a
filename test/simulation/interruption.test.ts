import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpFailure from "@effect-amqp/core/AmqpFailure"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpRpc from "@effect-amqp/core/AmqpRpc"
import * as AmqpTopology from "@effect-amqp/core/AmqpTopology"
import * as AmqpBroker from "@effect-amqp/core/testing/AmqpBroker"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { operations } from "./interruption/operations.ts"
import { sweep, work } from "./interruption/sweep.ts"

/** What makes or combines descriptions, and what answers at once: there is nothing to interrupt. */
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
  AmqpConnection: ["AmqpConnection", "Transport", "session", "state", "channelCount"],
  AmqpConsumer: [],
  AmqpExchange: ["make", "direct", "fanout", "topic", "headers", "withBinding"],
  AmqpFailure: ["historyOf", "delayQueue"],
  AmqpPublisher: ["AmqpPublisher", "resolveLimits"],
  AmqpQueue: ["classic", "serverNamed", "quorum", "stream", "withBinding", "route"],
  AmqpRpc: ["AmqpRpcClient"],
  AmqpTopology: ["make"]
}

const isOperation = (value: unknown): boolean =>
  typeof value === "function" || Effect.isEffect(value) || Stream.isStream(value) || value === AmqpChannel.recover

describe("an operation that is interrupted at any of its steps", () => {
  it.live.each(operations)("ends, and leaves nothing behind: $name", (operation) =>
    Effect.gen(function*() {
      const { steps, violations } = yield* sweep(operation)
      assert.deepStrictEqual(violations, [])
      // One that waits for the broker makes some steps at least.
      assert.isAbove(steps, 5)
    }))

  it.effect("is any of those that the package exports", () =>
    Effect.gen(function*() {
      const connection = yield* AmqpConnection.AmqpConnection
      yield* AmqpChannel.run(AmqpQueue.declare(work))
      const modules: Readonly<Record<string, object>> = {
        AmqpChannel,
        AmqpConnection: { ...AmqpConnection, ...connection },
        AmqpConsumer: { ...AmqpConsumer, ...yield* AmqpConsumer.make(work) },
        AmqpExchange,
        AmqpFailure,
        AmqpPublisher: { ...AmqpPublisher, ...yield* AmqpPublisher.make() },
        AmqpQueue,
        AmqpRpc: { ...AmqpRpc, ...yield* AmqpRpc.makeClient() },
        AmqpTopology
      }
      const exported = Object.entries(modules).flatMap(([module, members]) =>
        Object.entries(members)
          .filter(([name, member]) => isOperation(member) && !withoutSteps[module].includes(name))
          .map(([name]) => `${module}.${name}`)
      )
      const covered = new Set(operations.flatMap(({ covers }) => covers))
      assert.isAbove(exported.length, 40)
      assert.deepStrictEqual(exported.filter((name) => !covered.has(name)), [])
    }).pipe(Effect.provide(AmqpBroker.layer())))
})
