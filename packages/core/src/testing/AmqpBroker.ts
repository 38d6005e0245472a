/**
 * An embedded broker, for tests and demonstrations: it speaks AMQP 0-9-1 as RabbitMQ does, over an in-memory network
 * that can be made to fail.
 *
 * Everything in it is released with its scope, and nothing is stored on disk: use RabbitMQ in production. It uses
 * Effect's `Clock`, so that `TestClock` controls the TTL of messages, the expiry of queues, and heartbeats.
 *
 * **Example** (A test with its own broker)
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
import * as Timers from "./internal/common/timers.ts"
import { rulesOf, versions } from "./internal/common/versionRules.ts"
import type { VersionRules } from "./internal/common/versionRules.ts"
import { bindingsOf, connectionOf, exchangesOf, messagesOf, queuesOf, received } from "./internal/inspection.ts"
import { MemoryLink } from "./internal/network/memoryLink.ts"
import type { LinkOptions } from "./internal/network/memoryLink.ts"
import { memorySocket } from "./internal/network/memorySocket.ts"
import { refusedError } from "./internal/network/socketErrors.ts"
import { serve } from "./internal/network/socketTransport.ts"
import { Broker } from "./internal/server/broker.ts"
import type { ServerConnection } from "./internal/server/connection.ts"
import type { ServerOptions } from "./internal/server/connectionHost.ts"

/**
 * A release series of RabbitMQ.
 *
 * @category models
 * @since 0.1.0
 */
export type Version = "3.10" | "4.0" | "4.3"

/**
 * A user of the broker.
 *
 * @category models
 * @since 0.1.0
 */
export interface User {
  readonly password: Redacted.Redacted<string>
  /**
   * The user's permissions by virtual host, as regular expressions that match anywhere in a name (RabbitMQ, "Access
   * Control"). Default: all permissions in every virtual host.
   */
  readonly permissions?: Readonly<Record<string, Permissions>> | undefined
}

/**
 * A user's permissions in a virtual host. The default exchange is named `amq.default`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Permissions {
  /** Names of exchanges and queues that the user may declare and delete. */
  readonly configure: RegExp
  /** Names of exchanges that the user may publish to, and of queues that it may bind. */
  readonly write: RegExp
  /** Names of queues that the user may read, and of exchanges that it may bind to. */
  readonly read: RegExp
}

/**
 * Options of the broker.
 *
 * **Gotchas**
 *
 * A value out of range is a mistake in a test, and therefore a defect: an `InvalidArgument` that names the option.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * The series of RabbitMQ whose behavior it has, in its latest known release. `docs/testing.md` lists the differences.
   * Default: `"3.10"`.
   */
  readonly version?: Version | undefined
  /** The users, by name. Default: RabbitMQ's `guest` with the password `guest`. */
  readonly users?: Readonly<Record<string, User>> | undefined
  /** The names of the virtual hosts, of at most 255 bytes each. Default: `/`. */
  readonly virtualHosts?: ReadonlyArray<string> | undefined
  /** The SASL mechanisms to offer, from `PLAIN` and `AMQPLAIN`. Default: both. */
  readonly mechanisms?: NonEmptyReadonlyArray<"PLAIN" | "AMQPLAIN"> | undefined
  /** The heartbeat interval to propose, in whole seconds from 0 (none) to 65535. Default: 60 seconds. */
  readonly heartbeat?: Duration.Input | undefined
  /** The maximum frame size, in bytes: 0 (no limit) or from 4096 to 4294967295. Default: 131072. */
  readonly frameMax?: number | undefined
  /** The maximum number of channels of a connection, from 0 (no limit) to 65535. Default: 2047. */
  readonly channelMax?: number | undefined
  /** The maximum size of a body, in bytes from 0. Default: 128 MiB, as in RabbitMQ 3.10, or 16 MiB, as in 4.x. */
  readonly maxMessageSize?: number | undefined
  /**
   * How long a client may keep a message unsettled before its channel is closed with 406 (RabbitMQ, "Delivery
   * Acknowledgement Timeout"), from 1 ms; `Duration.infinity` is no limit. Default: 30 minutes, as in RabbitMQ 3.10,
   * which however checks only once a minute.
   */
  readonly consumerTimeout?: Duration.Input | undefined
  /** Replaces or adds server properties. A capability of `false` is one that the broker lacks. */
  readonly serverProperties?: FieldTable | undefined
}

/**
 * What the in-memory network does to a connection, from its first byte on.
 *
 * **Gotchas**
 *
 * A value out of range is a defect, as with {@link Options}.
 *
 * @category models
 * @since 0.1.0
 */
export interface NetworkOptions {
  /** The delay of bytes in each direction; finite. Default: 0. */
  readonly latency?: Duration.Input | undefined
  /** The maximum number of bytes that the client reads at once, from 1. Default: no limit. */
  readonly readSize?: number | undefined
  /** Resets the connection when this many bytes of the client have arrived, from 0. Default: never. */
  readonly cutAfterSent?: number | undefined
  /** Resets the connection when this many bytes for the client have arrived, from 0. Default: never. */
  readonly cutAfterReceived?: number | undefined
}

/**
 * Why the broker closed a channel, or a connection (`channel` 0), because of a client's request.
 *
 * @category models
 * @since 0.1.0
 */
export interface RefusalInfo {
  readonly connection: number
  readonly channel: number
  readonly replyCode: number
  readonly replyText: string
}

/**
 * A queue and its contents.
 *
 * @category models
 * @since 0.1.0
 */
export interface QueueInfo {
  readonly name: string
  readonly type: "classic" | "quorum" | "stream"
  readonly durable: boolean
  readonly autoDelete: boolean
  readonly exclusive: boolean
  readonly arguments: FieldTable
  /** The number of ready messages. */
  readonly messagesReady: number
  /** The number of messages that were delivered and not settled. */
  readonly messagesUnacknowledged: number
  readonly consumers: number
}

/**
 * An exchange.
 *
 * @category models
 * @since 0.1.0
 */
export interface ExchangeInfo {
  /** `""` is the default exchange. */
  readonly name: string
  readonly type: string
  readonly durable: boolean
  readonly autoDelete: boolean
  readonly internal: boolean
  readonly arguments: FieldTable
}

/**
 * A binding of a queue or an exchange to an exchange.
 *
 * @category models
 * @since 0.1.0
 */
export interface BindingInfo {
  readonly source: string
  readonly destination: string
  readonly destinationType: "queue" | "exchange"
  readonly routingKey: string
  readonly arguments: FieldTable
}

/**
 * A channel of a connection, as the broker sees it.
 *
 * @category models
 * @since 0.1.0
 */
export interface ChannelInfo {
  readonly number: number
  readonly mode: "Plain" | "Confirm" | "Transaction"
  readonly consumers: number
  readonly messagesUnacknowledged: number
}

/**
 * A client's connection at the time of the call, with operations on it.
 *
 * **Details**
 *
 * Operations on the network need an in-memory connection (`connect`, `makeSocket`), and do nothing to one that is
 * served over another socket. No operation affects a closed connection. A number out of range is a defect.
 *
 * @category models
 * @since 0.1.0
 */
export interface BrokerConnection {
  /** The number of the connection, from 1. */
  readonly id: number
  /** The name that the client gave it. */
  readonly name: string | undefined
  readonly username: string
  /** `undefined` until the client has opened one. */
  readonly virtualHost: string | undefined
  readonly clientProperties: FieldTable
  readonly channels: ReadonlyArray<ChannelInfo>
  /** Whether the broker has stopped reading from it, because it published while the broker was blocked. */
  readonly blocked: boolean
  /**
   * Closes the connection (`connection.close`) with a reply code such as 320, up to 65535, and a text, of which at most
   * 255 bytes are sent.
   */
  readonly close: (replyCode: number, replyText: string) => Effect.Effect<void>
  /** Closes a channel of the connection (`channel.close`), in the same way. */
  readonly closeChannel: (number: number, replyCode: number, replyText: string) => Effect.Effect<void>
  /** Resets the connection, without `connection.close`. */
  readonly cut: Effect.Effect<void>
  /** Resets the connection when this many further bytes have passed, from 0. */
  readonly cutAfter: (direction: Direction, bytes: number) => Effect.Effect<void>
  /** Holds back bytes of this direction until `resume`. */
  readonly stall: (direction: Direction) => Effect.Effect<void>
  /** Ends a `stall`. */
  readonly resume: (direction: Direction) => Effect.Effect<void>
  /** Sends these bytes to the client, whatever they mean. */
  readonly sendBytes: (bytes: Uint8Array) => Effect.Effect<void>
}

/**
 * A direction of a connection's bytes.
 *
 * @category models
 * @since 0.1.0
 */
export type Direction = "toClient" | "toBroker"

/**
 * A published message.
 *
 * @category models
 * @since 0.1.0
 */
export interface PublishedMessage
  extends Pick<AmqpDelivery.ReceivedMessage, "body" | "text" | "properties" | "exchange" | "routingKey">
{}

/**
 * How the broker confirms a publish that queues took, on a channel with confirms. With `hold` it does not confirm the
 * publish. A late confirmation is sent after those of later publishes.
 *
 * @category models
 * @since 0.1.0
 */
export type Confirmation = "ack" | "nack" | "hold" | LateConfirmation

/**
 * A delayed confirmation, as that of a queue on a slow disk or on several nodes.
 *
 * @category models
 * @since 0.1.0
 */
export interface LateConfirmation {
  readonly confirmation: "ack" | "nack"
  readonly after: Duration.Input
}

/**
 * A broker, with operations to inspect and control it.
 *
 * **Details**
 *
 * The default virtual host of an operation is `/`; one that does not exist is empty.
 *
 * @category services
 * @since 0.1.0
 */
export class AmqpBroker extends Context.Service<AmqpBroker, {
  /** Connects a client, with the options and errors of {@link AmqpConnection.make}. */
  readonly connect: (
    options?: AmqpConnection.Options,
    network?: NetworkOptions
  ) => Effect.Effect<AmqpConnection.AmqpConnection["Service"], AmqpConnectionError, Scope.Scope>
  /**
   * Makes a socket to the broker, for a client that makes its own connection. Each time it is opened, it is a new connection.
   */
  readonly makeSocket: (network?: NetworkOptions) => Effect.Effect<Socket.Socket>
  /** Serves the client at the other end of a socket, until either side closes it. */
  readonly serve: (socket: Socket.Socket) => Effect.Effect<void, Socket.SocketError, Scope.Scope>

  readonly connections: Effect.Effect<ReadonlyArray<BrokerConnection>>
  /** Why the broker closed channels and connections: the last 1000, oldest first. */
  readonly refusals: Effect.Effect<ReadonlyArray<RefusalInfo>>
  readonly exchanges: (virtualHost?: string) => Effect.Effect<ReadonlyArray<ExchangeInfo>>
  readonly queues: (virtualHost?: string) => Effect.Effect<ReadonlyArray<QueueInfo>>
  readonly bindings: (virtualHost?: string) => Effect.Effect<ReadonlyArray<BindingInfo>>
  /** The ready messages of a queue, the next one first; none for a queue that does not exist. */
  readonly messages: (queue: string, virtualHost?: string) => Effect.Effect<ReadonlyArray<AmqpDelivery.ReceivedMessage>>

  /** Adds or replaces a user. */
  readonly setUser: (name: string, user: User) => Effect.Effect<void>
  /** Deletes a user and closes its connections. */
  readonly deleteUser: (name: string) => Effect.Effect<void>
  readonly addVirtualHost: (name: string) => Effect.Effect<void>
  /** Deletes a virtual host with its contents, and closes its connections. */
  readonly deleteVirtualHost: (name: string) => Effect.Effect<void>

  /**
   * Raises an alarm (RabbitMQ, "Memory and Disk Alarms"): connections that have published, or do so, receive
   * `connection.blocked` and are no longer read from.
   */
  readonly block: (reason: string) => Effect.Effect<void>
  readonly unblock: Effect.Effect<void>
  /** Sets how publishes that queues took are confirmed from now on. By default all are acked. */
  readonly confirmWith: (decide: (message: PublishedMessage) => Confirmation) => Effect.Effect<void>
  /** Whether the in-memory network refuses new connections from now on. Existing connections stay open. */
  readonly refuseConnections: (refuse: boolean) => Effect.Effect<void>
}>()("@effect-amqp/core/testing/AmqpBroker") {}

/** The properties of RabbitMQ by which clients decide. */
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
 * Makes a broker. When the scope closes, it resets its connections.
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
    // A copy of the secret, as the caller may wipe the given one.
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
 * Provides a broker without a connection.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerBroker = (options?: Options): Layer.Layer<AmqpBroker> => Layer.effect(AmqpBroker, make(options))

/**
 * Provides a broker and a connection to it.
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
