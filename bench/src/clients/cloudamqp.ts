/**
 * @cloudamqp/amqp-client, used in its fastest ordinary way: channels of `AMQPClient`, to which `AMQPSession` adds work
 * per message. The socket keeps the library's default (`noDelay` off).
 */
import type { AMQPBaseClient, AMQPChannel } from "@cloudamqp/amqp-client"
import { AMQPClient } from "@cloudamqp/amqp-client"
import type { Client, Pass, Workload } from "../workload.ts"
import { inBatches, measure, prefetch, publishConcurrently, sequentially } from "../workload.ts"

type Scenario = (workload: Workload) => Promise<void>

const withConnection = async (workload: Workload, use: (connection: AMQPBaseClient) => Promise<void>) => {
  const connection = await new AMQPClient(workload.url).connect()
  // a channel that the server closes would otherwise leave its consumers waiting
  connection.onerror = (error) => {
    throw error
  }
  await use(connection)
  await connection.close()
}

const withChannel = (workload: Workload, section: (channel: AMQPChannel, pass: Pass) => Promise<void>) =>
  withConnection(workload, async (connection) => {
    const channel = await connection.channel()
    await measure(workload, (pass) => section(channel, pass))
  })

const withConfirmChannel = (workload: Workload, section: (channel: AMQPChannel, pass: Pass) => Promise<void>) =>
  withConnection(workload, async (connection) => {
    const channel = await connection.channel()
    await channel.confirmSelect()
    await measure(workload, (pass) => section(channel, pass))
  })

// The promise of an unconfirmed publish resolves when the socket has accepted it, and the library's guide awaits each.
// Awaiting a thousand at once made no significant difference.
const publish: Scenario = (workload) =>
  withChannel(workload, async (channel, { count, queue }) => {
    await sequentially(count, () => channel.basicPublish("", queue, workload.body))
    await channel.queueDeclare(queue, { passive: true })
  })

const publishConfirmed: Scenario = (workload) =>
  withConfirmChannel(
    workload,
    (channel, { count, queue }) => publishConcurrently(count, () => channel.basicPublish("", queue, workload.body))
  )

// no call waits for all confirms of a channel, so the batch is awaited through its promises
const publishConfirmedBatch: Scenario = (workload) =>
  withConfirmChannel(workload, (channel, { count, queue }) =>
    inBatches(
      count,
      (size) => Promise.all(Array.from({ length: size }, () => channel.basicPublish("", queue, workload.body)))
    ))

// The callback form avoids the promise per message of the async iterator.
const consume = (channel: AMQPChannel, { count, queue }: Pass, noAck: boolean) =>
  new Promise<void>((resolve, reject) => {
    let received = 0
    channel.basicConsume(queue, { noAck }, (message) => {
      const acknowledged = noAck ? undefined : message.ack()
      if (++received === count) resolve()
      return acknowledged
    }).catch(reject)
  })

const consumeAck: Scenario = (workload) =>
  withChannel(workload, async (channel, pass) => {
    await channel.prefetch(prefetch)
    await consume(channel, pass, false)
    // the broker replies after it has handled all earlier acks on the same channel
    await channel.queueDeclare(pass.queue, { passive: true })
  })

const consumeAutoAck: Scenario = (workload) => withChannel(workload, (channel, pass) => consume(channel, pass, true))

const declare: Scenario = (workload) =>
  withChannel(
    workload,
    (channel, { count, queue }) => sequentially(count, () => channel.queueDeclare(queue, { passive: true }))
  )

const channel: Scenario = (workload) =>
  withConnection(workload, (connection) =>
    measure(workload, ({ count }) =>
      sequentially(count, async () => {
        const channel = await connection.channel()
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
