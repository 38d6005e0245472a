import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Socket from "effect/socket/Socket"
import { scriptNetwork } from "../../support/scriptedNetwork.ts"
import { fork, reasonOf } from "../../support/scriptedPeer.ts"

// Wrong options come from plain JavaScript, configuration and casts: `unknown` stands for those.
const wrong: ReadonlyArray<readonly [what: string, options: unknown, text: string]> = [
  ["recovery that is a text", { recovery: "yes" }, "recovery"],
  ["recovery that is null", { recovery: null }, "recovery"],
  ["recovery that is a number", { recovery: 5 }, "recovery"],
  ["recovery that is a schedule", { recovery: () => 1 }, "recovery"],
  ["an unknown key of recovery", { recovery: { stableafter: 1 } }, `did you mean "stableAfter"?`],
  ["a schedule that is none", { recovery: { schedule: "1 second" } }, "recovery.schedule"],
  ["a schedule that is a function", { recovery: { schedule: () => 1 } }, "recovery.schedule"],
  ["a negative stableAfter", { recovery: { stableAfter: "-1 seconds" } }, "recovery.stableAfter"],
  ["a stableAfter that is no duration", { recovery: { stableAfter: "soon" } }, "recovery.stableAfter"],
  ["an unknown initial", { recovery: { initial: "wait" } }, "recovery.initial"],
  ["a negative waitTimeout", { recovery: { waitTimeout: -1 } }, "recovery.waitTimeout"],
  ["an isRecoverable that is no function", { recovery: { isRecoverable: true } }, "recovery.isRecoverable"],
  ["an unknown endpointOrder", { endpointOrder: "random" }, "endpointOrder"],
  ["an unknown option", { endpointorder: "ordered" }, `did you mean "endpointOrder"?`]
]

describe("a connection with wrong options", () => {
  for (const [what, options, text] of wrong) {
    it.effect(`fails with an InvalidArgument before it dials: ${what}`, () =>
      scriptNetwork((network) =>
        Effect.gen(function*() {
          const connecting = yield* fork(
            AmqpConnection.makeFrom([network.endpoint()], options as AmqpConnection.EndpointOptions)
          )
          const { message } = yield* reasonOf(connecting, "InvalidArgument")
          assert.include(message, text)
          yield* network.expectDialed()
        })
      ))
  }

  for (const endpoints of [[], "a", undefined, [{}], [{ name: "a" }], [null]] as ReadonlyArray<unknown>) {
    it.effect(`fails with an InvalidArgument before it dials: endpoints ${JSON.stringify(endpoints)}`, () =>
      scriptNetwork(() =>
        Effect.gen(function*() {
          const connecting = yield* fork(AmqpConnection.makeFrom(endpoints as [AmqpConnection.Endpoint]))
          assert.include((yield* reasonOf(connecting, "InvalidArgument")).message, "endpoint")
        })
      ))
  }

  it.effect("has no endpointOrder with a single socket", () =>
    scriptNetwork((network) =>
      Effect.gen(function*() {
        const options: object = { endpointOrder: "ordered" }
        const connecting = yield* fork(
          Effect.provideService(AmqpConnection.make(options), Socket.Socket, network.endpoint().socket)
        )
        assert.include((yield* reasonOf(connecting, "InvalidArgument")).message, "endpointOrder")
        yield* network.expectDialed()
      })
    ))
})
