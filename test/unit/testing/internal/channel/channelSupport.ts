/** A channel of the embedded broker, whose methods are called directly and whose replies are collected. */
import type { FieldTable } from "@effect-amqp/core/protocol/fieldTable"
import type { Method } from "@effect-amqp/core/protocol/methods.generated"
import type { Version } from "@effect-amqp/core/testing/AmqpBroker"
import { ServerChannel } from "@effect-amqp/core/testing/internal/channel/channel"
import type { ChannelHost } from "@effect-amqp/core/testing/internal/channel/channelHost"
import { DirectReplies } from "@effect-amqp/core/testing/internal/channel/directReplies"
import { rulesOf } from "@effect-amqp/core/testing/internal/common/versionRules"
import { VirtualHost } from "@effect-amqp/core/testing/internal/routing/virtualHost"
import * as calls from "../../../../support/calls.ts"
import { ManualTimers } from "../queues/queueSupport.ts"

/** The properties of a message without any. */
const noProperties = Uint8Array.of(0, 0)

export class TestChannel {
  /** What the channel has sent: the tag of a method, and the body if it carries one. */
  readonly sent: Array<string> = []
  readonly virtualHost: VirtualHost
  private readonly host: ChannelHost
  private channel: ServerChannel

  constructor(version: Version = "3.10") {
    const timers = new ManualTimers()
    this.virtualHost = new VirtualHost("/", timers, rulesOf(version), (action) => action())
    this.host = {
      isOwner: true,
      virtualHost: this.virtualHost,
      username: "guest",
      isCongested: false,
      notifiesCancel: true,
      directReplies: new DirectReplies(),
      maxMessageSize: 1000,
      timers,
      consumerTimeoutMillis: Infinity,
      confirmation: () => "ack",
      authorize: () => {},
      send: (_, method) => void this.sent.push(method._tag),
      sendBytes: () => {},
      sendContent: (_, method, { body }) => void this.sent.push(`${method._tag} ${new TextDecoder().decode(body)}`),
      refuse: () => {},
      defer: (deferred) => deferred.flush()
    }
    this.channel = new ServerChannel(1, this.host)
  }

  /** Calls methods without content. */
  call(...methods: ReadonlyArray<Method>): void {
    for (const method of methods) this.channel.onMethod(method, undefined)
  }

  declare(queue: string, table: FieldTable = {}): void {
    this.call(calls.declareQueue(queue, { durable: true, arguments: table }).method)
  }

  publish(queue: string, ...texts: ReadonlyArray<string>): void {
    for (const text of texts) {
      const body = new TextEncoder().encode(text)
      this.channel.onMethod(
        { _tag: "basic.publish", exchange: "", routingKey: queue, mandatory: false, immediate: false },
        { properties: noProperties, bodySize: body.length, body }
      )
    }
  }

  get(queue: string): void {
    this.call({ _tag: "basic.get", queue, noAck: false })
  }

  consume(queue: string, consumerTag: string): void {
    const { method } = calls.consume(queue)
    if (method._tag === "basic.consume") this.call({ ...method, consumerTag, noAck: false })
  }

  cancel(consumerTag: string): void {
    this.call({ _tag: "basic.cancel", consumerTag, noWait: true })
  }

  /** Ends the channel and begins another one. */
  close(): void {
    this.channel.end()
    this.channel = new ServerChannel(1, this.host)
  }

  /** The bodies of a queue's ready messages. */
  messages(queue: string): ReadonlyArray<string> {
    const { messages } = this.virtualHost.queue(queue, this.host)
    return messages.map(({ message }) => new TextDecoder().decode(message.body))
  }
}
