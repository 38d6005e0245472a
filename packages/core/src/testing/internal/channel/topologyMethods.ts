/** The methods of the classes exchange and queue: their permissions, and their effects on the virtual host. */
import type * as Methods from "../../../protocol/methods.generated.ts"
import { Refusal } from "../common/refusal.ts"
import { unlessNoWait } from "./channelHost.ts"
import type { ChannelHost } from "./channelHost.ts"
import { replyQueue } from "./directReplies.ts"

type TopologyMethod = Extract<Methods.ClientMethod, { readonly _tag: `${"exchange" | "queue"}.${string}` }>

export const isTopologyMethod = (method: Methods.Method): method is TopologyMethod => topologyTags.has(method._tag)

const topologyTags: ReadonlySet<string> = new Set<TopologyMethod["_tag"]>([
  "exchange.declare",
  "exchange.delete",
  "exchange.bind",
  "exchange.unbind",
  "queue.declare",
  "queue.bind",
  "queue.unbind",
  "queue.purge",
  "queue.delete"
])

export class TopologyMethods {
  private readonly host: ChannelHost
  /** The queue that was declared last on this channel, which an empty name stands for. */
  private lastQueue: string | undefined

  constructor(host: ChannelHost) {
    this.host = host
  }

  /** Handles a method and returns the reply, if there is one. */
  handle(method: TopologyMethod): Methods.ServerMethod | undefined {
    switch (method._tag) {
      case "exchange.declare":
        if (!method.passive) {
          this.host.authorize("configure", "exchange", method.exchange)
          const alternate = method.arguments["alternate-exchange"]
          if (typeof alternate === "string") {
            this.host.authorize("read", "exchange", method.exchange)
            this.host.authorize("write", "exchange", alternate)
          }
        }
        this.host.virtualHost.declareExchange(method)
        return unlessNoWait(method.noWait, { _tag: "exchange.declare-ok" })
      case "exchange.delete":
        this.host.authorize("configure", "exchange", method.exchange)
        this.host.virtualHost.deleteExchange(method)
        return unlessNoWait(method.noWait, { _tag: "exchange.delete-ok" })
      case "exchange.bind":
      case "exchange.unbind":
        this.host.authorize("write", "exchange", method.destination)
        this.host.authorize("read", "exchange", method.source)
        if (method._tag === "exchange.bind") this.host.virtualHost.bindExchange(method)
        else this.host.virtualHost.unbindExchange(method)
        return unlessNoWait(method.noWait, { _tag: `${method._tag}-ok` })
      case "queue.declare":
        return this.declareQueue(method)
      case "queue.bind":
      case "queue.unbind": {
        const named = this.named(method)
        const routed = method.routingKey === "" && method.queue === "" ? { ...named, routingKey: named.queue } : named
        this.host.authorize("write", "queue", named.queue)
        this.host.authorize("read", "exchange", method.exchange)
        if (routed._tag === "queue.bind") {
          this.host.virtualHost.bindQueue(routed, this.host)
          return unlessNoWait(routed.noWait, { _tag: "queue.bind-ok" })
        }
        this.host.virtualHost.unbindQueue(routed, this.host)
        return { _tag: "queue.unbind-ok" }
      }
      case "queue.purge": {
        const named = this.named(method)
        this.host.authorize("read", "queue", named.queue)
        const messageCount = this.host.virtualHost.purgeQueue(named, this.host)
        return unlessNoWait(method.noWait, { _tag: "queue.purge-ok", messageCount })
      }
      case "queue.delete": {
        const named = this.named(method)
        this.host.authorize("configure", "queue", named.queue)
        const messageCount = this.host.virtualHost.deleteQueue(named, this.host)
        return unlessNoWait(method.noWait, { _tag: "queue.delete-ok", messageCount })
      }
    }
  }

  private declareQueue(method: Methods.QueueDeclare): Methods.QueueDeclareOk | undefined {
    if (method.queue === replyQueue || this.host.directReplies.has(this.host.virtualHost, method.queue)) {
      return unlessNoWait(method.noWait, {
        _tag: "queue.declare-ok",
        queue: method.queue,
        messageCount: 0,
        consumerCount: 1
      })
    }
    if (!method.passive) {
      this.host.authorize("configure", "queue", method.queue)
      const deadLetterExchange = method.arguments["x-dead-letter-exchange"]
      if (typeof deadLetterExchange === "string") {
        this.host.authorize("read", "queue", method.queue)
        this.host.authorize("write", "exchange", deadLetterExchange)
      }
    }
    const queue = this.host.virtualHost.declareQueue(method, this.host)
    this.lastQueue = queue.name
    return unlessNoWait(method.noWait, { _tag: "queue.declare-ok", queue: queue.name, ...queue.declared })
  }

  /** The method with the name of its queue instead of an empty name. */
  named<M extends { readonly queue: string }>(method: M): M {
    if (method.queue !== "") return method
    if (this.lastQueue === undefined) throw new Refusal("notFound", "no previously declared queue")
    return { ...method, queue: this.lastQueue }
  }
}
