/**
 * @cloudamqp/amqp-client's calls for the workloads of this folder.
 */
import type { AMQPChannel } from "@cloudamqp/amqp-client"
import { AMQPClient } from "@cloudamqp/amqp-client"
import type { Connect, PeerChannel } from "./connection.ts"
import { withHeartbeat } from "./connection.ts"

const bodyOf = (body: Uint8Array | null): Uint8Array => body ?? new Uint8Array(0)

const peerChannel = (channel: AMQPChannel): PeerChannel => {
  const publish = (queue: string, body: Buffer) => channel.basicPublish("", queue, body)
  return {
    publish,
    publishConfirmed: publish,
    consume: (queue, onBody) => channel.basicConsume(queue, { noAck: true }, ({ body }) => onBody(bodyOf(body))),
    consumeAndAck: async (queue, prefetch, onBody) => {
      await channel.prefetch(prefetch)
      const consumer = await channel.basicConsume(queue, { noAck: false }, (message) => {
        onBody(bodyOf(message.body))
        return message.ack()
      })
      return () => consumer.cancel()
    }
  }
}

export const connect: Connect = async (options) => {
  const connection = await new AMQPClient(withHeartbeat(options)).connect()
  // a channel that the server closes would otherwise leave its consumers waiting
  connection.onerror = (error) => {
    throw error
  }
  return {
    channel: async () => peerChannel(await connection.channel()),
    confirmChannel: async () => {
      const channel = await connection.channel()
      await channel.confirmSelect()
      return peerChannel(channel)
    },
    close: () => connection.close()
  }
}
