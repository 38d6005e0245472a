/**
 * The workload `large-body`: one channel publishes large bodies one after another, while another one publishes small messages on a
 * schedule. All are confirmed, and no queue takes them. The latencies are those of the small ones, up to their confirm.
 */
import { LatencyRecorder, pace, stamped, stampSize } from "../../latency.ts"
import type { Pass } from "../../task.ts"
import type { Run } from "../../workload.ts"
import { heartbeatSeconds, measure, nowhere, sequentially, smallPerSecond } from "../../workload.ts"
import type { Connect, PeerChannel } from "./connection.ts"

const publishBoth = async (large: PeerChannel, small: PeerChannel, { count }: Pass, body: Buffer) => {
  const recorder = new LatencyRecorder()
  const confirms: Array<Promise<unknown>> = []
  let over = false
  const publishLarge = async () => {
    await sequentially(count, () => large.publishConfirmed(nowhere, body))
    over = true
  }
  const publishSmall = () =>
    pace(smallPerSecond, Infinity, (intended) => {
      confirms.push(small.publishConfirmed(nowhere, stamped(intended, stampSize)).then(() => recorder.record(intended)))
      return undefined
    }, () => over)
  await Promise.all([publishLarge(), publishSmall()])
  await Promise.all(confirms)
  return recorder
}

export const largeBody = (connect: Connect): Run => async (workload) => {
  const connection = await connect({ url: workload.url, heartbeat: heartbeatSeconds })
  const large = await connection.confirmChannel()
  const small = await connection.confirmChannel()
  let recorder = new LatencyRecorder()
  await measure(workload, async (pass) => {
    recorder = await publishBoth(large, small, pass, workload.body)
  })
  await connection.close()
  return { latencies: recorder.result() }
}
