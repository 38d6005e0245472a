/** What a connection needs of its broker. */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import type { Confirmation, RefusalInfo } from "../../AmqpBroker.ts"
import type { DirectReplies } from "../channel/directReplies.ts"
import type { Message } from "../common/message.ts"
import type { Timers } from "../common/timers.ts"
import type { User } from "../common/users.ts"
import type { VersionRules } from "../common/versionRules.ts"
import type { VirtualHost } from "../routing/virtualHost.ts"

/** What a broker announces to its clients, and its limits. */
export interface ServerOptions {
  readonly rules: VersionRules
  readonly serverProperties: FieldTable
  readonly mechanisms: ReadonlyArray<string>
  /** 0 sets no limit. */
  readonly channelMax: number
  /** In bytes; 0 sets no limit. */
  readonly frameMax: number
  readonly heartbeatSeconds: number
  /** The limit of a body, in bytes. */
  readonly maxMessageSize: number
  /** How long a client may keep a message unsettled. */
  readonly consumerTimeoutMillis: number
}

/** The broker, as its connections see it. */
export interface ConnectionHost<Connection> {
  readonly timers: Timers
  readonly directReplies: DirectReplies
  readonly options: ServerOptions
  /** Why publishers are blocked; `undefined` if they are not. */
  readonly blockedReason: string | undefined
  user(name: string): User | undefined
  virtualHost(name: string): VirtualHost | undefined
  /** The reply to a publish that all queues took. */
  confirmation(message: Message): Confirmation
  /** Runs now what was deferred to the end of the step. */
  runDeferred(): void
  /** Has the connection flushed at the end of the step. */
  touch(connection: Connection): void
  ended(connection: Connection): void
  refused(refusal: RefusalInfo): void
}
