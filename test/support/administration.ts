/**
 * What tests do to a broker, and read from it, by other means than AMQP.
 */
import type * as Effect from "effect/Effect"

/** A queue or an exchange as the broker stores it. Properties that do not apply are absent. */
export interface DeclaredEntity {
  readonly type: string
  readonly durable: boolean
  readonly autoDelete: boolean
  readonly exclusive?: boolean
  readonly internal?: boolean
  readonly arguments: Readonly<Record<string, unknown>>
}

/** A channel as the broker lists it. */
export interface OpenChannel {
  readonly number: number
  readonly mode: "plain" | "confirm" | "transaction"
}

/**
 * A broker and the operations of its operator. Connections are found by the unique names that tests give them.
 *
 * RabbitMQ is administered by `rabbitmqctl`: each call starts a virtual machine and takes about a second.
 */
export interface Administration {
  /** A complete URL with the credentials of a user with all permissions. */
  readonly url: string

  /** Adds a virtual host in which the user of `url` has all permissions. */
  readonly addVirtualHost: (name: string) => Effect.Effect<void>
  /** Deletes a virtual host with everything in it. */
  readonly deleteVirtualHost: (name: string) => Effect.Effect<void>
  /** Adds a user to the virtual host of `url`, with all permissions or only that to read. */
  readonly addUser: (name: string, password: string, may: "everything" | "read") => Effect.Effect<void>
  /** Changes the password for later logins. Open connections stay open. */
  readonly changePassword: (name: string, password: string) => Effect.Effect<void>
  readonly deleteUser: (name: string) => Effect.Effect<void>

  /** The existing queues and exchanges with these names in the virtual host of `url`. */
  readonly entities: (names: ReadonlyArray<string>) => Effect.Effect<Readonly<Record<string, DeclaredEntity>>>

  /** How many connections have this name. */
  readonly connectionsNamed: (connectionName: string) => Effect.Effect<number>
  /** The client properties of a connection, as the broker prints them. */
  readonly clientPropertiesOf: (connectionName: string) => Effect.Effect<string>
  /** The open channels of a connection, by number. */
  readonly channelsOf: (connectionName: string) => Effect.Effect<ReadonlyArray<OpenChannel>>
  /** Closes a connection as an operator does, with a reason. */
  readonly closeConnection: (connectionName: string, reason: string) => Effect.Effect<void>
  /** Closes a connection's socket without connection.close. */
  readonly cutConnection: (connectionName: string) => Effect.Effect<void>

  /** Puts the whole broker out of memory, so it must be private to the test. */
  readonly exhaustMemory: Effect.Effect<void>
  readonly freeMemory: Effect.Effect<void>
}
