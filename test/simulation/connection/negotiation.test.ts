import type * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dial, fork, reasonOf, resultOf, script } from "../../support/scriptedPeer.ts"
import type { ServerOptions } from "../../support/scriptedPeer.ts"

describe("a connection", () => {
  const negotiations: ReadonlyArray<
    readonly [string, AmqpConnection.Options, ServerOptions, ReadonlyArray<number>]
  > = [
    ["the server's limits where they are smaller", {}, { frameMax: 8192, channelMax: 9, heartbeat: 5 }, [
      8192,
      9,
      5
    ]],
    [
      "the client's limits where they are smaller",
      { frameMax: 8192, channelMax: 9, heartbeat: "5 seconds" },
      { frameMax: 0xffffffff, channelMax: 65535, heartbeat: 65535 },
      [8192, 9, 5]
    ],
    ["the client's limits where the server has none", {}, { frameMax: 0, channelMax: 0, heartbeat: 60 }, [
      131072,
      2047,
      60
    ]],
    [
      "the server's limits where the client has none",
      { frameMax: 0, channelMax: 0 },
      { frameMax: 4096, channelMax: 3 },
      [
        4096,
        3,
        0
      ]
    ],
    ["no heartbeats where the client has none", { heartbeat: 0 }, { heartbeat: 60 }, [131072, 2047, 0]]
  ]
  for (const [what, client, server, [frameMax, channelMax, heartbeat]] of negotiations) {
    it.effect(`H9: negotiates ${what}`, () =>
      script((peer) =>
        Effect.gen(function*() {
          const fiber = yield* fork(dial(peer, client))
          const { tuneOk } = yield* peer.handshake(server)
          const { negotiated } = yield* resultOf(fiber)
          assert.deepStrictEqual(tuneOk, { _tag: "connection.tune-ok", frameMax, channelMax, heartbeat })
          assert.deepStrictEqual(yield* negotiated, { frameMax, channelMax, heartbeat: Duration.seconds(heartbeat) })
        })
      ))
  }

  for (
    const options of [
      { heartbeat: "1500 millis" },
      { heartbeat: "65536 seconds" },
      { heartbeat: "Infinity" },
      { frameMax: 4096 },
      { channelMax: 65536 },
      { channelMax: -1 },
      { maxBodySize: 0.5 }
    ] satisfies ReadonlyArray<AmqpConnection.Options>
  ) {
    it.effect(`C19: refuses ${JSON.stringify(options)} before it connects`, () =>
      script((peer) =>
        Effect.gen(function*() {
          const fiber = yield* fork(dial(peer, options))
          const { description } = yield* reasonOf(fiber, "InvalidArgument")
          assert.include(description, Object.keys(options)[0])
          assert.strictEqual(peer.dials, 0)
        })
      ))
  }
})
