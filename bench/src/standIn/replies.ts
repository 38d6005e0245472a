/**
 * The methods that are not part of the traffic that is measured, and their replies. A method that the stand-in does not know closes
 * the connection.
 */
import type { Socket } from "node:net"
import { Channel } from "./channel.ts"
import { Consumer } from "./deliveries.ts"
import { long, longString, Method, method, octet, short, shortString, table } from "./methods.ts"
import type { Queues } from "./queues.ts"

export const protocolHeader = Buffer.from("AMQP\0\0\x09\x01")

const product = "effect-amqp stand-in"

export const start = method(
  0,
  Method.connectionStart,
  octet(0),
  octet(9),
  table({
    product,
    version: "1",
    capabilities: {
      publisher_confirms: true,
      exchange_exchange_bindings: true,
      "basic.nack": true,
      consumer_cancel_notify: true,
      "connection.blocked": true,
      authentication_failure_close: true,
      per_consumer_qos: true
    }
  }),
  longString("PLAIN AMQPLAIN"),
  longString("en_US")
)

// As RabbitMQ proposes them.
const channelMax = 2047
const frameMax = 131_072
const heartbeatSeconds = 60

/** What the replies need of a connection. */
export interface Session {
  readonly socket: Socket
  readonly queues: Queues
  readonly channels: Array<Channel | undefined>
  frameMax: number
  readonly reply: (bytes: Buffer) => void
  /** The channel may have something to deliver. */
  readonly change: (channel: Channel) => void
}

const shortStringAt = (args: Buffer, at: number): string => args.toString("utf8", at + 1, at + 1 + args[at])

const declare = (session: Session, number: number, args: Buffer): void => {
  const name = shortStringAt(args, 2)
  const bits = args[3 + args[2]]
  const isPassive = (bits & 1) !== 0
  const queue = isPassive ? session.queues.get(name) : session.queues.declare(name)
  if (queue === undefined) {
    session.channels[number]?.close()
    session.channels[number] = undefined
    const text = shortString(`NOT_FOUND - no queue '${name}'`)
    session.reply(method(number, Method.channelClose, short(404), text, long(Method.queueDeclare)))
  } else if ((bits & 16) === 0) {
    session.reply(method(number, Method.queueDeclareOk, shortString(name), long(queue.ready), long(0)))
  }
}

const consume = (session: Session, channel: Channel, args: Buffer): void => {
  const queueName = shortStringAt(args, 2)
  const tagAt = 3 + args[2]
  const tag = shortStringAt(args, tagAt) || `stand-in-${channel.number}-${channel.consumers.size + 1}`
  const bits = args[tagAt + 1 + args[tagAt]]
  const queue = session.queues.get(queueName)
  if (queue === undefined) throw new Error(`there is no queue '${queueName}'`)
  const options = { queue, tag, noAck: (bits & 2) !== 0, frameMax: session.frameMax }
  channel.consumers.set(tag, new Consumer(channel, session.socket, options))
  if ((bits & 8) === 0) session.reply(method(channel.number, Method.basicConsumeOk, shortString(tag)))
  session.change(channel)
}

const cancel = (session: Session, channel: Channel, args: Buffer): void => {
  const tag = shortStringAt(args, 0)
  // stays with the channel, which returns to its queue what is not acknowledged
  channel.consumers.get(tag)?.cancel()
  if (args[1 + args[0]] === 0) session.reply(method(channel.number, Method.basicCancelOk, shortString(tag)))
}

/** Replies to methods of open channels. Returns whether the method is known. */
const replyOnChannel = (session: Session, channel: Channel, id: number, args: Buffer): boolean => {
  const reply = (id: number, ...args: ReadonlyArray<Buffer>): void => session.reply(method(channel.number, id, ...args))
  switch (id) {
    case Method.channelClose:
      channel.close()
      session.channels[channel.number] = undefined
      reply(Method.channelCloseOk)
      return true
    case Method.queueDeclare:
      declare(session, channel.number, args)
      return true
    case Method.queueDelete:
      session.queues.delete(shortStringAt(args, 2))
      reply(Method.queueDeleteOk, long(0))
      return true
    case Method.basicQos:
      channel.prefetch = args.readUInt16BE(4)
      reply(Method.basicQosOk)
      return true
    case Method.basicConsume:
      consume(session, channel, args)
      return true
    case Method.basicCancel:
      cancel(session, channel, args)
      return true
    case Method.confirmSelect:
      channel.confirms = true
      if (args[0] === 0) reply(Method.confirmSelectOk)
      return true
    default:
      return false
  }
}

/** Replies to a method; `args` are its arguments. */
export const replyTo = (session: Session, number: number, id: number, args: Buffer): void => {
  switch (id) {
    case Method.connectionStartOk:
      session.reply(method(0, Method.connectionTune, short(channelMax), long(frameMax), short(heartbeatSeconds)))
      return
    case Method.connectionTuneOk:
      session.frameMax = Math.min(frameMax, args.readUInt32BE(2) || frameMax)
      return
    case Method.connectionOpen:
      session.reply(method(0, Method.connectionOpenOk, shortString("")))
      return
    case Method.connectionClose:
      session.reply(method(0, Method.connectionCloseOk))
      return
    case Method.channelOpen:
      session.channels[number] = new Channel(number)
      session.reply(method(number, Method.channelOpenOk, longString("")))
      return
    case Method.channelCloseOk:
      return
  }
  const channel = session.channels[number]
  if (channel === undefined || !replyOnChannel(session, channel, id, args)) {
    throw new Error(`the stand-in does not know the method ${id >>> 16}.${id & 0xffff} on channel ${number}`)
  }
}
