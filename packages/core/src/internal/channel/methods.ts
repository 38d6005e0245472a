/**
 * Methods that several modules send, with defaults for the other fields.
 */
import { ReplyCode } from "../../protocol/constants.ts"
import type { FieldTable } from "../../protocol/fieldTable.ts"
import type {
  BasicCancel,
  BasicConsume,
  BasicQos,
  ChannelClose,
  ConnectionClose,
  ExchangeDeclare,
  QueueDeclare
} from "../../protocol/methods.generated.ts"

/** Fails if the queue does not exist. */
export const passiveQueueDeclare = (queue: string): QueueDeclare => ({
  _tag: "queue.declare",
  queue,
  passive: true,
  durable: false,
  exclusive: false,
  autoDelete: false,
  noWait: false,
  arguments: {}
})

/** Fails if the exchange does not exist. The method requires a type, which brokers do not compare. */
export const passiveExchangeDeclare = (exchange: string, type = "direct"): ExchangeDeclare => ({
  _tag: "exchange.declare",
  exchange,
  type,
  passive: true,
  durable: false,
  autoDelete: false,
  internal: false,
  noWait: false,
  arguments: {}
})

export interface ConsumeOptions {
  readonly noAck?: boolean
  readonly exclusive?: boolean
  readonly arguments?: FieldTable
}

export const basicConsume = (
  queue: string,
  consumerTag: string,
  { arguments: table = {}, exclusive = false, noAck = false }: ConsumeOptions = {}
): BasicConsume => ({
  _tag: "basic.consume",
  queue,
  consumerTag,
  noLocal: false,
  noAck,
  exclusive,
  noWait: false,
  arguments: table
})

/** Sets the prefetch of consumers that are started later. */
export const basicQos = (prefetchCount: number): BasicQos => ({
  _tag: "basic.qos",
  prefetchSize: 0,
  prefetchCount,
  global: false
})

/** Cancels a consumer. The broker replies with `basic.cancel-ok` unless `noWait` is set. */
export const basicCancel = (consumerTag: string, noWait = false): BasicCancel => ({
  _tag: "basic.cancel",
  consumerTag,
  noWait
})

const goodbye = { replyCode: ReplyCode.success, replyText: "Goodbye", classId: 0, methodId: 0 }

/** Closes a channel without an error. */
export const channelClose: ChannelClose = { _tag: "channel.close", ...goodbye }

/** Closes the connection without an error. */
export const connectionClose: ConnectionClose = { _tag: "connection.close", ...goodbye }

/** Closes the connection because of an error of the broker. Brokers log the text, which is cut to the size that the field holds. */
export const connectionCloseFor = (replyCode: number, text: string): ConnectionClose => ({
  _tag: "connection.close",
  replyCode,
  replyText: text.slice(0, 80),
  classId: 0,
  methodId: 0
})
