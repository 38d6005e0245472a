/**
 * amqplib, used in its fastest ordinary way. The socket keeps the library's default (`noDelay` off), except
 * for calls.
 */
import * as amqplib from "amqplib"
import { once } from "node:events"
import type { Pass } from "../task.ts"
import type { Client, Workload } from "../workload.ts"
import { amongAll, callsAtOnce, concurrently, inBatches, measure, sequentially } from "../workload.ts"
import { connect } from "./peers/amqplib.ts"
import { workloads } from "./peers/workloads.ts"

type Run = (workload: Workload) => Promise<void>

const withConnection = async (
  workload: Workload,
  use: (connection: amqplib.ChannelModel) => Promise<void>,
  options: { readonly noDelay?: boolean } = {}
) => {
  const connection = await amqplib.connect(workload.url, options)
  await use(connection)
  await connection.close()
}

const openAll = async <C>(count: number, open: () => Promise<C>): Promise<ReadonlyArray<C>> => {
  const channels: Array<C> = []
  await sequentially(count, async () => channels.push(await open()))
  return channels
}

const withChannel = (workload: Workload, section: (channel: amqplib.Channel, pass: Pass) => Promise<void>) =>
  withConnection(workload, async (connection) => {
    const channel = await connection.createChannel()
    await measure(workload, (pass) => section(channel, pass))
  })

/** Splits the work of a pass among channels. */
const withConfirmChannels = (
  workload: Workload,
  count: number,
  part: (channel: amqplib.ConfirmChannel, queue: string, count: number, window: number) => Promise<void>
) =>
  withConnection(workload, async (connection) => {
    const channels = await openAll(count, () => connection.createConfirmChannel())
    await measure(workload, ({ count, queue }) =>
      amongAll(channels, count, workload.window, (channel, count, window) =>
        part(channel, queue, count, window)))
  })

// `publish` returns false when its buffer is full. As documented, the loop then waits for "drain", and only then, so that
// what fits the buffer is sent without a turn of the event loop per message.
const publish: Run = (workload) =>
  withChannel(workload, async (channel, { count, queue }) => {
    for (let published = 0; published < count; published++) {
      if (!channel.publish("", queue, workload.body)) {
        await once(channel, "drain")
      }
    }
    await channel.checkQueue(queue)
  })

// Publishing the next message from the confirm callback costs less than a promise per message, and keeps exactly as many
// in flight as concurrent loops would.
const publishConfirmed: Run = (workload) =>
  withConfirmChannels(
    workload,
    workload.split.channels,
    (channel, queue, count, window) =>
      new Promise((resolve, reject) => {
        let published = 0
        let confirmed = 0
        const next = () => {
          published++
          channel.publish("", queue, workload.body, undefined, settled)
        }
        const settled = (error: unknown) => {
          if (error !== null) {
            reject(error)
          } else if (++confirmed === count) {
            resolve()
          } else if (published < count) {
            next()
          }
        }
        for (let awaiters = Math.min(window, count); awaiters > 0; awaiters--) {
          next()
        }
      })
  )

const publishConfirmedBatch: Run = (workload) =>
  withConfirmChannels(
    workload,
    workload.split.publishers,
    (channel, queue, count, window) =>
      inBatches(count, window, (size) => {
        for (let published = 0; published < size; published++) {
          channel.publish("", queue, workload.body)
        }
        return channel.waitForConfirms()
      })
  )

/** Each consumer has its own channel. Any of them receives the last message. */
const consumeAck: Run = (workload) =>
  withConnection(workload, async (connection) => {
    const channels = await openAll(workload.split.consumers, () => connection.createChannel())
    const prefetch = Math.ceil(workload.window / channels.length)
    await measure(workload, async ({ count, queue }) => {
      await Promise.all(channels.map((channel) => channel.prefetch(prefetch)))
      await new Promise<void>((resolve, reject) => {
        let received = 0
        for (const channel of channels) {
          channel.consume(queue, (message) => {
            // null means that the server has cancelled the consumer
            if (message === null) return reject(new Error("the consumer was cancelled"))
            channel.ack(message)
            if (++received === count) resolve()
          }).catch(reject)
        }
      })
      // the broker replies after it has handled all earlier acks on the same channel
      await Promise.all(channels.map((channel) => channel.checkQueue(queue)))
    })
  })

const consumeAutoAck: Run = (workload) =>
  withChannel(workload, (channel, { count, queue }) =>
    new Promise((resolve, reject) => {
      let received = 0
      channel.consume(queue, () => {
        if (++received === count) resolve()
      }, { noAck: true }).catch(reject)
    }))

// The library has no calls, so this is how its guide makes them, on one channel for each side and with direct reply-to. Without
// `noDelay` a call takes 44 ms: its ack waits for the delayed acknowledgement of TCP.
const rpc = (atOnce: number): Run => (workload) =>
  withConnection(workload, async (connection) => {
    const client = await connection.createChannel()
    const server = await connection.createChannel()
    await server.prefetch(workload.window)
    const waiting = new Map<string, () => void>()
    await client.consume("amq.rabbitmq.reply-to", (reply) => {
      const id: unknown = reply?.properties.correlationId
      if (typeof id !== "string") throw new Error("not a reply")
      waiting.get(id)?.()
      waiting.delete(id)
    }, { noAck: true })
    let calls = 0
    await measure(workload, async ({ count, queue }) => {
      await server.consume(queue, (request) => {
        if (request === null) throw new Error("the consumer was cancelled")
        const { correlationId, replyTo } = request.properties as { correlationId: string; replyTo: string }
        server.publish("", replyTo, request.content, { correlationId })
        server.ack(request)
      })
      await concurrently(count, atOnce, () =>
        new Promise<void>((resolve) => {
          const correlationId = String(calls++)
          waiting.set(correlationId, resolve)
          client.publish("", queue, workload.body, { replyTo: "amq.rabbitmq.reply-to", correlationId })
        }))
      await server.checkQueue(queue)
    })
  }, { noDelay: true })

const declare: Run = (workload) =>
  withChannel(workload, (channel, { count, queue }) => sequentially(count, () => channel.checkQueue(queue)))

const channel: Run = (workload) =>
  withConnection(workload, (connection) =>
    measure(workload, ({ count }) =>
      sequentially(count, async () => {
        const channel = await connection.createChannel()
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
