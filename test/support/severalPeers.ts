/**
 * Scripted peers as the endpoints of one connection, for tests of recovery: each session has a peer of its own.
 */
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import type { AmqpConnectionError } from "@effect-amqp/core/AmqpError"
import type * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { fork, Peer, rest, script } from "./scriptedPeer.ts"
import type { ServerOptions } from "./scriptedPeer.ts"

type Connection = AmqpConnection.AmqpConnection["Service"]

export interface RecoveringOptions {
  readonly client?: AmqpConnection.Options | undefined
  readonly server?: ServerOptions | undefined
}

/** Dials on timers of the tests only. */
const patient: AmqpConnection.Options = { connectTimeout: Infinity, handshakeTimeout: Infinity, maxIdleChannels: 0 }

/**
 * Runs a script with a connection that recovers. It is open to the first of three peers, and goes on to the others in their order when it is
 * lost, without pauses. Their handshakes are left to the script, so that there is no connection until then.
 */
export const recovering = <A, E>(
  body: (
    peers: readonly [Peer, Peer, Peer],
    connection: Connection
  ) => Effect.Effect<A, E, Scope.Scope | AmqpConnection.AmqpConnection>,
  { client, server }: RecoveringOptions = {}
): Effect.Effect<A, E | AmqpConnectionError> =>
  script((peer) => {
    const peers = [peer, new Peer(), new Peer()] as const
    const endpoints: Arr.NonEmptyReadonlyArray<AmqpConnection.Endpoint> = [
      { name: "peer 1", socket: peers[0].socket },
      { name: "peer 2", socket: peers[1].socket },
      { name: "peer 3", socket: peers[2].socket }
    ]
    return Effect.gen(function*() {
      const dialing = yield* fork(
        AmqpConnection.makeFrom(endpoints, { ...patient, ...client, endpointOrder: "ordered" })
      )
      yield* peer.handshake(server)
      const connection = yield* Fiber.join(dialing)
      return yield* Effect.provideService(body(peers, connection), AmqpConnection.AmqpConnection, connection)
    }).pipe(Effect.ensuring(Effect.forEach(peers, ({ hangUp }) => hangUp)))
  })

/** Opens the channel of a publisher on a session. */
export const openForPublishing = (peer: Peer, channel = 1): Effect.Effect<void> =>
  Effect.andThen(
    peer.openChannel(channel),
    peer.answer(channel, "confirm.select", { _tag: "confirm.select-ok" })
  )

/** The next session, with the channel of a publisher. */
export const nextSession = (peer: Peer, server?: ServerOptions): Effect.Effect<void> =>
  Effect.andThen(peer.handshake(server), openForPublishing(peer))

/** Takes the publishes that the client has sent, and returns their texts. */
export const takeTexts = (peer: Peer): Effect.Effect<ReadonlyArray<string>> =>
  Effect.gen(function*() {
    yield* rest
    const texts: Array<string> = []
    for (let next = yield* peer.next; next !== undefined; next = yield* peer.next) {
      texts.push(next.method._tag === "basic.publish" ? new TextDecoder().decode(next.body) : next.method._tag)
    }
    return texts
  })
