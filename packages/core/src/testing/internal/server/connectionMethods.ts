/** The methods on channel 0: the handshake, `connection.close` and `connection.update-secret`. */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import type * as Methods from "../../../protocol/methods.generated.ts"
import { Refusal } from "../common/refusal.ts"
import { mayOpen } from "../common/users.ts"
import type { User } from "../common/users.ts"
import type { VirtualHost } from "../routing/virtualHost.ts"
import { internalError, malformedText } from "./closeReasons.ts"
import type { CloseReason } from "./closeReasons.ts"
import type { ServerOptions } from "./connectionHost.ts"
import { checkTune, logIn } from "./handshake.ts"
import { idsOf, MethodReader, noMethod } from "./methodReader.ts"
import type { MethodIds } from "./methodReader.ts"

/** The state of a connection, named as in RabbitMQ's reply texts where they name it. */
export type Phase =
  | "header"
  | "starting"
  | "tuning"
  | "opening"
  | "running"
  /** A close or a close-ok was sent: the client has to reply or to close the socket. */
  | "closed"
  /** Nothing more is read, and the socket is closed after a while. */
  | "deaf"
  | "gone"

/** The connection and its broker. */
export interface ControlledConnection {
  phase: Phase
  readonly options: ServerOptions
  userNamed(name: string): User | undefined
  virtualHostNamed(name: string): VirtualHost | undefined
  send(channel: number, method: Methods.ServerMethod): void
  /** Applies what the client has negotiated. */
  tuned(method: Methods.ConnectionTuneOk): void
  /** The handshake is complete. */
  opened(): void
  /** Replies to the client's close. */
  confirmClose(): void
  /** Closes the connection for an error of the client. */
  fail(reason: CloseReason, ids: MethodIds): void
  /** Closes the socket. */
  end(): void
}

export class ConnectionMethods {
  clientProperties: FieldTable = {}
  user: User | undefined
  virtualHost: VirtualHost | undefined
  private readonly connection: ControlledConnection
  private readonly methods = new MethodReader()

  constructor(connection: ControlledConnection) {
    this.connection = connection
  }

  /** Whether the client announced a capability. */
  supports(capability: string): boolean {
    const { capabilities } = this.clientProperties
    return typeof capabilities === "object" && capabilities !== null && Reflect.get(capabilities, capability) === true
  }

  /** Handles the payload of a method frame. */
  onMethod(payload: Uint8Array): void {
    const { connection } = this
    const read = this.methods.read(payload)
    const ids = idsOf(payload)
    switch (read) {
      case "unknown":
        return connection.end()
      case "malformed":
      case "malformed table":
        return connection.fail(internalError, noMethod)
      case "malformed text":
        return connection.fail(malformedText(), ids)
      case "access.request":
      case "unimplemented":
        return connection.fail(this.unexpectedMethod(), ids)
    }
    try {
      this.handle(read)
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      connection.fail(error, ids)
    }
  }

  /** Handles the payload of a method frame on a closed connection, which the client may close as often as it likes. */
  onMethodAfterClose(payload: Uint8Array): void {
    const read = this.methods.read(payload)
    if (read === "unknown") this.connection.end()
    if (typeof read === "string") return
    if (read._tag === "connection.close-ok") this.connection.end()
    else if (read._tag === "connection.close") this.connection.send(0, { _tag: "connection.close-ok" })
  }

  private handle(method: Methods.Method): void {
    switch (this.connection.phase) {
      case "starting":
        if (method._tag === "connection.start-ok") return this.logIn(method)
        break
      case "tuning":
        if (method._tag === "connection.tune-ok") return this.tune(method)
        break
      case "opening":
        if (method._tag === "connection.open") return this.open(method.virtualHost)
        break
      case "running":
        if (method._tag === "connection.close") return this.connection.confirmClose()
        if (method._tag === "connection.update-secret") {
          method.newSecret.fill(0)
          return this.connection.send(0, { _tag: "connection.update-secret-ok" })
        }
    }
    throw this.unexpectedMethod()
  }

  private unexpectedMethod(): Refusal {
    return new Refusal("channelError", `unexpected method in connection state ${this.connection.phase}`)
  }

  private logIn(method: Methods.ConnectionStartOk): void {
    const { connection } = this
    this.clientProperties = method.clientProperties
    const { channelMax, frameMax, heartbeatSeconds, mechanisms } = connection.options
    this.user = logIn(method, mechanisms, (name) => connection.userNamed(name))
    connection.phase = "tuning"
    connection.send(0, { _tag: "connection.tune", channelMax, frameMax, heartbeat: heartbeatSeconds })
  }

  private tune(method: Methods.ConnectionTuneOk): void {
    checkTune(method, this.connection.options)
    this.connection.phase = "opening"
    this.connection.tuned(method)
  }

  private open(name: string): void {
    const virtualHost = this.connection.virtualHostNamed(name)
    if (virtualHost === undefined) throw new Refusal("notAllowed", `vhost ${name} not found`)
    if (this.user === undefined || !mayOpen(this.user, name)) {
      throw new Refusal("notAllowed", `access to vhost '${name}' refused for user '${this.user?.name ?? ""}'`)
    }
    this.virtualHost = virtualHost
    this.connection.phase = "running"
    this.connection.opened()
    this.connection.send(0, { _tag: "connection.open-ok" })
  }
}
