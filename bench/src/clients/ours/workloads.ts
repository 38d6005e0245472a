/**
 * Further workloads of this project's client.
 */
import type { Client } from "../../workload.ts"
import { idle } from "../idle.ts"
import { largeBody } from "./largeBody.ts"
import { latency, latencyBesidePublisher } from "./latency.ts"
import { consumersSettled, through } from "./memory.ts"

export const workloads: Client = {
  latency,
  "latency-beside-publisher": latencyBesidePublisher,
  "large-body": largeBody,
  through,
  "consumers-settled": consumersSettled,
  idle
}
