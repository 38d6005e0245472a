/**
 * What tests do to a broker, and learn of it, by other ways than AMQP.
 */
import type * as Effect from "effect/Effect"

/** A queue or an exchange as the broker keeps it. What does not apply is absent. */
export interface DeclaredEntity {
  readonly type: string
  readonly durable: boolean
  readonly autoDelete: boolean
  readonly exclusive?: boolean
  readonly internal?: boolean
  readonly arguments: Readonly<Record<string, unknown>>
}

/** A channel as the broker keeps it. */
export interface OpenChannel {
  readonly number: number
  readonly mode: "plain" | "confirm" | "transaction"
}

/**
 * A broker and what its operator can do. Connections are found by the unique names that tests give them.
 *
 * RabbitMQ is administered by `rabbitmqctl`: each call starts a virtual machine and takes about a second.
 */
export interface Administration {
  /** A complete URL with the credentials of a user who may do everything. */
  readonly url: string

  /** Adds a virtual host in which the user of `url` may do everything. */
  readonly addVirtualHost: (name: string) => Effect.Effect<void>
  /** Deletes a virtual host with all that is in it. */
  readonly deleteVirtualHost: (name: string) => Effect.Effect<void>
  /** Adds a user to the virtual host of `url`, who may do everything there, or nothing but read. */
  readonly addUser: (name: string, password: string, may: "everything" | "read") => Effect.Effect<void>
  readonly deleteUser: (name: string) => Effect.Effect<void>

  /** What is there of these names in the virtual host of `url`, queues and exchanges alike. */
  readonly entities: (names: ReadonlyArray<string>) => Effect.Effect<Readonly<Record<string, DeclaredEntity>>>

  /** How many connections have this name. */
  readonly connectionsNamed: (connectionName: string) => Effect.Effect<number>
  /** What the client says of itself, in the broker's way of printing it. */
  readonly clientPropertiesOf: (connectionName: string) => Effect.Effect<string>
  /** The channels that a connection has open, in the order of their numbers. */
  readonly channelsOf: (connectionName: string) => Effect.Effect<ReadonlyArray<OpenChannel>>
  /** Closes a connection as an operator does, who gives a reason. */
  readonly closeConnection: (connectionName: string, reason: string) => Effect.Effect<void>
  /** Has a connection's socket close without a word. */
  readonly cutConnection: (connectionName: string) => Effect.Effect<void>

  /** Has the whole broker run out of memory, so it must be one of the test's own. */
  readonly exhaustMemory: Effect.Effect<void>
  readonly freeMemory: Effect.Effect<void>
}
