/**
 * amqplib's calls for the workloads of this folder.
 */
import * as amqplib from "amqplib"
import { once } from "node:events"
import type { Connect, PeerChannel } from "./connection.ts"
import { withHeartbeat } from "./connection.ts"

const consume = (
  channel: amqplib.Channel,
  queue: string,
  noAck: boolean,
  onMessage: (message: amqplib.ConsumeMessage) => void
) =>
  channel.consume(queue, (message) => {
    // null means that the server has cancelled the consumer
    if (message === null) throw new Error("the consumer was cancelled")
    onMessage(message)
  }, { noAck })

const peerChannel = (
  channel: amqplib.Channel,
  publishConfirmed: PeerChannel["publishConfirmed"]
): PeerChannel => ({
  publish: (queue, body) => channel.publish("", queue, body) ? undefined : once(channel, "drain"),
  publishConfirmed,
  consume: (queue, onBody) => consume(channel, queue, true, ({ content }) => onBody(content)),
  consumeAndAck: async (queue, prefetch, onBody) => {
    await channel.prefetch(prefetch)
    const { consumerTag } = await consume(channel, queue, false, (message) => {
      onBody(message.content)
      channel.ack(message)
    })
    return () => channel.cancel(consumerTag)
  }
})

const confirmedOn = (channel: amqplib.ConfirmChannel): PeerChannel["publishConfirmed"] => (queue, body) =>
  new Promise<void>((resolve, reject) => {
    channel.publish("", queue, body, undefined, (error: unknown) => {
      if (error === null) resolve()
      else reject(new Error("the broker has refused a message"))
    })
  })

export const connect: Connect = async (options) => {
  const connection = await amqplib.connect(withHeartbeat(options))
  return {
    channel: async () =>
      peerChannel(await connection.createChannel(), () => Promise.reject(new Error("not a confirm channel"))),
    confirmChannel: async () => {
      const channel = await connection.createConfirmChannel()
      return peerChannel(channel, confirmedOn(channel))
    },
    close: () => connection.close()
  }
}
