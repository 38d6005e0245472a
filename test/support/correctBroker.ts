/**
 * The replies of a correct broker, frame by frame.
 *
 * Each consumer and each `basic.get` receives messages, a publish is confirmed, one to the exchange `nowhere` is returned first,
 * and an RPC request gets a reply. Published messages are not stored: the purpose is that the client uses all its code.
 */
import type { BasicProperties } from "@effect-amqp/core/protocol/BasicProperties"
import type { BasicDeliver, BasicGetOk, BasicReturn, ServerMethod } from "@effect-amqp/core/protocol/methods.generated"
import { ack, bodyBytes, declareOk, headerBytes, methodBytes, tune } from "./scriptedPeer.ts"
import type { Received } from "./scriptedPeer.ts"

type Frames = ReadonlyArray<Uint8Array>

/** The number of messages that a consumer receives. */
export const messagesPerConsumer = 3

const none: Frames = []

class ServerChannel {
  private readonly number: number
  private isConfirming = false
  private published = 0
  private delivered = 0
  /** The tag of the consumer that replies go to. */
  private replyTag: string | undefined

  constructor(number: number) {
    this.number = number
  }

  answer({ body, method }: Received): Frames {
    switch (method._tag) {
      case "queue.declare":
        return this.methods(declareOk(method.queue === "" ? "amq.gen-1" : method.queue))
      case "queue.purge":
        return this.methods({ _tag: "queue.purge-ok", messageCount: 1 })
      case "confirm.select":
        this.isConfirming = true
        return this.methods({ _tag: "confirm.select-ok" })
      case "basic.consume":
        return this.consume(method.queue, method.consumerTag)
      case "basic.cancel":
        return method.noWait ? none : this.methods({ _tag: "basic.cancel-ok", consumerTag: method.consumerTag })
      case "basic.get": {
        const { deliveryTag, exchange, redelivered, routingKey } = this.deliver("")
        return this.content(
          { _tag: "basic.get-ok", deliveryTag, exchange, redelivered, routingKey, messageCount: 1 },
          body
        )
      }
      case "basic.publish":
        return this.publish(method.exchange, method.routingKey, body)
      case "channel.open":
      case "channel.close":
      case "exchange.declare":
      case "queue.bind":
      case "basic.qos":
      case "tx.select":
      case "tx.commit":
      case "tx.rollback":
        return this.methods({ _tag: `${method._tag}-ok` })
      default:
        return none
    }
  }

  private consume(queue: string, consumerTag: string): Frames {
    const consumeOk = this.methods({ _tag: "basic.consume-ok", consumerTag })
    if (queue === "amq.rabbitmq.reply-to") {
      this.replyTag = consumerTag
      return consumeOk
    }
    const properties = { replyTo: "replies", headers: { "x-stream-offset": 7, nested: { list: [1, null, "é"] } } }
    const messages = Array.from(
      { length: messagesPerConsumer },
      () => this.content(this.deliver(consumerTag), Uint8Array.of(104, 105), properties)
    )
    return [...consumeOk, ...messages.flat()]
  }

  private publish(exchange: string, routingKey: string, body: Uint8Array): Frames {
    const tag = ++this.published
    const returned = exchange === "nowhere"
      ? this.content({ _tag: "basic.return", replyCode: 312, replyText: "NO_ROUTE", exchange, routingKey }, body)
      : none
    const confirmed = this.isConfirming ? this.methods(ack(tag)) : none
    const replied = this.replyTag === undefined
      ? none
      : this.content(this.deliver(this.replyTag), body, { correlationId: String(tag) })
    return [...returned, ...confirmed, ...replied]
  }

  private deliver(consumerTag: string): BasicDeliver {
    const deliveryTag = ++this.delivered
    return { _tag: "basic.deliver", consumerTag, deliveryTag, redelivered: false, exchange: "", routingKey: "q" }
  }

  private methods(method: ServerMethod): Frames {
    return [methodBytes(this.number, method)]
  }

  private content(
    method: BasicDeliver | BasicGetOk | BasicReturn,
    body: Uint8Array,
    properties: BasicProperties = {}
  ): Frames {
    const header = headerBytes(this.number, body.length, properties)
    const method_ = methodBytes(this.number, method)
    return body.length === 0 ? [method_, header] : [method_, header, bodyBytes(this.number, body)]
  }
}

export class CorrectBroker {
  private readonly channels = new Map<number, ServerChannel>()

  /** The broker's reply to a method of the client, which may be empty. */
  answer(received: Received): Frames {
    const { channel: number, method } = received
    if (number === 0) return answerConnection(method._tag)
    const channel = this.channels.get(number) ?? new ServerChannel(number)
    if (method._tag === "channel.close") this.channels.delete(number)
    else this.channels.set(number, channel)
    return channel.answer(received)
  }
}

const answerConnection = (tag: string): Frames => {
  switch (tag) {
    case "connection.start-ok":
      return [methodBytes(0, tune())]
    case "connection.open":
      return [methodBytes(0, { _tag: "connection.open-ok" })]
    case "connection.close":
      return [methodBytes(0, { _tag: "connection.close-ok" })]
    default:
      return none
  }
}
