/**
 * rabbitmq-client, used in its fastest ordinary way: a channel from `acquire()`. Its `createPublisher` and
 * `createConsumer` wrap such a channel and add promises per message: as a publisher that made no significant difference,
 * as a consumer it took a fifth more CPU time.
 * The socket keeps the library's default (`noDelay` off), except for calls. So does the message, to which the library adds a timestamp.
 */
import type { Channel, Consumer } from "rabbitmq-client"
import { Connection, ConsumerStatus } from "rabbitmq-client"
import type { Pass } from "../task.ts"
import type { Client, Workload } from "../workload.ts"
import { amongAll, callsAtOnce, concurrently, inBatches, measure, sequentially } from "../workload.ts"
import { connect } from "./peers/rabbitmq-client.ts"
import { workloads } from "./peers/workloads.ts"

type Run = (workload: Workload) => Promise<void>

const withConnection = async (
  workload: Workload,
  use: (connection: Connection) => Promise<void>,
  options: { readonly noDelay?: boolean } = {}
) => {
  const connection = new Connection({ ...options, url: workload.url })
  // otherwise the library would keep reconnecting, whatever the reason
  await new Promise<void>((resolve, reject) => {
    connection.once("connection", resolve)
    connection.once("error", reject)
  })
  connection.on("error", (error) => {
    throw error
  })
  await use(connection)
  await connection.close()
}

const withChannels = (
  workload: Workload,
  count: number,
  use: (channels: ReadonlyArray<Channel>) => Promise<void>
) =>
  withConnection(workload, async (connection) => {
    const channels: Array<Channel> = []
    await sequentially(count, async () => channels.push(await connection.acquire()))
    await use(channels)
    await Promise.all(channels.map((channel) => channel.close()))
  })

const withChannel = (workload: Workload, section: (channel: Channel, pass: Pass) => Promise<void>) =>
  withChannels(workload, 1, ([channel]) => measure(workload, (pass) => section(channel, pass)))

/** Splits the work of a pass among channels. */
const withConfirmChannels = (
  workload: Workload,
  count: number,
  part: (channel: Channel, queue: string, count: number, window: number) => Promise<void>
) =>
  withChannels(workload, count, async (channels) => {
    await Promise.all(channels.map((channel) => channel.confirmSelect()))
    await measure(workload, ({ count, queue }) =>
      amongAll(channels, count, workload.window, (channel, count, window) =>
        part(channel, queue, count, window)))
  })

// The promise of an unconfirmed publish resolves once the socket has room, and awaiting each is the documented way to
// apply back-pressure. Awaiting a thousand at once made no significant difference.
const publish: Run = (workload) =>
  withChannel(workload, async (channel, { count, queue }) => {
    await sequentially(count, () => channel.basicPublish({ exchange: "", routingKey: queue }, workload.body))
    await channel.queueDeclare({ queue, passive: true })
  })

const publishConfirmed: Run = (workload) =>
  withConfirmChannels(
    workload,
    workload.split.channels,
    (channel, queue, count, window) =>
      concurrently(count, window, () => channel.basicPublish({ exchange: "", routingKey: queue }, workload.body))
  )

// no call waits for all confirms of a channel, so the batch is awaited through its promises
const publishConfirmedBatch: Run = (workload) =>
  withConfirmChannels(
    workload,
    workload.split.publishers,
    (channel, queue, count, window) =>
      inBatches(count, window, (size) =>
        Promise.all(
          Array.from({ length: size }, () => channel.basicPublish({ exchange: "", routingKey: queue }, workload.body))
        ))
  )

/** Each consumer has its own channel. Any of them receives the last message. */
const consumeAck: Run = (workload) =>
  withChannels(workload, workload.split.consumers, (channels) => {
    const prefetchCount = Math.ceil(workload.window / channels.length)
    return measure(workload, async ({ count, queue }) => {
      await Promise.all(channels.map((channel) => channel.basicQos({ prefetchCount })))
      await new Promise<void>((resolve, reject) => {
        let received = 0
        for (const channel of channels) {
          channel.basicConsume({ queue }, (message) => {
            channel.basicAck({ deliveryTag: message.deliveryTag })
            if (++received === count) resolve()
          }).catch(reject)
        }
      })
      // the broker replies after it has handled all earlier acks on the same channel
      await Promise.all(channels.map((channel) => channel.queueDeclare({ queue, passive: true })))
    })
  })

const consumeAutoAck: Run = (workload) =>
  withChannel(workload, (channel, { count, queue }) =>
    new Promise((resolve, reject) => {
      let received = 0
      channel.basicConsume({ queue, noAck: true }, () => {
        if (++received === count) resolve()
      }).catch(reject)
    }))

// `close` of a consumer waits until all its messages are acknowledged and its channel is closed.
const serve: Run = (workload) =>
  withConnection(workload, (connection) =>
    measure(workload, async ({ count, queue }) => {
      let received = 0
      const options = { queue, queueOptions: { passive: true }, qos: { prefetchCount: workload.window } }
      const consumer = await new Promise<Consumer>((resolve, reject) => {
        const consumer = connection.createConsumer(options, () => {
          if (++received === count) resolve(consumer)
          return ConsumerStatus.ACK
        })
        consumer.on("error", reject)
      })
      await consumer.close()
    }))

// Without `noDelay` a call takes 44 ms: its ack waits for the delayed acknowledgement of TCP.
const rpc = (atOnce: number): Run => (workload) =>
  withConnection(workload, async (connection) => {
    const client = connection.createRPCClient()
    await measure(workload, async ({ count, queue }) => {
      const options = { queue, queueOptions: { passive: true }, qos: { prefetchCount: workload.window } }
      const server = connection.createConsumer(options, (request, reply) => reply(request.body))
      const failed = new Promise<never>((_, reject) => server.on("error", reject))
      await Promise.race([failed, concurrently(count, atOnce, () => client.send(queue, workload.body))])
      await server.close()
    })
    await client.close()
  }, { noDelay: true })

const declare: Run = (workload) =>
  withChannel(
    workload,
    (channel, { count, queue }) => sequentially(count, () => channel.queueDeclare({ queue, passive: true }))
  )

const channel: Run = (workload) =>
  withConnection(workload, (connection) =>
    measure(workload, ({ count }) =>
      sequentially(count, async () => {
        const channel = await connection.acquire()
        await channel.close()
      })))

export const client: Client = {
  publish,
  "publish-confirmed": publishConfirmed,
  "publish-confirmed-batch": publishConfirmedBatch,
  "consume-ack": consumeAck,
  "consume-auto-ack": consumeAutoAck,
  serve,
  rpc: rpc(callsAtOnce),
  "rpc-sequential": rpc(1),
  declare,
  channel,
  ...workloads(connect)
}
