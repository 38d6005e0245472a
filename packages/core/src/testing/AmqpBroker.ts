/**
 * A broker in this process, for tests and demonstrations: it speaks AMQP 0-9-1 as RabbitMQ does, over a network that exists in
 * memory and can be made to fail.
 *
 * Nothing of it outlives its scope, and nothing is written to a disk: production runs on RabbitMQ. It keeps time by Effect's
 * `Clock`, so a message's TTL, a queue's expiry and heartbeats obey `TestClock`.
 *
 * **Example** (A test with a broker of its own)
 *
 * ```ts
 * import { AmqpChannel, AmqpMessage, AmqpQueue } from "@effect-amqp/core"
 * import { AmqpBroker } from "@effect-amqp/core/testing"
 * import { assert, it } from "@effect/vitest"
 * import * as Effect from "effect/Effect"
 *
 * const orders = AmqpQueue.classic("orders")
 *
 * it.effect("an order waits in its queue", () =>
 *   Effect.gen(function*() {
 *     const broker = yield* AmqpBroker.AmqpBroker
 *     yield* AmqpChannel.confirmed(AmqpChannel.gen(function*() {
 *       yield* AmqpQueue.declare(orders)
 *       yield* AmqpChannel.publish(AmqpMessage.text("one coffee"), AmqpQueue.route(orders))
 *     }))
 *     const messages = yield* broker.messages("orders")
 *     assert.deepStrictEqual(messages.map(({ text }) => text), ["one coffee"])
 *   }).pipe(Effect.provide(AmqpBroker.layer())))
 * ```
 *
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as AmqpConnection from "../AmqpConnection.ts"
import type * as AmqpDelivery from "../AmqpDelivery.ts"
import type { AmqpConnectionError } from "../AmqpError.ts"
import { isTable } from "../internal/options/clientProperties.ts"
import * as Validation from "../internal/options/validation.ts"
import { frameMinSize } from "../protocol/constants.ts"
import type { FieldTable } from "../protocol/fieldTable.ts"
import type { Confirmation } from "./internal/channel/confirms.ts"
import type { RefusalInfo } from "./internal/common/refusal.ts"
import * as Timers from "./internal/common/timers.ts"
import { rulesOf, versions } from "./internal/common/versionRules.ts"
import type { Version, VersionRules } from "./internal/common/versionRules.ts"
import { bindingsOf, connectionOf, exchangesOf, messagesOf, queuesOf, received } from "./internal/inspection.ts"
import type { BindingInfo, BrokerConnection, ExchangeInfo, QueueInfo } from "./internal/inspection.ts"
import { MemoryLink } from "./internal/network/memoryLink.ts"
import type { LinkOptions } from "./internal/network/memoryLink.ts"
import { memorySocket } from "./internal/network/memorySocket.ts"
import { refusedError } from "./internal/network/socketErrors.ts"
import { serve } from "./internal/network/socketTransport.ts"
import { Broker } from "./internal/server/broker.ts"
import type { ServerConnection } from "./internal/server/connection.ts"
import type { ServerOptions } from "./internal/server/connectionHost.ts"

/**
 * A user of the broker.
 *
 * @category models
 * @since 0.1.0
 */
export interface User {
  readonly password: Redacted.Redacted<string>
  /**
   * What the user may configure, write and read in which virtual host, as regular expressions that names are searched for
   * (RabbitMQ, "Access Control"). Default: everything in every virtual host.
   */
  readonly permissions?: Readonly<Record<string, Permissions>> | undefined
}

/**
 * What a user may do to which exchanges and queues of a virtual host. The default exchange is called `amq.default`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Permissions {
  /** Names of what may be declared and deleted. */
  readonly configure: RegExp
  /** Names of exchanges that may be published to and queues that may be bound. */
  readonly write: RegExp
  /** Names of queues that may be read and exchanges that may be bound to. */
  readonly read: RegExp
}

/**
 * What a broker is like.
 *
 * **Gotchas**
 *
 * A value out of its range is a mistake in a test, and so a defect: an `InvalidArgument` that names the option.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * Which RabbitMQ it behaves like: a series, of which it is the newest release that is known. What differs is listed in
   * `docs/testing.md`. Default: `"3.10"`.
   */
  readonly version?: Version | undefined
  /** By name. Default: RabbitMQ's `guest` with the password `guest`. */
  readonly users?: Readonly<Record<string, User>> | undefined
  /** Their names, of at most 255 bytes each. Default: `/`. */
  readonly virtualHosts?: ReadonlyArray<string> | undefined
  /** The SASL mechanisms to offer, from `PLAIN` and `AMQPLAIN`. Default: both. */
  readonly mechanisms?: NonEmptyReadonlyArray<"PLAIN" | "AMQPLAIN"> | undefined
  /** The heartbeat interval to ask for, in whole seconds from 0 (none) to 65535. Default: 60 seconds. */
  readonly heartbeat?: Duration.Input | undefined
  /** The largest frame, in bytes: 0 (no limit) or from 4096 to 4294967295. Default: 131072. */
  readonly frameMax?: number | undefined
  /** How many channels a connection may have, from 0 (no limit) to 65535. Default: 2047. */
  readonly channelMax?: number | undefined
  /** The largest body that is taken, in bytes from 0. Default: 128 MiB, as in RabbitMQ 3.10, or 16 MiB as in 4.x. */
  readonly maxMessageSize?: number | undefined
  /**
   * How long a client may keep a message unsettled until its channel is closed with 406 (RabbitMQ, "Delivery Acknowledgement
   * Timeout"), from a millisecond. `Duration.infinity` is without end. Default: 30 minutes, as in RabbitMQ 3.10, which however looks once a minute only.
   */
  readonly consumerTimeout?: Duration.Input | undefined
  /** Replaces or adds to what the broker says of itself; a capability of `false` is one that it says it lacks. */
  readonly serverProperties?: FieldTable | undefined
}

/**
 * What the network does to a connection, from its first byte on.
 *
 * **Gotchas**
 *
 * A value out of its range is a defect, as with {@link Options}.
 *
 * @category models
 * @since 0.1.0
 */
export interface NetworkOptions {
  /** How long bytes are under way, in each direction; not infinite. Default: no time at all. */
  readonly latency?: Duration.Input | undefined
  /** How many bytes the client reads at once at most, from 1. Default: all there are. */
  readonly readSize?: number | undefined
  /** The connection is reset when so many bytes of the client arrived, from 0. Default: never. */
  readonly cutAfterSent?: number | undefined
  /** The connection is reset when so many bytes for the client arrived, from 0. Default: never. */
  readonly cutAfterReceived?: number | undefined
}

export type { Confirmation, LateConfirmation } from "./internal/channel/confirms.ts"
export type { RefusalInfo } from "./internal/common/refusal.ts"
export type { Version } from "./internal/common/versionRules.ts"
export type { BindingInfo, BrokerConnection, ChannelInfo, ExchangeInfo, QueueInfo } from "./internal/inspection.ts"
export type { Direction } from "./internal/network/pipe.ts"

/**
 * A message that was published.
 *
 * @category models
 * @since 0.1.0
 */
export interface PublishedMessage
  extends Pick<AmqpDelivery.ReceivedMessage, "body" | "text" | "properties" | "exchange" | "routingKey">
{}

/**
 * A broker, with what there is to see in it and what can be done to it.
 *
 * **Details**
 *
 * Where a virtual host can be named, the default is `/`; one that does not exist is empty.
 *
 * @category services
 * @since 0.1.0
 */
export class AmqpBroker extends Context.Service<AmqpBroker, {
  /** Connects a client; what {@link AmqpConnection.make} says of options and errors holds. */
  readonly connect: (
    options?: AmqpConnection.Options,
    network?: NetworkOptions
  ) => Effect.Effect<AmqpConnection.AmqpConnection["Service"], AmqpConnectionError, Scope.Scope>
  /** A socket to the broker, for a client that wants to make its connection itself: whenever it is opened it is a new connection. */
  readonly makeSocket: (network?: NetworkOptions) => Effect.Effect<Socket.Socket>
  /** Serves a client that is at the other end of a socket, until one of both closes it. */
  readonly serve: (socket: Socket.Socket) => Effect.Effect<void, Socket.SocketError, Scope.Scope>

  readonly connections: Effect.Effect<ReadonlyArray<BrokerConnection>>
  /** What the broker closed channels and connections for, the oldest first: the last 1000. */
  readonly refusals: Effect.Effect<ReadonlyArray<RefusalInfo>>
  readonly exchanges: (virtualHost?: string) => Effect.Effect<ReadonlyArray<ExchangeInfo>>
  readonly queues: (virtualHost?: string) => Effect.Effect<ReadonlyArray<QueueInfo>>
  readonly bindings: (virtualHost?: string) => Effect.Effect<ReadonlyArray<BindingInfo>>
  /** The messages of a queue that nobody received, the next one first. None for a queue that does not exist. */
  readonly messages: (queue: string, virtualHost?: string) => Effect.Effect<ReadonlyArray<AmqpDelivery.ReceivedMessage>>

  /** Adds a user or replaces one. */
  readonly setUser: (name: string, user: User) => Effect.Effect<void>
  /** Deletes a user and closes its connections. */
  readonly deleteUser: (name: string) => Effect.Effect<void>
  readonly addVirtualHost: (name: string) => Effect.Effect<void>
  /** Deletes a virtual host with all that is in it, and closes its connections. */
  readonly deleteVirtualHost: (name: string) => Effect.Effect<void>

  /**
   * Says that there is no room for messages (RabbitMQ, "Memory and Disk Alarms"): a connection that has published, or does so,
   * hears `connection.blocked` and is not read any more.
   */
  readonly block: (reason: string) => Effect.Effect<void>
  readonly unblock: Effect.Effect<void>
  /** Decides from now on how publishes are confirmed that the queues took. Until then all are acked. */
  readonly confirmWith: (decide: (message: PublishedMessage) => Confirmation) => Effect.Effect<void>
  /** Has the network refuse connections in memory from now on, or take them again. Those that exist stay. */
  readonly refuseConnections: (refuse: boolean) => Effect.Effect<void>
}>()("@effect-amqp/core/testing/AmqpBroker") {}

/** What RabbitMQ says of itself, as far as clients decide by it. */
const serverPropertiesOf = ({ serverVersion }: VersionRules, given: FieldTable): FieldTable => ({
  product: "effect-amqp embedded broker",
  version: serverVersion,
  platform: "Effect",
  information: "For tests and demonstrations",
  ...given,
  capabilities: {
    publisher_confirms: true,
    exchange_exchange_bindings: true,
    "basic.nack": true,
    consumer_cancel_notify: true,
    "connection.blocked": true,
    consumer_priorities: true,
    authentication_failure_close: true,
    per_consumer_qos: true,
    direct_reply_to: true,
    ...(isTable(given.capabilities) ? given.capabilities : {})
  }
})

const optionKeys = Validation.keysOf<Options>({
  version: true,
  users: true,
  virtualHosts: true,
  mechanisms: true,
  heartbeat: true,
  frameMax: true,
  channelMax: true,
  maxMessageSize: true,
  consumerTimeout: true,
  serverProperties: true
})

const networkKeys = Validation.keysOf<NetworkOptions>({
  latency: true,
  readSize: true,
  cutAfterSent: true,
  cutAfterReceived: true
})

const permissionKeys = Validation.keysOf<Permissions>({ configure: true, write: true, read: true })

const checkUser = (name: string, user: User): User => {
  const what = `user ${JSON.stringify(name)}`
  const { password, permissions = {} } = Validation.knownKeys(user, ["password", "permissions"], what)
  if (!Redacted.isRedacted(password)) throw Validation.invalid(`${what}: password: must be a Redacted`)
  for (const [virtualHost, granted] of Object.entries(permissions)) {
    const where = `${what}: permissions in ${JSON.stringify(virtualHost)}`
    Validation.knownKeys(granted, permissionKeys, where)
    for (const key of permissionKeys) {
      if (!(granted[key] instanceof RegExp)) throw Validation.invalid(`${where}: ${key}: must be a regular expression`)
    }
  }
  return user
}

const serverOptionsOf = (options: Options): ServerOptions => {
  const { channelMax = 2047, consumerTimeout = "30 minutes", frameMax = 131072, heartbeat = "60 seconds" } = options
  const heartbeatInterval = Validation.duration("heartbeat", heartbeat, 0, true)
  const { version = "3.10" } = options
  if (!versions.includes(version)) throw Validation.invalid(`version: must be one of ${versions.join(", ")}`)
  const rules = rulesOf(version)
  if (frameMax !== 0) Validation.wholeNumber("frameMax", frameMax, frameMinSize, 2 ** 32 - 1)
  return {
    rules,
    serverProperties: serverPropertiesOf(
      rules,
      Validation.record("serverProperties", options.serverProperties ?? {})
    ),
    mechanisms: options.mechanisms ?? ["PLAIN", "AMQPLAIN"],
    channelMax: Validation.wholeNumber("channelMax", channelMax, 0, 65535),
    frameMax,
    heartbeatSeconds: Validation.wholeNumber("heartbeat in seconds", Duration.toSeconds(heartbeatInterval), 0, 65535),
    maxMessageSize: Validation.wholeNumber("maxMessageSize", options.maxMessageSize ?? rules.maxMessageSize, 0),
    consumerTimeoutMillis: Duration.toMillis(Validation.duration("consumerTimeout", consumerTimeout, 1))
  }
}

const linkOptionsOf = (options: NetworkOptions): LinkOptions => {
  const { cutAfterReceived, cutAfterSent, latency = 0, readSize } = Validation.knownKeys(
    options,
    networkKeys,
    "network"
  )
  const bytes = (what: string, value: number | undefined, minimum: number): number =>
    value === undefined ? Infinity : Validation.wholeNumber(what, value, minimum)
  return {
    latencyMillis: Duration.toMillis(Validation.duration("latency", latency, 0, true)),
    readSize: bytes("readSize", readSize, 1),
    cutAfterSent: bytes("cutAfterSent", cutAfterSent, 0),
    cutAfterReceived: bytes("cutAfterReceived", cutAfterReceived, 0)
  }
}

const guest: Readonly<Record<string, User>> = { guest: { password: Redacted.make("guest") } }

/**
 * Makes a broker that ends with the scope, and resets the connections that there are by then.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options: Options = {}
): Effect.fn.Return<AmqpBroker["Service"], never, Scope.Scope> {
  const broker = new Broker(
    serverOptionsOf(Validation.knownKeys(options, optionKeys, "AmqpBroker options")),
    yield* Timers.make
  )
  const setUser = (name: string, user: User): void => {
    const { password, permissions } = checkUser(name, user)
    // A secret of the broker's own, as the caller's may be wiped.
    broker.users.set(name, { name, password: Redacted.make(Redacted.value(password)), permissions })
  }
  for (const [name, user] of Object.entries(options.users ?? guest)) setUser(name, user)
  for (const name of options.virtualHosts ?? ["/"]) broker.addVirtualHost(Validation.name("virtualHosts", name))

  const links = new WeakMap<ServerConnection, MemoryLink>()
  let refusing = false
  const step = <A>(action: () => A): Effect.Effect<A> => Effect.sync(() => broker.step(action))
  const makeSocket = (network: NetworkOptions = {}): Effect.Effect<Socket.Socket> =>
    Effect.sync(() => {
      const linkOptions = linkOptionsOf(network)
      return memorySocket(Effect.suspend(() => {
        if (refusing) return Effect.fail(refusedError())
        const link = new MemoryLink(linkOptions, broker.timers, (action) =>
          broker.step(action), (transport) =>
          broker.connect(transport))
        links.set(link.connection, link)
        return Effect.succeed(link)
      }))
    })

  yield* Effect.addFinalizer(() =>
    step(() => {
      refusing = true
      for (const connection of broker.connections) connection.transport.cut()
    })
  )

  return AmqpBroker.of({
    makeSocket,
    connect: (connection, network) =>
      Effect.provideServiceEffect(AmqpConnection.make(connection), Socket.Socket, makeSocket(network)),
    serve: (socket) => serve(socket, (action) => broker.step(action), (transport) => broker.connect(transport)),
    connections: Effect.sync(() =>
      [...broker.connections].map((connection) => connectionOf(connection, links.get(connection), step))
    ),
    refusals: Effect.sync(() => [...broker.refusals]),
    exchanges: (virtualHost = "/") => Effect.sync(() => exchangesOf(broker.virtualHost(virtualHost))),
    queues: (virtualHost = "/") => Effect.sync(() => queuesOf(broker.virtualHost(virtualHost))),
    bindings: (virtualHost = "/") => Effect.sync(() => bindingsOf(broker.virtualHost(virtualHost))),
    messages: (queue, virtualHost = "/") => Effect.sync(() => messagesOf(broker.virtualHost(virtualHost), queue)),
    setUser: (name, user) => Effect.sync(() => setUser(name, user)),
    deleteUser: (name) => step(() => broker.deleteUser(name)),
    addVirtualHost: (name) => Effect.sync(() => broker.addVirtualHost(Validation.name("name", name))),
    deleteVirtualHost: (name) => step(() => broker.deleteVirtualHost(name)),
    block: (reason) => step(() => broker.block(reason)),
    unblock: step(() => broker.unblock()),
    confirmWith: (decide) =>
      Effect.sync(() =>
        void (broker.confirmation = (message) => decide(received({ message, redelivered: false }, message.routingKey)))
      ),
    refuseConnections: (refuse) => Effect.sync(() => void (refusing = refuse))
  })
})

/**
 * A broker without any connection.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerBroker = (options?: Options): Layer.Layer<AmqpBroker> => Layer.effect(AmqpBroker, make(options))

/**
 * A broker and a connection to it.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options & {
    readonly connection?: AmqpConnection.Options | undefined
    readonly network?: NetworkOptions | undefined
  } = {}
): Layer.Layer<AmqpBroker | AmqpConnection.AmqpConnection, AmqpConnectionError> => {
  const { connection, network, ...brokerOptions } = options
  return Layer.effect(
    AmqpConnection.AmqpConnection,
    Effect.flatMap(AmqpBroker, (broker) => broker.connect(connection, network))
  ).pipe(
    Layer.provideMerge(layerBroker(brokerOptions))
  )
}
