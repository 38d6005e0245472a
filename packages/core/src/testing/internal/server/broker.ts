/** All that a broker consists of, changed in single steps. */
import type { Confirmation, RefusalInfo } from "../../AmqpBroker.ts"
import { DirectReplies } from "../channel/directReplies.ts"
import type { Message } from "../common/message.ts"
import { Refusal } from "../common/refusal.ts"
import type { Timers } from "../common/timers.ts"
import type { User } from "../common/users.ts"
import { VirtualHost } from "../routing/virtualHost.ts"
import { ServerConnection } from "./connection.ts"
import type { ConnectionHost, ServerOptions, Transport } from "./connection.ts"

const maxRefusals = 1000

export class Broker implements ConnectionHost {
  readonly timers: Timers
  readonly directReplies = new DirectReplies()
  readonly options: ServerOptions
  readonly users = new Map<string, User>()
  readonly virtualHosts = new Map<string, VirtualHost>()
  readonly connections = new Set<ServerConnection>()
  blockedReason: string | undefined
  /** Decides what is answered to a publish that the queues took. */
  confirmation: (message: Message) => Confirmation = () => "ack"

  /** What was refused last. */
  refusals: ReadonlyArray<RefusalInfo> = []

  private lastId = 0
  private depth = 0
  private readonly touched = new Set<ServerConnection>()
  /** What is done at the end of the step. */
  private deferred: Array<() => void> = []

  constructor(options: ServerOptions, timers: Timers) {
    this.timers = {
      now: timers.now,
      schedule: (milliseconds, action) => timers.schedule(milliseconds, () => this.step(action))
    }
    this.options = options
  }

  /**
   * Does something that may have words for clients, which leave when it is done.
   *
   * Whoever is told something in a step may do something in turn, such as a writer that is released. That is a step within the step,
   * whose words the outer one sends too: so nobody finds a half-done change, and no depth of answers exhausts the stack.
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

  /** Does something at the end of the step. */
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
    this.closeConnections((connection) => connection.homeName === name, `vhost '${name}' is deleted`)
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
    // The first of a set again and again: a flush may touch others, and itself.
    for (let [connection] = this.touched; connection !== undefined; [connection] = this.touched) {
      this.touched.delete(connection)
      connection.flush()
      this.runDeferred()
    }
  }

  /** Does now what was to be done at the end of the step; that may defer more. */
  runDeferred(): void {
    for (let action = this.deferred.shift(); action !== undefined; action = this.deferred.shift()) action()
  }
}
