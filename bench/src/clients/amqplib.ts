/**
 * amqplib, used in its fastest ordinary way. The socket keeps the library's default (`noDelay` off).
 */
import * as amqplib from "amqplib"
import { once } from "node:events"
import type { Client, Pass, Workload } from "../workload.ts"
import { inBatches, inFlight, measure, prefetch, sequentially } from "../workload.ts"

type Scenario = (workload: Workload) => Promise<void>

const withConnection = async (workload: Workload, use: (connection: amqplib.ChannelModel) => Promise<void>) => {
  const connection = await amqplib.connect(workload.url)
  await use(connection)
  await connection.close()
}

const withChannel = (workload: Workload, section: (channel: amqplib.Channel, pass: Pass) => Promise<void>) =>
  withConnection(workload, async (connection) => {
    const channel = await connection.createChannel()
    await measure(workload, (pass) => section(channel, pass))
  })

const withConfirmChannel = (
  workload: Workload,
  section: (channel: amqplib.ConfirmChannel, pass: Pass) => Promise<void>
) =>
  withConnection(workload, async (connection) => {
    const channel = await connection.createConfirmChannel()
    await measure(workload, (pass) => section(channel, pass))
  })

// `publish` returns false when its buffer is full. As documented, the loop then waits for "drain", and only then, so that
// what fits the buffer is sent without a turn of the event loop per message.
const publish: Scenario = (workload) =>
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
const publishConfirmed: Scenario = (workload) =>
  withConfirmChannel(workload, (channel, { count, queue }) =>
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
      for (let awaiters = Math.min(inFlight, count); awaiters > 0; awaiters--) {
        next()
      }
    }))

const publishConfirmedBatch: Scenario = (workload) =>
  withConfirmChannel(workload, (channel, { count, queue }) =>
    inBatches(count, (size) => {
      for (let published = 0; published < size; published++) {
        channel.publish("", queue, workload.body)
      }
      return channel.waitForConfirms()
    }))

const consumeAck: Scenario = (workload) =>
  withChannel(workload, async (channel, { count, queue }) => {
    await channel.prefetch(prefetch)
    await new Promise<void>((resolve, reject) => {
      let received = 0
      channel.consume(queue, (message) => {
        // null means that the server has cancelled the consumer
        if (message === null) return reject(new Error("the consumer was cancelled"))
        channel.ack(message)
        if (++received === count) resolve()
      }).catch(reject)
    })
    // the broker replies after it has handled all earlier acks on the same channel
    await channel.checkQueue(queue)
  })

const consumeAutoAck: Scenario = (workload) =>
  withChannel(workload, (channel, { count, queue }) =>
    new Promise((resolve, reject) => {
      let received = 0
      channel.consume(queue, () => {
        if (++received === count) resolve()
      }, { noAck: true }).catch(reject)
    }))

const declare: Scenario = (workload) =>
  withChannel(workload, (channel, { count, queue }) => sequentially(count, () => channel.checkQueue(queue)))

const channel: Scenario = (workload) =>
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
  declare,
  channel
}
