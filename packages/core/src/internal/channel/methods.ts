/**
 * Methods that several modules send, with everything set that they do not care about.
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

/** Asks for a queue that has to exist. */
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

/** Asks for an exchange that has to exist. The method has a type, and brokers do not compare it. */
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

/** The prefetch of the consumers that are started after it. */
export const basicQos = (prefetchCount: number): BasicQos => ({
  _tag: "basic.qos",
  prefetchSize: 0,
  prefetchCount,
  global: false
})

/** Ends a consumer, with a `basic.cancel-ok` in reply unless `noWait`. */
export const basicCancel = (consumerTag: string, noWait = false): BasicCancel => ({
  _tag: "basic.cancel",
  consumerTag,
  noWait
})

const goodbye = { replyCode: ReplyCode.success, replyText: "Goodbye", classId: 0, methodId: 0 }

/** A close without a complaint. */
export const channelClose: ChannelClose = { _tag: "channel.close", ...goodbye }

/** A close without a complaint. */
export const connectionClose: ConnectionClose = { _tag: "connection.close", ...goodbye }

/** A close for what the broker did wrong. Brokers log the text; it is cut to what fits. */
export const connectionCloseFor = (replyCode: number, text: string): ConnectionClose => ({
  _tag: "connection.close",
  replyCode,
  replyText: text.slice(0, 80),
  classId: 0,
  methodId: 0
})
