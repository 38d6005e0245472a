/** A channel from the broker's side: its consumers, what it delivered, and its mode. */
import { frameEnd, FrameType } from "../../../protocol/constants.ts"
import type * as Methods from "../../../protocol/methods.generated.ts"
import { readProperties } from "../common/message.ts"
import type { Message } from "../common/message.ts"
import { addressed } from "../common/messageHeaders.ts"
import { Refusal } from "../common/refusal.ts"
import { integerArgument } from "../queues/consumerArguments.ts"
import type { Entry, Queue } from "../queues/queue.ts"
import type { VirtualHost } from "../routing/virtualHost.ts"
import { ChannelConsumer } from "./channelConsumer.ts"
import type { DeliveringChannel } from "./channelConsumer.ts"
import type { ReceivedContent } from "./channelFrames.ts"
import { unless } from "./channelHost.ts"
import type { ChannelHost } from "./channelHost.ts"
import { Confirms } from "./confirms.ts"
import { replyQueue } from "./directReplies.ts"
import type { ReplyReceiver } from "./directReplies.ts"
import { GlobalPrefetch } from "./globalPrefetch.ts"
import { checkProperties } from "./messageChecks.ts"
import { takeBack, timeoutOf, tooLate } from "./overdueDeliveries.ts"
import { isTopologyMethod, TopologyMethods } from "./topologyMethods.ts"
import { Unacknowledged } from "./unacknowledged.ts"
import type { Received } from "./unacknowledged.ts"

type Settlement = "acknowledge" | "requeue" | "reject" | "release"

/** What is done when the transaction is committed. */
interface Transaction {
  readonly publishes: Array<{ readonly method: Methods.BasicPublish; readonly message: Message }>
  readonly settlements: Array<
    { readonly settlement: Settlement; readonly received: ReadonlyArray<Received>; readonly failed: boolean }
  >
}

type Mode =
  | { readonly _tag: "Plain" }
  | { readonly _tag: "Confirm"; readonly confirms: Confirms }
  | { readonly _tag: "Transaction"; transaction: Transaction }

/** `access.request-ok` with ticket 1. The client's own codec does not know the class. */
const accessGranted = (channel: number): Uint8Array =>
  Uint8Array.of(FrameType.method, channel >> 8, channel & 255, 0, 0, 0, 6, 0, 30, 0, 11, 0, 1, frameEnd)

/** RabbitMQ settles by queue, then what came by `basic.get`, and then by consumer, each in the order of their names. */
const inOrder = (received: ReadonlyArray<Received>): ReadonlyArray<Received> =>
  received.toSorted((one, other) =>
    compare(one.queue.name, other.queue.name) || compare(one.consumer?.tag ?? "", other.consumer?.tag ?? "") ||
    one.deliveryTag - other.deliveryTag
  )

const compare = (one: string, other: string): number => one < other ? -1 : one > other ? 1 : 0

const emptyTransaction = (): Transaction => ({ publishes: [], settlements: [] })

export class ServerChannel implements DeliveringChannel, ReplyReceiver {
  readonly number: number
  private readonly host: ChannelHost
  private readonly consumers = new Map<string, ChannelConsumer>()
  private readonly unacknowledged: Unacknowledged
  private mode: Mode = { _tag: "Plain" }
  private lastDeliveryTag = 0
  private lastConsumerNumber = 0
  /** Of each consumer that is made from now on. */
  private prefetch = 0
  private readonly globalPrefetch = new GlobalPrefetch()
  private resumptions = 0
  private readonly topology: TopologyMethods
  /** The consumer of direct replies, and the address of it. */
  private replies: { readonly consumerTag: string; readonly address: string } | undefined
  private ended = false

  constructor(number: number, host: ChannelHost) {
    this.number = number
    this.host = host
    this.topology = new TopologyMethods(host)
    this.unacknowledged = new Unacknowledged({
      timers: host.timers,
      timeoutOf: (received) => timeoutOf(received, host.virtualHost.rules, host.consumerTimeoutMillis),
      onMissed: (overdue) => this.onOverdue(overdue)
    })
  }

  get virtualHost(): VirtualHost {
    return this.host.virtualHost
  }

  get consumerCount(): number {
    return this.consumers.size
  }

  get unacknowledgedCount(): number {
    return this.unacknowledged.size
  }

  get modeName(): Mode["_tag"] {
    return this.mode._tag
  }

  // ---------------------------------------------------------------------------
  // what the client sends
  // ---------------------------------------------------------------------------

  /** Takes a method, and its content if it has one. */
  onMethod(method: Methods.Method, content: ReceivedContent | undefined): void {
    if (method._tag === "basic.publish" && content !== undefined) return this.onPublish(method, content)
    const answer = this.answer(method)
    if (answer !== undefined) this.send(answer)
  }

  /** Grants the access of AMQP 0-8's `access.request`, as RabbitMQ does, which checks permissions elsewhere. */
  grantAccess(): void {
    if (this.mode._tag === "Confirm") this.mode.confirms.flush()
    this.host.sendBytes(accessGranted(this.number))
  }

  /** Does what a method asks for, and answers what to say, if it wants to be answered. */
  private answer(method: Methods.Method): Methods.ServerMethod | undefined {
    if (isTopologyMethod(method)) return this.topology.answer(method)
    switch (method._tag) {
      case "basic.qos":
        return this.qos(method)
      case "basic.consume":
        return this.consume(method)
      case "basic.cancel":
        this.cancel(method.consumerTag)
        return unless(method.noWait, { _tag: "basic.cancel-ok", consumerTag: method.consumerTag })
      case "basic.get":
        return this.get(method)
      case "basic.ack":
        return this.settle("acknowledge", this.unacknowledged.take(method.deliveryTag, method.multiple))
      case "basic.nack":
        return this.settle(
          method.requeue ? "requeue" : "reject",
          this.unacknowledged.take(method.deliveryTag, method.multiple)
        )
      case "basic.reject":
        return this.settle(
          method.requeue ? "requeue" : "reject",
          this.unacknowledged.take(method.deliveryTag, false),
          true
        )
      case "basic.recover":
      case "basic.recover-async":
        if (!method.requeue) throw new Refusal("notImplemented", "requeue=false")
        this.settleNow("requeue", this.unacknowledged.takeAll())
        return unless(method._tag === "basic.recover-async", { _tag: "basic.recover-ok" })
      case "confirm.select":
        if (this.mode._tag === "Transaction") {
          throw new Refusal("preconditionFailed", "cannot switch from tx to confirm mode")
        }
        if (this.mode._tag === "Plain") {
          this.mode = { _tag: "Confirm", confirms: new Confirms(this.confirm, this.host.timers) }
        }
        return unless(method.noWait, { _tag: "confirm.select-ok" })
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
        for (const { received } of this.endTransaction().settlements) this.unacknowledged.restore(received)
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

  /** What RabbitMQ checks of a message, and its reply address filled in. */
  private checked(message: Message): Message {
    this.virtualHost.checkPublish(message.exchange)
    const { replyTo } = message.properties
    const replies = replyTo === replyQueue ? this.replies : undefined
    if (replyTo === replyQueue && replies === undefined) {
      throw new Refusal("preconditionFailed", "fast reply consumer does not exist")
    }
    checkProperties(message.properties, this.host.username, this.virtualHost.rules)
    if (replies === undefined) return addressed(message)
    return addressed({ ...message, properties: { ...message.properties, replyTo: replies.address } })
  }

  private publish(method: Methods.BasicPublish, message: Message): void {
    const { host, mode } = this
    const isReply = message.exchange === "" && message.routingKey.startsWith(replyQueue)
    const { accepted, routed } = isReply && host.directReplies.deliver(this.virtualHost, message)
      ? { accepted: true, routed: true }
      : this.virtualHost.publish(message)
    // RabbitMQ waits for no queue, and so confirms an unroutable message alone and at once.
    if (!routed && mode._tag === "Confirm") mode.confirms.flush()
    if (!routed && method.mandatory) {
      host.sendContent(this.number, {
        _tag: "basic.return",
        replyCode: 312,
        replyText: "NO_ROUTE",
        exchange: message.exchange,
        routingKey: message.routingKey
      }, message)
    }
    if (mode._tag !== "Confirm") return
    mode.confirms.add(accepted ? host.confirmation(message) : "nack")
    if (routed) host.defer(mode.confirms)
    else mode.confirms.flush()
  }

  private readonly confirm = (_tag: "basic.ack" | "basic.nack", deliveryTag: number, multiple: boolean): void => {
    if (this.ended) return
    this.host.send(
      this.number,
      // `requeue` has no meaning here; RabbitMQ leaves it at the method's default.
      _tag === "basic.ack" ? { _tag, deliveryTag, multiple } : { _tag, deliveryTag, multiple, requeue: true }
    )
  }

  // ---------------------------------------------------------------------------
  // transactions
  // ---------------------------------------------------------------------------

  private endTransaction(): Transaction {
    const { mode } = this
    if (mode._tag !== "Transaction") throw new Refusal("preconditionFailed", "channel is not transactional")
    const { transaction } = mode
    mode.transaction = emptyTransaction()
    return transaction
  }

  private commit({ publishes, settlements }: Transaction): void {
    for (const { message, method } of publishes) this.publish(method, message)
    for (const { failed, received, settlement } of settlements) this.settleNow(settlement, received, failed)
  }

  // ---------------------------------------------------------------------------
  // consuming
  // ---------------------------------------------------------------------------

  private qos(given: Methods.BasicQos): Methods.BasicQosOk {
    const method = { ...given, global: given.global && this.virtualHost.rules.limitsChannels }
    if (method.prefetchSize !== 0) {
      throw new Refusal("notImplemented", `prefetch_size!=0 (${method.prefetchSize})`)
    }
    // A limit of consumers ends that of the channel, as in RabbitMQ.
    this.globalPrefetch.set(method.global ? method.prefetchCount : 0, this.unacknowledged.size)
    if (!method.global) this.prefetch = method.prefetchCount
    this.resume()
    return { _tag: "basic.qos-ok" }
  }

  private consume(method: Methods.BasicConsume): undefined {
    const named = this.topology.naming(method)
    // Before anything else. The consumer of replies is not among those that RabbitMQ looks at.
    if (this.consumers.has(method.consumerTag)) {
      throw new Refusal("notAllowed", `attempt to reuse consumer tag '${method.consumerTag}'`)
    }
    const consumerTag = method.consumerTag === ""
      ? `amq.ctag-${this.number}.${++this.lastConsumerNumber}`
      : method.consumerTag
    if (method.queue === replyQueue) return this.consumeReplies({ ...method, consumerTag })
    this.host.authorize("read", "queue", named.queue)
    const queue = this.virtualHost.queue(named.queue, this.host)
    const consumer = new ChannelConsumer(this, queue, {
      tag: consumerTag,
      noAck: method.noAck,
      exclusive: method.exclusive,
      priority: integerArgument(method.arguments, "x-priority") ?? 0,
      prefetch: this.prefetch,
      globalPrefetch: this.globalPrefetch.isActive,
      timeoutMillis: integerArgument(method.arguments, "x-consumer-timeout"),
      arguments: method.arguments
    })
    this.consumers.set(consumerTag, consumer)
    // Before the first delivery, which the queue may make at once; taken back if it refuses the consumer.
    this.starting = { consumer, announce: method.noWait ? undefined : { _tag: "basic.consume-ok", consumerTag } }
    try {
      queue.consume(consumer)
    } catch (error) {
      this.consumers.delete(consumerTag)
      this.starting = undefined
      throw error
    }
    this.announce()
  }

  /** A consumer whose consume-ok has to be sent before anything else of it. */
  private starting:
    | { readonly consumer: ChannelConsumer; readonly announce: Methods.BasicConsumeOk | undefined }
    | undefined

  private announce(): void {
    const announce = this.starting?.announce
    this.starting = undefined
    if (announce !== undefined) this.send(announce)
  }

  private consumeReplies(method: Methods.BasicConsume): undefined {
    if (!method.noAck) throw new Refusal("preconditionFailed", "reply consumer cannot acknowledge")
    if (this.replies !== undefined) throw new Refusal("preconditionFailed", "reply consumer already set")
    this.replies = { consumerTag: method.consumerTag, address: this.host.directReplies.register(this) }
    if (!method.noWait) this.send({ _tag: "basic.consume-ok", consumerTag: method.consumerTag })
  }

  private cancel(consumerTag: string): void {
    if (this.replies?.consumerTag === consumerTag) return this.endReplies()
    const consumer = this.consumers.get(consumerTag)
    if (consumer === undefined) return
    this.consumers.delete(consumerTag)
    consumer.queue.cancel(consumer)
  }

  private endReplies(): void {
    if (this.replies === undefined) return
    this.host.directReplies.remove(this.replies.address)
    this.replies = undefined
  }

  private get(method: Methods.BasicGet): Methods.BasicGetEmpty | undefined {
    const named = this.topology.naming(method)
    this.host.authorize("read", "queue", named.queue)
    const queue = this.virtualHost.queue(named.queue, this.host)
    const entry = queue.get(method.noAck)
    if (entry === undefined) return { _tag: "basic.get-empty" }
    const { exchange, routingKey } = entry.message
    const deliveryTag = ++this.lastDeliveryTag
    if (!method.noAck) {
      this.unacknowledged.add({ deliveryTag, queue, entry, consumer: undefined, at: this.host.timers.now() })
    }
    this.host.sendContent(this.number, {
      _tag: "basic.get-ok",
      deliveryTag,
      redelivered: entry.redelivered,
      exchange,
      routingKey,
      messageCount: queue.messageCount
    }, entry.message)
  }

  get mayDeliver(): boolean {
    return !this.ended && !this.host.isCongested
  }

  get hasCredit(): boolean {
    return !this.globalPrefetch.isReached
  }

  deliver(consumer: ChannelConsumer, queue: Queue, entry: Entry): void {
    if (this.starting?.consumer === consumer) this.announce()
    const { exchange, routingKey } = entry.message
    const deliveryTag = ++this.lastDeliveryTag
    if (!consumer.noAck) {
      consumer.unacknowledged++
      if (queue.type === "classic") this.globalPrefetch.delivered()
      this.unacknowledged.add({ deliveryTag, queue, entry, consumer, at: this.host.timers.now() })
    }
    this.host.sendContent(this.number, {
      _tag: "basic.deliver",
      consumerTag: consumer.tag,
      deliveryTag,
      redelivered: entry.redelivered,
      exchange,
      routingKey
    }, entry.message)
  }

  deliverReply(message: Message): void {
    if (this.replies === undefined) return
    // RabbitMQ gives every reply the same delivery tag: there is nothing to acknowledge.
    this.host.sendContent(this.number, {
      _tag: "basic.deliver",
      consumerTag: this.replies.consumerTag,
      deliveryTag: 1,
      redelivered: false,
      exchange: message.exchange,
      routingKey: message.routingKey
    }, message)
  }

  consumerCancelled(consumer: ChannelConsumer): void {
    if (this.consumers.get(consumer.tag) !== consumer) return
    this.consumers.delete(consumer.tag)
    if (this.host.notifiesCancel) this.send({ _tag: "basic.cancel", consumerTag: consumer.tag, noWait: true })
  }

  /** Delivers what waited for room. Each time another queue begins, or the first would have all of a limit that they share. */
  resume(): void {
    const queues = [...new Set([...this.consumers.values()].map(({ queue }) => queue))]
    const first = this.resumptions++ % Math.max(1, queues.length)
    for (const queue of [...queues.slice(first), ...queues.slice(0, first)]) queue.deliver()
  }

  // ---------------------------------------------------------------------------
  // settling
  // ---------------------------------------------------------------------------

  /** `failed`: by `basic.reject`, which RabbitMQ 4.3 takes for a failure. */
  private settle(settlement: Settlement, received: ReadonlyArray<Received>, failed = false): undefined {
    if (this.mode._tag === "Transaction") this.mode.transaction.settlements.push({ settlement, received, failed })
    else this.settleNow(settlement, received, failed)
  }

  private settleNow(settlement: Settlement, received: ReadonlyArray<Received>, failed = false): void {
    const byQueue = new Map<Queue, Array<Entry>>()
    let delivered = 0
    // Before the queues hear of it: they deliver to whoever has room by then.
    for (const { consumer, deliveryTag, entry, queue } of settlement === "acknowledge" ? received : inOrder(received)) {
      if (consumer !== undefined && !consumer.overdue.delete(deliveryTag)) {
        consumer.unacknowledged--
        delivered++
      }
      const entries = byQueue.get(queue)
      if (entries === undefined) byQueue.set(queue, [entry])
      else entries.push(entry)
    }
    this.globalPrefetch.settled(delivered)
    this.virtualHost.serveAllQueues(() => {
      for (const [queue, entries] of byQueue) queue[settlement](entries, failed)
    })
    if (this.globalPrefetch.isActive) this.resume()
    else for (const queue of byQueue.keys()) queue.deliver()
  }

  /** The client keeps messages for too long. */
  private onOverdue(overdue: ReadonlyArray<Received>): void {
    const { consumerTimeoutMillis, notifiesCancel } = this.host
    const timeoutMillis = this.virtualHost.rules.overdueConsumers === "the channel is closed"
      ? consumerTimeoutMillis
      : takeBack(overdue, (consumer) => {
        if (!notifiesCancel || this.consumers.get(consumer.tag) !== consumer) return false
        this.send({ _tag: "basic.cancel", consumerTag: consumer.tag, noWait: true })
        return true
      })
    if (timeoutMillis !== undefined) this.host.refuse(tooLate(this.number, timeoutMillis), this.number)
  }

  // ---------------------------------------------------------------------------
  // the end
  // ---------------------------------------------------------------------------

  /** Whatever is said on the channel comes after the confirms that are due. */
  private send(method: Methods.ServerMethod): void {
    if (this.mode._tag === "Confirm") this.mode.confirms.flush()
    this.host.send(this.number, method)
  }

  /** Delivers nothing more. All channels of a connection stop before the first of them ends and puts its messages back. */
  stop(): void {
    if (this.mode._tag === "Confirm") this.mode.confirms.flush()
    this.ended = true
  }

  /** Ends what the channel has: its consumers first, so that none is given what is put back. */
  end(): void {
    this.stop()
    this.endReplies()
    const consumers = [...this.consumers.values()]
    this.consumers.clear()
    for (const consumer of consumers) consumer.queue.cancel(consumer)
    if (this.mode._tag === "Transaction") {
      for (const { received } of this.endTransaction().settlements) this.unacknowledged.restore(received)
    }
    this.unacknowledged.end()
    this.settleNow("release", this.unacknowledged.takeAll())
  }
}
