/** The state of a broker, which changes in synchronous steps. */
import type { Confirmation, RefusalInfo } from "../../AmqpBroker.ts"
import { DirectReplies } from "../channel/directReplies.ts"
import type { Message } from "../common/message.ts"
import { Refusal } from "../common/refusal.ts"
import type { Timers } from "../common/timers.ts"
import type { User } from "../common/users.ts"
import { VirtualHost } from "../routing/virtualHost.ts"
import { ServerConnection } from "./connection.ts"
import type { ConnectionHost, ServerOptions } from "./connectionHost.ts"
import type { Transport } from "./transport.ts"

/** How many refusals are remembered. */
const maxRefusals = 1000

export class Broker implements ConnectionHost<ServerConnection> {
  readonly timers: Timers
  readonly directReplies = new DirectReplies()
  readonly options: ServerOptions
  readonly users = new Map<string, User>()
  readonly virtualHosts = new Map<string, VirtualHost>()
  readonly connections = new Set<ServerConnection>()
  blockedReason: string | undefined
  /** Decides how a publish is confirmed that all queues took. */
  confirmation: (message: Message) => Confirmation = () => "ack"

  /** The latest refusals, the oldest first. */
  refusals: ReadonlyArray<RefusalInfo> = []

  private lastId = 0
  private depth = 0
  private readonly touched = new Set<ServerConnection>()
  /** Actions for the end of the step. */
  private deferred: Array<() => void> = []

  constructor(options: ServerOptions, timers: Timers) {
    this.timers = {
      now: timers.now,
      schedule: (milliseconds, action) => timers.schedule(milliseconds, () => this.step(action))
    }
    this.options = options
  }

  /**
   * Runs an action that may send something to clients, and flushes their connections afterwards.
   *
   * An action may cause another step, for example when it releases a writer. That is part of the outer step, which flushes for both: no
   * client sees a change that is half done, and long chains of replies do not exhaust the stack.
   */
  step<A>(action: () => A): A {
    this.depth++
    try {
      const result = action()
      if (this.depth === 1) this.flush()
      return result
    } finally {
      this.depth--
    }
  }

  /** Runs an action at the end of the step. */
  private readonly defer = (action: () => void): void => {
    this.deferred.push(action)
  }

  connect(transport: Transport): ServerConnection {
    const connection = new ServerConnection(++this.lastId, this, transport)
    this.connections.add(connection)
    return connection
  }

  user(name: string): User | undefined {
    return this.users.get(name)
  }

  deleteUser(name: string): void {
    if (!this.users.delete(name)) return
    this.closeConnections((connection) => connection.username === name, `user '${name}' is deleted`)
  }

  virtualHost(name: string): VirtualHost | undefined {
    return this.virtualHosts.get(name)
  }

  addVirtualHost(name: string): void {
    if (!this.virtualHosts.has(name)) {
      this.virtualHosts.set(name, new VirtualHost(name, this.timers, this.options.rules, this.defer))
    }
  }

  deleteVirtualHost(name: string): void {
    const virtualHost = this.virtualHosts.get(name)
    if (virtualHost === undefined) return
    this.virtualHosts.delete(name)
    this.closeConnections((connection) => connection.virtualHostName === name, `vhost '${name}' is deleted`)
    virtualHost.delete()
  }

  block(reason: string): void {
    this.blockedReason = reason
    for (const connection of this.connections) connection.block(reason)
  }

  unblock(): void {
    this.blockedReason = undefined
    for (const connection of this.connections) connection.unblock()
  }

  touch(connection: ServerConnection): void {
    this.touched.add(connection)
  }

  ended(connection: ServerConnection): void {
    this.connections.delete(connection)
  }

  refused(refusal: RefusalInfo): void {
    this.refusals = [...this.refusals.slice(1 - maxRefusals), refusal]
  }

  private closeConnections(which: (connection: ServerConnection) => boolean, why: string): void {
    const refusal = new Refusal("connectionForced", why)
    for (const connection of this.connections) if (which(connection)) connection.close(refusal)
  }

  private flush(): void {
    this.runDeferred()
    // Takes the first one each time, because a flush may touch other connections and the same one again.
    for (let [connection] = this.touched; connection !== undefined; [connection] = this.touched) {
      this.touched.delete(connection)
      connection.flush()
      this.runDeferred()
    }
  }

  /** Runs the actions for the end of the step, which may defer others. */
  runDeferred(): void {
    for (let action = this.deferred.shift(); action !== undefined; action = this.deferred.shift()) action()
  }
}
