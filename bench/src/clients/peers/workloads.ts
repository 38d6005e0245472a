/**
 * The workloads that are the same for all peers, apart from the calls of the library.
 */
import type { Client } from "../../workload.ts"
import { idle } from "../idle.ts"
import type { Connect } from "./connection.ts"
import { largeBody } from "./largeBody.ts"
import { latency, latencyBesidePublisher } from "./latency.ts"
import { consumersSettled, through } from "./memory.ts"

export const workloads = (connect: Connect): Client => ({
  latency: latency(connect),
  "latency-beside-publisher": latencyBesidePublisher(connect),
  "large-body": largeBody(connect),
  through: through(connect),
  "consumers-settled": consumersSettled(connect),
  idle
})
