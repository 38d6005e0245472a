/**
 * rabbitmq-client's calls for the workloads of this folder.
 */
import type { Channel } from "rabbitmq-client"
import { Connection } from "rabbitmq-client"
import type { Connect, PeerChannel } from "./connection.ts"
import { withHeartbeat } from "./connection.ts"

const peerChannel = (channel: Channel): PeerChannel => {
  const publish = (queue: string, body: Buffer) => channel.basicPublish({ exchange: "", routingKey: queue }, body)
  return {
    publish,
    publishConfirmed: publish,
    // the library parses a body by its content type, and these have none
    consume: (queue, onBody) =>
      channel.basicConsume({ queue, noAck: true }, ({ body }: { readonly body: Buffer }) => onBody(body)),
    consumeAndAck: async (queue, prefetch, onBody) => {
      await channel.basicQos({ prefetchCount: prefetch })
      const { consumerTag } = await channel.basicConsume({ queue }, ({ body, deliveryTag }: {
        readonly body: Buffer
        readonly deliveryTag: number
      }) => {
        onBody(body)
        channel.basicAck({ deliveryTag })
      })
      return () => channel.basicCancel({ consumerTag })
    }
  }
}

export const connect: Connect = async (options) => {
  const connection = new Connection(withHeartbeat(options))
  // otherwise the library would keep reconnecting, whatever the reason
  await new Promise<void>((resolve, reject) => {
    connection.once("connection", resolve)
    connection.once("error", reject)
  })
  connection.on("error", (error) => {
    throw error
  })
  const channels: Array<Channel> = []
  const acquire = async () => {
    const channel = await connection.acquire()
    channels.push(channel)
    return channel
  }
  return {
    channel: async () => peerChannel(await acquire()),
    confirmChannel: async () => {
      const channel = await acquire()
      await channel.confirmSelect()
      return peerChannel(channel)
    },
    close: async () => {
      await Promise.all(channels.map((channel) => channel.close()))
      await connection.close()
    }
  }
}
