/**
 * rabbitmq-client, used in its fastest ordinary way: a channel from `acquire()`. Its `createPublisher` and
 * `createConsumer` wrap such a channel and add promises per message: as a publisher that made no significant difference,
 * as a consumer it took a fifth more CPU time.
 * The socket keeps the library's default (`noDelay` off). So does the message, to which the library adds a timestamp.
 */
import type { Channel } from "rabbitmq-client"
import { Connection } from "rabbitmq-client"
import type { Client, Pass, Workload } from "../workload.ts"
import { inBatches, measure, prefetch, publishConcurrently, sequentially } from "../workload.ts"

type Scenario = (workload: Workload) => Promise<void>

const withConnection = async (workload: Workload, use: (connection: Connection) => Promise<void>) => {
  const connection = new Connection(workload.url)
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

const withChannel = (workload: Workload, section: (channel: Channel, pass: Pass) => Promise<void>) =>
  withConnection(workload, async (connection) => {
    const channel = await connection.acquire()
    await measure(workload, (pass) => section(channel, pass))
    await channel.close()
  })

const withConfirmChannel = (workload: Workload, section: (channel: Channel, pass: Pass) => Promise<void>) =>
  withConnection(workload, async (connection) => {
    const channel = await connection.acquire()
    await channel.confirmSelect()
    await measure(workload, (pass) => section(channel, pass))
    await channel.close()
  })

// The promise of an unconfirmed publish resolves once the socket has room, and awaiting each is the documented way to
// apply back-pressure. Awaiting a thousand at once made no significant difference.
const publish: Scenario = (workload) =>
  withChannel(workload, async (channel, { count, queue }) => {
    await sequentially(count, () => channel.basicPublish({ exchange: "", routingKey: queue }, workload.body))
    await channel.queueDeclare({ queue, passive: true })
  })

const publishConfirmed: Scenario = (workload) =>
  withConfirmChannel(
    workload,
    (channel, { count, queue }) =>
      publishConcurrently(count, () => channel.basicPublish({ exchange: "", routingKey: queue }, workload.body))
  )

// no call waits for all confirms of a channel, so the batch is awaited through its promises
const publishConfirmedBatch: Scenario = (workload) =>
  withConfirmChannel(workload, (channel, { count, queue }) =>
    inBatches(count, (size) =>
      Promise.all(
        Array.from({ length: size }, () => channel.basicPublish({ exchange: "", routingKey: queue }, workload.body))
      )))

const consumeAck: Scenario = (workload) =>
  withChannel(workload, async (channel, { count, queue }) => {
    await channel.basicQos({ prefetchCount: prefetch })
    await new Promise<void>((resolve, reject) => {
      let received = 0
      channel.basicConsume({ queue }, (message) => {
        channel.basicAck({ deliveryTag: message.deliveryTag })
        if (++received === count) resolve()
      }).catch(reject)
    })
    // the broker replies after it has handled all earlier acks on the same channel
    await channel.queueDeclare({ queue, passive: true })
  })

const consumeAutoAck: Scenario = (workload) =>
  withChannel(workload, (channel, { count, queue }) =>
    new Promise((resolve, reject) => {
      let received = 0
      channel.basicConsume({ queue, noAck: true }, () => {
        if (++received === count) resolve()
      }).catch(reject)
    }))

const declare: Scenario = (workload) =>
  withChannel(
    workload,
    (channel, { count, queue }) => sequentially(count, () => channel.queueDeclare({ queue, passive: true }))
  )

const channel: Scenario = (workload) =>
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
  declare,
  channel
}
