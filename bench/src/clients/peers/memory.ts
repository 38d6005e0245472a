/**
 * The workloads that measure memory: `through` sends messages to a consumer of the same process, `consumers-settled` has a
 * channel with a consumer for each of its operations.
 */
import { Countdown } from "../../countdown.ts"
import { settledRssBytes } from "../../memory.ts"
import type { Pass } from "../../task.ts"
import type { Run } from "../../workload.ts"
import { inBatches, measure, messagesPerConsumer, sequentially } from "../../workload.ts"
import type { Connect, PeerChannel } from "./connection.ts"

const publishInBatches = (channel: PeerChannel, { count, queue }: Pass, window: number, body: Buffer) =>
  inBatches(
    count,
    window,
    (size) => Promise.all(Array.from({ length: size }, () => channel.publishConfirmed(queue, body)))
  )

export const through = (connect: Connect): Run => async (workload) => {
  const { body, window } = workload
  const connection = await connect(workload)
  const publisher = await connection.confirmChannel()
  await measure(workload, async (pass) => {
    const consumer = await connection.channel()
    const received = new Countdown(pass.count)
    const cancel = await consumer.consumeAndAck(pass.queue, window, () => received.count())
    await publishInBatches(publisher, pass, window, body)
    await received.ended
    await cancel()
  })
  await connection.close()
}

export const consumersSettled = (connect: Connect): Run => async (workload) => {
  const { body, window } = workload
  const connection = await connect(workload)
  const cancels: Array<() => Promise<unknown>> = []
  await measure(workload, async ({ count, queue }) => {
    const messages = count * messagesPerConsumer
    const received = new Countdown(messages)
    await sequentially(count, async () => {
      const channel = await connection.channel()
      cancels.push(await channel.consumeAndAck(queue, messagesPerConsumer, () => received.count()))
    })
    await publishInBatches(await connection.confirmChannel(), { queue, count: messages }, window, body)
    await received.ended
  })
  const settled = await settledRssBytes()
  // the consumers live until here
  await Promise.all(cancels.map((cancel) => cancel()))
  await connection.close()
  return { settledRssBytes: settled }
}
