/**
 * A network of servers that a test scripts: each dial of the client reaches a new {@link Peer}, until the script has the endpoint fail.
 *
 * For tests of recovery. At the end of each script the client must not have left a socket or a fiber behind, and must never have had two
 * sockets open at once (N8).
 */
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import type { AmqpConnectionError } from "@effect-amqp/core/AmqpError"
import { assert } from "@effect/vitest"
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as Stream from "effect/Stream"
import { countingFibers } from "./countingFibers.ts"
import { fork, Peer, rest, resultOf } from "./scriptedPeer.ts"
import type { ServerOptions } from "./scriptedPeer.ts"

type Connection = AmqpConnection.AmqpConnection["Service"]

/** A dial that the operating system fails, as Node.js reports it. */
export const refused = (text = "connect ECONNREFUSED 127.0.0.1:5672", more: object = {}): Socket.SocketError =>
  new Socket.SocketError({
    reason: new Socket.SocketOpenError({ kind: "Unknown", cause: Object.assign(new Error(text), more) })
  })

export class Network {
  /** The names of the endpoints that were dialed, in order. */
  readonly dialed: Array<string> = []
  /** The level and text of what the client has logged. */
  readonly lines: Array<string> = []
  /** The most sockets that were open at once. */
  mostOpen = 0
  /** What dials of an endpoint wait for, or fail with. */
  readonly faults = new Map<string, Effect.Effect<void, Socket.SocketError>>()

  private readonly peers: Array<Peer> = []
  private readonly untaken: Array<Peer> = []

  endpoint(name = "a"): AmqpConnection.Endpoint {
    let current: Peer | undefined
    const reader = Effect.suspend(() => {
      this.dialed.push(name)
      const peer = current = new Peer()
      peer.dial = this.faults.get(name) ?? Effect.void
      return Effect.tap(peer.socket.reader, () =>
        Effect.sync(() => {
          this.peers.push(peer)
          this.untaken.push(peer)
          this.mostOpen = Math.max(this.mostOpen, this.open)
        }))
    })
    const writer = Effect.suspend(() => current?.socket.writer ?? Effect.die(new Error("a writer without a reader")))
    return { name, socket: Socket.make({ reader, writer }) }
  }

  /** How many sockets are open. */
  get open(): number {
    return this.peers.filter(({ isOpen, isWritable }) => isOpen || isWritable).length
  }

  /** The server that the client dials next, which must be without waiting for time. */
  readonly accept: Effect.Effect<Peer> = Effect.map(
    rest,
    () => this.untaken.shift() ?? assert.fail(`the client does not dial; it has dialed ${this.dialed.join(" ")}`)
  )

  /** Accepts the client's dial, with the standard handshake. */
  readonly serve = (options?: ServerOptions): Effect.Effect<Peer> =>
    Effect.tap(this.accept, (peer) => peer.handshake(options))

  /** Asserts which endpoints the client has dialed since the last call. */
  expectDialed(...names: ReadonlyArray<string>): Effect.Effect<void> {
    return Effect.map(rest, () => assert.deepStrictEqual(this.dialed.splice(0), [...names]))
  }

  /** The lines at this level. */
  logged(level: string): ReadonlyArray<string> {
    return this.lines.filter((line) => line.startsWith(`${level} `)).map((line) => line.slice(level.length + 1))
  }

  /** Closes every socket without an error. */
  readonly hangUp: Effect.Effect<void> = Effect.suspend(() =>
    Effect.forEach(this.peers, (peer) => peer.hangUp, { discard: true })
  )
}

/** Recovery with pauses of exactly a second, and the session's own limits far away. */
export const eachSecond = { schedule: Schedule.spaced("1 second") } as const

/** Runs a script. Dials that the script did not accept are left open when it ends, so that each script also tests the close. */
export const scriptNetwork = <A, E>(
  body: (network: Network) => Effect.Effect<A, E, Scope.Scope>
): Effect.Effect<A, E> =>
  Effect.gen(function*() {
    const network = new Network()
    const fibers = countingFibers()
    const logger = Logger.make(({ logLevel, message }) => {
      network.lines.push(`${logLevel} ${Array.isArray(message) ? message.join(" ") : String(message)}`)
    })
    const fiber = yield* Effect.suspend(() => body(network)).pipe(
      Effect.ensuring(network.hangUp),
      Effect.scoped,
      fibers.counted,
      Effect.provide(Logger.layer([logger])),
      Effect.provideService(References.MinimumLogLevel, "All"),
      Effect.forkChild({ startImmediately: true })
    )
    const result = yield* Fiber.join(fiber)
    yield* rest
    assert.strictEqual(network.open, 0, "sockets that are open")
    assert.isAtMost(network.mostOpen, 1, "sockets that were open at once")
    assert.strictEqual(fibers.running, 0, "fibers that are left")
    return result
  })

/** Connects to the endpoints, in their order. By default to one, with a pause of a second between attempts. */
export const dialNetwork = (
  network: Network,
  options: AmqpConnection.EndpointOptions = {},
  names: NonEmptyReadonlyArray<string> = ["a"]
): Effect.Effect<Connection, AmqpConnectionError, Scope.Scope> => {
  const [first, ...others] = names
  return AmqpConnection.makeFrom(
    [network.endpoint(first), ...others.map((name) => network.endpoint(name))],
    { maxIdleChannels: 0, endpointOrder: "ordered", recovery: eachSecond, ...options }
  )
}

/** What a script with an open connection gets. */
export interface Parts {
  readonly network: Network
  readonly connection: Connection
  /** The server of the first session. */
  readonly peer: Peer
}

/** As {@link scriptNetwork}, with a connection that is open. */
export const recovering = <A, E>(
  body: (parts: Parts) => Effect.Effect<A, E, Scope.Scope | AmqpConnection.AmqpConnection>,
  options: AmqpConnection.EndpointOptions = {},
  names?: NonEmptyReadonlyArray<string>,
  server?: ServerOptions
): Effect.Effect<A, E | AmqpConnectionError> =>
  scriptNetwork((network) =>
    Effect.gen(function*() {
      const connecting = yield* fork(dialNetwork(network, options, names))
      const peer = yield* network.serve(server)
      const connection = yield* resultOf(connecting)
      network.dialed.length = 0
      return yield* Effect.provideService(
        body({ network, connection, peer }),
        AmqpConnection.AmqpConnection,
        connection
      )
    })
  )

/** The tags of the states, from the current one on, until the subscriber has ended. */
export const watch = (connection: Connection, states: Array<AmqpConnection.State>) =>
  fork(Effect.asVoid(streamInto(connection, states)))

const streamInto = (connection: Connection, states: Array<AmqpConnection.State>) =>
  Stream.runForEach(connection.stateChanges, (state) => Effect.sync(() => void states.push(state)))
