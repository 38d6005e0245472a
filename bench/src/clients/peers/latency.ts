/**
 * The workloads `latency` and `latency-beside-publisher`: from the time at which a message should be published until its handler
 * runs, alone and beside another channel of the same connection that publishes without a pause.
 */
import { Countdown } from "../../countdown.ts"
import { LatencyRecorder, pace, stamped, stampOf } from "../../latency.ts"
import type { Pass } from "../../task.ts"
import type { Run } from "../../workload.ts"
import { measure, messagesPerSecond, nowhere } from "../../workload.ts"
import type { Connect, PeerChannel, PeerConnection } from "./connection.ts"

const send = async (connection: PeerConnection, { count, queue }: Pass, size: number): Promise<LatencyRecorder> => {
  const recorder = new LatencyRecorder()
  const consumer = await connection.channel()
  const publisher = await connection.channel()
  const received = new Countdown(count)
  await consumer.consume(queue, (body) => {
    recorder.record(stampOf(body))
    received.count()
  })
  await pace(messagesPerSecond, count, (intended) => publisher.publish(queue, stamped(intended, size)))
  await received.ended
  return recorder
}

export const latency = (connect: Connect): Run => async (workload) => {
  const connection = await connect(workload)
  let recorder = new LatencyRecorder()
  await measure(workload, async (pass) => {
    recorder = await send(connection, pass, workload.body.length)
  })
  await connection.close()
  return { latencies: recorder.result() }
}

/** Publishes messages that no queue takes until it is stopped. */
const saturate = (channel: PeerChannel, body: Buffer) => {
  const state = { published: 0, stopped: false }
  const publishing = async () => {
    while (!state.stopped) {
      state.published++
      const room = channel.publish(nowhere, body)
      if (room !== undefined) {
        await room
      }
    }
  }
  const ended = publishing()
  return {
    published: () => state.published,
    stop: () => {
      state.stopped = true
      return ended
    }
  }
}

export const latencyBesidePublisher = (connect: Connect): Run => async (workload) => {
  const connection = await connect(workload)
  const neighbour = saturate(await connection.channel(), workload.body)
  let recorder = new LatencyRecorder()
  let besideBefore = 0
  let beside = 0
  await measure(workload, async (pass) => {
    besideBefore = neighbour.published()
    recorder = await send(connection, pass, workload.body.length)
    beside = neighbour.published() - besideBefore
  })
  await neighbour.stop()
  await connection.close()
  return { latencies: recorder.result(), beside }
}
