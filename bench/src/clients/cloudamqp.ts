/**
 * @cloudamqp/amqp-client, used in its fastest ordinary way: channels of `AMQPClient`, to which `AMQPSession` adds work
 * per message. The socket keeps the library's default (`noDelay` off), except for calls.
 */
import type { AMQPBaseClient, AMQPChannel } from "@cloudamqp/amqp-client"
import { AMQPClient } from "@cloudamqp/amqp-client"
import type { Pass } from "../task.ts"
import type { Client, Workload } from "../workload.ts"
import { amongAll, callsAtOnce, concurrently, inBatches, measure, sequentially } from "../workload.ts"
import { connect } from "./peers/cloudamqp.ts"
import { workloads } from "./peers/workloads.ts"

type Run = (workload: Workload) => Promise<void>

const withConnection = async (
  workload: Workload,
  use: (connection: AMQPBaseClient) => Promise<void>,
  options: { readonly noDelay?: boolean } = {}
) => {
  const client = new AMQPClient(workload.url)
  const connection = await client.connect()
  // the library has no option for it
  if (options.noDelay === true) client.socket?.setNoDelay(true)
  // a channel that the server closes would otherwise leave its consumers waiting
  connection.onerror = (error) => {
    throw error
  }
  await use(connection)
  await connection.close()
}

const openAll = async (connection: AMQPBaseClient, count: number): Promise<ReadonlyArray<AMQPChannel>> => {
  const channels: Array<AMQPChannel> = []
  await sequentially(count, async () => channels.push(await connection.channel()))
  return channels
}

const withChannel = (workload: Workload, section: (channel: AMQPChannel, pass: Pass) => Promise<void>) =>
  withConnection(workload, async (connection) => {
    const channel = await connection.channel()
    await measure(workload, (pass) => section(channel, pass))
  })

/** Splits the work of a pass among channels. */
const withConfirmChannels = (
  workload: Workload,
  count: number,
  part: (channel: AMQPChannel, queue: string, count: number, window: number) => Promise<void>
) =>
  withConnection(workload, async (connection) => {
    const channels = await openAll(connection, count)
    await Promise.all(channels.map((channel) => channel.confirmSelect()))
    await measure(workload, ({ count, queue }) =>
      amongAll(channels, count, workload.window, (channel, count, window) =>
        part(channel, queue, count, window)))
  })

// The promise of an unconfirmed publish resolves when the socket has accepted it, and the library's guide awaits each.
// Awaiting a thousand at once made no significant difference.
const publish: Run = (workload) =>
  withChannel(workload, async (channel, { count, queue }) => {
    await sequentially(count, () => channel.basicPublish("", queue, workload.body))
    await channel.queueDeclare(queue, { passive: true })
  })

const publishConfirmed: Run = (workload) =>
  withConfirmChannels(
    workload,
    workload.split.channels,
    (channel, queue, count, window) => concurrently(count, window, () => channel.basicPublish("", queue, workload.body))
  )

// no call waits for all confirms of a channel, so the batch is awaited through its promises
const publishConfirmedBatch: Run = (workload) =>
  withConfirmChannels(workload, workload.split.publishers, (channel, queue, count, window) =>
    inBatches(
      count,
      window,
      (size) => Promise.all(Array.from({ length: size }, () => channel.basicPublish("", queue, workload.body)))
    ))

// The callback form avoids the promise per message of the async iterator. Any of the channels receives the last message.
const consume = (channels: ReadonlyArray<AMQPChannel>, { count, queue }: Pass, noAck: boolean) =>
  new Promise<void>((resolve, reject) => {
    let received = 0
    for (const channel of channels) {
      channel.basicConsume(queue, { noAck }, (message) => {
        const acknowledged = noAck ? undefined : message.ack()
        if (++received === count) resolve()
        return acknowledged
      }).catch(reject)
    }
  })

/** Each consumer has its own channel. */
const consumeAck: Run = (workload) =>
  withConnection(workload, async (connection) => {
    const channels = await openAll(connection, workload.split.consumers)
    const prefetch = Math.ceil(workload.window / channels.length)
    await measure(workload, async (pass) => {
      await Promise.all(channels.map((channel) => channel.prefetch(prefetch)))
      await consume(channels, pass, false)
      // the broker replies after it has handled all earlier acks on the same channel
      await Promise.all(channels.map((channel) => channel.queueDeclare(pass.queue, { passive: true })))
    })
  })

const consumeAutoAck: Run = (workload) => withChannel(workload, (channel, pass) => consume([channel], pass, true))

// By hand, on channels: the calls of the library belong to `AMQPSession`, whose server declares a durable queue, and which adds work
// per message. Without `noDelay` a call takes 44 ms: its ack waits for the delayed acknowledgement of TCP.
const rpc = (atOnce: number): Run => (workload) =>
  withConnection(workload, async (connection) => {
    const [client, server] = await openAll(connection, 2)
    await server.prefetch(workload.window)
    const waiting = new Map<string, () => void>()
    await client.basicConsume("amq.rabbitmq.reply-to", { noAck: true }, ({ properties: { correlationId = "" } }) => {
      waiting.get(correlationId)?.()
      waiting.delete(correlationId)
    })
    let calls = 0
    await measure(workload, async ({ count, queue }) => {
      await server.basicConsume(queue, { noAck: false }, async (request) => {
        const { correlationId = "", replyTo = "" } = request.properties
        await server.basicPublish("", replyTo, request.body, { correlationId })
        await request.ack()
      })
      await concurrently(count, atOnce, () =>
        new Promise<void>((resolve, reject) => {
          const correlationId = String(calls++)
          waiting.set(correlationId, resolve)
          client.basicPublish("", queue, workload.body, { replyTo: "amq.rabbitmq.reply-to", correlationId }).catch(
            reject
          )
        }))
      await server.queueDeclare(queue, { passive: true })
    })
  }, { noDelay: true })

const declare: Run = (workload) =>
  withChannel(
    workload,
    (channel, { count, queue }) => sequentially(count, () => channel.queueDeclare(queue, { passive: true }))
  )

const channel: Run = (workload) =>
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
  // a consumer of this library is a handler that acknowledges
  serve: consumeAck,
  rpc: rpc(callsAtOnce),
  "rpc-sequential": rpc(1),
  declare,
  channel,
  ...workloads(connect)
}
