/** A channel as the broker sees it: handles the methods of its client. */
import { frameEnd, FrameType } from "../../../protocol/constants.ts"
import type * as Methods from "../../../protocol/methods.generated.ts"
import { readProperties } from "../common/message.ts"
import type { Message } from "../common/message.ts"
import { addressed } from "../common/messageHeaders.ts"
import { Refusal } from "../common/refusal.ts"
import type { Entry, Queue } from "../queues/queue.ts"
import type { VirtualHost } from "../routing/virtualHost.ts"
import type { ChannelConsumer } from "./channelConsumer.ts"
import { ChannelConsumers } from "./channelConsumers.ts"
import type { ConsumingChannel } from "./channelConsumers.ts"
import type { ReceivedContent } from "./channelFrames.ts"
import { unlessNoWait } from "./channelHost.ts"
import type { ChannelHost } from "./channelHost.ts"
import { Confirms } from "./confirms.ts"
import { reclaimOverdue, timedOut } from "./consumerTimeout.ts"
import { Deliveries } from "./deliveries.ts"
import type { Settlement } from "./deliveries.ts"
import { replyQueue } from "./directReplies.ts"
import { checkProperties } from "./propertyChecks.ts"
import { isTopologyMethod, TopologyMethods } from "./topologyMethods.ts"
import type { Received } from "./unacknowledged.ts"

/** What is done when the transaction is committed. */
interface Transaction {
  readonly publishes: Array<{ readonly method: Methods.BasicPublish; readonly message: Message }>
  readonly settlements: Array<Settlement>
}

const emptyTransaction = (): Transaction => ({ publishes: [], settlements: [] })

type Mode =
  | { readonly _tag: "Plain" }
  | { readonly _tag: "Confirm"; readonly confirms: Confirms }
  | { readonly _tag: "Transaction"; transaction: Transaction }

/** `access.request-ok` with ticket 1, whose class this client's codec does not know. */
const accessGranted = (channel: number): Uint8Array =>
  Uint8Array.of(FrameType.method, channel >> 8, channel & 255, 0, 0, 0, 6, 0, 30, 0, 11, 0, 1, frameEnd)

export class ServerChannel implements ConsumingChannel {
  readonly number: number
  private readonly host: ChannelHost
  private readonly topology: TopologyMethods
  private readonly consumers: ChannelConsumers
  private readonly deliveries: Deliveries
  private mode: Mode = { _tag: "Plain" }
  private hasEnded = false

  constructor(number: number, host: ChannelHost) {
    this.number = number
    this.host = host
    this.topology = new TopologyMethods(host)
    this.consumers = new ChannelConsumers(this, host)
    this.deliveries = new Deliveries(host, (overdue) => this.onOverdue(overdue))
  }

  get virtualHost(): VirtualHost {
    return this.host.virtualHost
  }

  get consumerCount(): number {
    return this.consumers.size
  }

  get unacknowledgedCount(): number {
    return this.deliveries.unacknowledged.size
  }

  get modeName(): Mode["_tag"] {
    return this.mode._tag
  }

  // ---------------------------------------------------------------------------
  // methods
  // ---------------------------------------------------------------------------

  /** Handles a method, with its content if it carries one. */
  onMethod(method: Methods.Method, content: ReceivedContent | undefined): void {
    if (method._tag === "basic.publish" && content !== undefined) return this.onPublish(method, content)
    const reply = this.handle(method)
    if (reply !== undefined) this.send(reply)
  }

  /** Grants AMQP 0-8's `access.request`, as RabbitMQ does: permissions are checked elsewhere. */
  grantAccess(): void {
    this.flushConfirms()
    this.host.sendBytes(accessGranted(this.number))
  }

  /** Handles a method and returns the reply, if there is one. */
  private handle(method: Methods.Method): Methods.ServerMethod | undefined {
    if (isTopologyMethod(method)) return this.topology.handle(method)
    const { unacknowledged } = this.deliveries
    switch (method._tag) {
      case "basic.qos":
        return this.qos(method)
      case "basic.consume":
        this.consumers.add(this.topology.named(method), this.deliveries.globalPrefetch.isActive)
        return
      case "basic.cancel":
        this.consumers.cancel(method.consumerTag)
        return unlessNoWait(method.noWait, { _tag: "basic.cancel-ok", consumerTag: method.consumerTag })
      case "basic.get":
        return this.get(this.topology.named(method))
      case "basic.ack": {
        const received = unacknowledged.take(method.deliveryTag, method.multiple)
        return this.settle({ kind: "acknowledge", received, failed: false })
      }
      case "basic.nack": {
        const received = unacknowledged.take(method.deliveryTag, method.multiple)
        return this.settle({ kind: method.requeue ? "requeue" : "reject", received, failed: false })
      }
      case "basic.reject": {
        const received = unacknowledged.take(method.deliveryTag, false)
        return this.settle({ kind: method.requeue ? "requeue" : "reject", received, failed: true })
      }
      case "basic.recover":
      case "basic.recover-async":
        if (!method.requeue) throw new Refusal("notImplemented", "requeue=false")
        this.settleNow({ kind: "requeue", received: unacknowledged.takeAll(), failed: false })
        return unlessNoWait(method._tag === "basic.recover-async", { _tag: "basic.recover-ok" })
      case "confirm.select":
        if (this.mode._tag === "Transaction") {
          throw new Refusal("preconditionFailed", "cannot switch from tx to confirm mode")
        }
        if (this.mode._tag === "Plain") {
          this.mode = { _tag: "Confirm", confirms: new Confirms(this.confirm, this.host.timers) }
        }
        return unlessNoWait(method.noWait, { _tag: "confirm.select-ok" })
      case "tx.select":
        if (this.mode._tag === "Confirm") {
          throw new Refusal("preconditionFailed", "cannot switch from confirm to tx mode")
        }
        if (this.mode._tag === "Plain") this.mode = { _tag: "Transaction", transaction: emptyTransaction() }
        return { _tag: "tx.select-ok" }
      case "tx.commit":
        this.commit(this.endTransaction())
        return { _tag: "tx.commit-ok" }
      case "tx.rollback":
        this.rollBack(this.endTransaction())
        return { _tag: "tx.rollback-ok" }
      case "channel.flow":
        if (!method.active) throw new Refusal("notImplemented", "active=false")
        return { _tag: "channel.flow-ok", active: true }
      default:
        throw new Refusal("commandInvalid", "unimplemented method")
    }
  }

  // ---------------------------------------------------------------------------
  // publishing
  // ---------------------------------------------------------------------------

  private onPublish(method: Methods.BasicPublish, { body, bodySize, properties }: ReceivedContent): void {
    const { host } = this
    if (method.immediate) throw new Refusal("notImplemented", "immediate=true")
    if (bodySize > host.maxMessageSize) {
      throw new Refusal(
        "preconditionFailed",
        `message size ${bodySize} is larger than configured max size ${host.maxMessageSize}`
      )
    }
    host.authorize("write", "exchange", method.exchange)
    this.virtualHost.checkPublish(method.exchange)
    const { exchange, routingKey } = method
    const message = this.checked({ exchange, routingKey, properties: readProperties(properties), body })
    if (this.mode._tag === "Transaction") this.mode.transaction.publishes.push({ method, message })
    else this.publish(method, message)
  }

  /** Checks the properties, and replaces those that the broker acts on. */
  private checked(message: Message): Message {
    const { replyTo } = message.properties
    const address = replyTo === replyQueue ? this.consumers.replyAddress : replyTo
    if (replyTo === replyQueue && address === undefined) {
      throw new Refusal("preconditionFailed", "fast reply consumer does not exist")
    }
    checkProperties(message.properties, this.host.username, this.virtualHost.rules)
    if (address === replyTo) return addressed(message)
    return addressed({ ...message, properties: { ...message.properties, replyTo: address } })
  }

  /** Routes a message, and returns whether a commit with it fails. */
  private publish(method: Methods.BasicPublish, message: Message): boolean {
    const { host, mode } = this
    const isReply = message.exchange === "" && message.routingKey.startsWith(replyQueue)
    const { accepted, failsCommit, routed } = isReply && host.directReplies.deliver(this.virtualHost, message)
      ? { accepted: true, failsCommit: false, routed: true }
      : this.virtualHost.publish(message)
    // RabbitMQ confirms an unroutable message at once and on its own, because it waits for no queue.
    if (!routed) this.flushConfirms()
    if (!routed && method.mandatory) {
      host.sendContent(this.number, {
        _tag: "basic.return",
        replyCode: 312,
        replyText: "NO_ROUTE",
        exchange: message.exchange,
        routingKey: message.routingKey
      }, message)
    }
    if (mode._tag !== "Confirm") return failsCommit
    mode.confirms.add(accepted ? host.confirmation(message) : "nack")
    if (routed) host.defer(mode.confirms)
    else mode.confirms.flush()
    return failsCommit
  }

  private readonly confirm = (_tag: "basic.ack" | "basic.nack", deliveryTag: number, multiple: boolean): void => {
    if (this.hasEnded) return
    this.host.send(
      this.number,
      // `requeue` is meaningless here; RabbitMQ leaves it at the default of the method.
      _tag === "basic.ack" ? { _tag, deliveryTag, multiple } : { _tag, deliveryTag, multiple, requeue: true }
    )
  }

  private flushConfirms(): void {
    if (this.mode._tag === "Confirm") this.mode.confirms.flush()
  }

  // ---------------------------------------------------------------------------
  // transactions
  // ---------------------------------------------------------------------------

  /** Returns the current transaction and begins another one. */
  private endTransaction(): Transaction {
    const { mode } = this
    if (mode._tag !== "Transaction") throw new Refusal("preconditionFailed", "channel is not transactional")
    const { transaction } = mode
    mode.transaction = emptyTransaction()
    return transaction
  }

  /** As in RabbitMQ, everything takes effect even if a queue refuses a message. */
  private commit({ publishes, settlements }: Transaction): void {
    let fails = false
    for (const { message, method } of publishes) fails = this.publish(method, message) || fails
    for (const settlement of settlements) this.settleNow(settlement)
    if (fails) throw new Refusal("preconditionFailed", "partial tx completion")
  }

  private rollBack({ settlements }: Transaction): void {
    for (const { received } of settlements) this.deliveries.unacknowledged.restore(received)
  }

  // ---------------------------------------------------------------------------
  // consuming
  // ---------------------------------------------------------------------------

  private qos(method: Methods.BasicQos): Methods.BasicQosOk {
    if (method.prefetchSize !== 0) {
      throw new Refusal("notImplemented", `prefetch_size!=0 (${method.prefetchSize})`)
    }
    const limitsChannel = method.global && this.virtualHost.rules.limitsChannels
    // As in RabbitMQ, a limit for consumers ends that of the channel.
    this.deliveries.globalPrefetch.set(limitsChannel ? method.prefetchCount : 0, this.unacknowledgedCount)
    if (!limitsChannel) this.consumers.prefetch = method.prefetchCount
    this.resume()
    return { _tag: "basic.qos-ok" }
  }

  private get(method: Methods.BasicGet): Methods.BasicGetEmpty | undefined {
    this.host.authorize("read", "queue", method.queue)
    const queue = this.virtualHost.queue(method.queue, this.host)
    const entry = queue.get(method.noAck)
    if (entry === undefined) return { _tag: "basic.get-empty" }
    const { exchange, routingKey } = entry.message
    this.host.sendContent(this.number, {
      _tag: "basic.get-ok",
      deliveryTag: this.deliveries.fetch(queue, entry, method.noAck),
      redelivered: entry.redelivered,
      exchange,
      routingKey,
      messageCount: queue.messageCount
    }, entry.message)
  }

  get mayDeliver(): boolean {
    return !this.hasEnded && !this.host.isCongested
  }

  get hasCredit(): boolean {
    return !this.deliveries.globalPrefetch.isReached
  }

  deliver(consumer: ChannelConsumer, queue: Queue, entry: Entry): void {
    this.consumers.sendConsumeOk(consumer)
    const { exchange, routingKey } = entry.message
    this.host.sendContent(this.number, {
      _tag: "basic.deliver",
      consumerTag: consumer.tag,
      deliveryTag: this.deliveries.deliver(queue, entry, consumer),
      redelivered: entry.redelivered,
      exchange,
      routingKey
    }, entry.message)
  }

  deliverReply(message: Message): void {
    const { replyConsumerTag } = this.consumers
    if (replyConsumerTag === undefined) return
    // RabbitMQ gives every reply the same delivery tag, because none can be acknowledged.
    this.host.sendContent(this.number, {
      _tag: "basic.deliver",
      consumerTag: replyConsumerTag,
      deliveryTag: 1,
      redelivered: false,
      exchange: message.exchange,
      routingKey: message.routingKey
    }, message)
  }

  consumerCancelled(consumer: ChannelConsumer): void {
    this.consumers.queueDeleted(consumer)
  }

  /** Delivers what waits for room. */
  resume(): void {
    this.consumers.resume()
  }

  // ---------------------------------------------------------------------------
  // settling
  // ---------------------------------------------------------------------------

  private settle(settlement: Settlement): undefined {
    if (this.mode._tag === "Transaction") this.mode.transaction.settlements.push(settlement)
    else this.settleNow(settlement)
  }

  private settleNow(settlement: Settlement): void {
    const queues = this.deliveries.settle(settlement)
    if (this.deliveries.globalPrefetch.isActive) this.resume()
    else for (const queue of queues) queue.deliver()
  }

  /** The client has kept messages for longer than the consumer timeout. */
  private onOverdue(overdue: ReadonlyArray<Received>): void {
    const timeoutMillis = this.virtualHost.rules.overdueConsumers === "the channel is closed"
      ? this.host.consumerTimeoutMillis
      : reclaimOverdue(overdue, (consumer) => this.consumers.has(consumer) && this.consumers.notifyCancelled(consumer))
    if (timeoutMillis !== undefined) this.host.refuse(timedOut(this.number, timeoutMillis), this.number)
  }

  // ---------------------------------------------------------------------------
  // sending and closing
  // ---------------------------------------------------------------------------

  /** Sends a method after the confirms that are due. */
  send(method: Methods.ServerMethod): void {
    this.flushConfirms()
    this.host.send(this.number, method)
  }

  /** Ends all deliveries. All channels of a connection stop before the first one ends and puts its messages back. */
  stop(): void {
    this.flushConfirms()
    this.hasEnded = true
  }

  /** Removes the consumers and puts the messages back, in this order, so that none of the consumers gets them. */
  end(): void {
    this.stop()
    this.consumers.removeAll()
    const { unacknowledged } = this.deliveries
    if (this.mode._tag === "Transaction") this.rollBack(this.endTransaction())
    unacknowledged.stop()
    this.settleNow({ kind: "release", received: unacknowledged.takeAll(), failed: false })
  }
}
