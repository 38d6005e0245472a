/** The clients of a run: their connections, and what they do on them. */
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpTopology from "@effect-amqp/core/AmqpTopology"
import { callingAgain, callingOnce, impatient, retrying, waiting } from "./client.ts"
import type { Access } from "./site.ts"
import {
  deletableServer,
  exclusiveServer,
  forwarder,
  layerServer,
  prefetcher,
  server,
  streamer,
  streamQueueReader,
  streamQueueServer,
  subscriber
} from "./workloads/consuming.ts"
import { caller, fetcher, programs, replier } from "./workloads/programs.ts"
import { batches, publisher } from "./workloads/publishing.ts"
import type { Workload } from "./world.ts"

export interface Client {
  /** The name of its connection. */
  readonly name: string
  readonly access: Access
  /** Whether it connects as the user whose password changes. */
  readonly isRotating?: boolean
  /** What it declares on each connection. Default: the topology of all. */
  readonly topology?: AmqpTopology.AmqpTopology
  readonly workloads: ReadonlyArray<Workload>
}

export interface Cast {
  readonly topology: AmqpTopology.AmqpTopology
  readonly clients: ReadonlyArray<Client>
  readonly deletableQueues: ReadonlyArray<string>
  readonly replicatedQueue: string
  readonly stream: AmqpQueue.AmqpQueue<"stream">
}

/** All queues are replicated in a cluster: a classic queue is gone while its node is down. */
export const makeCast = (nodes: number): Cast => {
  const queue = (name: string): AmqpQueue.AmqpQueue<"classic" | "quorum"> =>
    nodes === 1 ? AmqpQueue.classic(name) : AmqpQueue.quorum(name)
  const ordered = queue("chaos.ordered")
  const replicated = AmqpQueue.quorum("chaos.replicated")
  const batched = queue("chaos.batched")
  const plain = AmqpQueue.quorum("chaos.plain")
  const programmed = queue("chaos.programmed")
  const fetched = queue("chaos.fetched")
  const calls = queue("chaos.calls")
  const rotated = queue("chaos.rotated")
  const deletable = queue("chaos.deletable")
  const described = queue("chaos.described")
  const forwarded = queue("chaos.forwarded")
  const arrived = queue("chaos.arrived")
  // Deleted with its connection, and declared again on the next one.
  const exclusive = AmqpQueue.classic("chaos.exclusive", { exclusive: true })
  const stream = AmqpQueue.stream("chaos.stream")
  const news = AmqpExchange.fanout("chaos.news")
  /** What publishers know about a message that a transaction has brought to its queue. */
  const committed = arrived.type === "quorum" ? "committed" : "confirmed"
  return {
    topology: AmqpTopology.make(
      ordered,
      replicated,
      batched,
      plain,
      programmed,
      fetched,
      calls,
      rotated,
      forwarded,
      arrived,
      stream,
      news
    ),
    deletableQueues: [deletable.name, described.name],
    replicatedQueue: replicated.name,
    stream,
    clients: [
      {
        name: "retrying publishers",
        access: "firstProxy",
        workloads: [
          publisher({ name: "ordered", queue: ordered.name, isOrdered: true, publisher: retrying }),
          publisher({ name: "replicated", queue: replicated.name, isOrdered: true, publisher: retrying }),
          batches({ name: "batched", queue: batched.name, isOrdered: true, publisher: retrying })
        ]
      },
      {
        name: "plain publishers",
        access: "secondProxy",
        workloads: [
          publisher({ name: "waiting", queue: plain.name, isOrdered: false, publisher: waiting }),
          publisher({ name: "impatient", queue: plain.name, isOrdered: false, publisher: impatient })
        ]
      },
      {
        name: "consumers",
        access: "secondProxy",
        workloads: [
          server(ordered, { concurrency: 1 }),
          streamer(replicated),
          server(plain, { concurrency: 8 }),
          layerServer(programmed, { concurrency: 2 })
        ]
      },
      {
        name: "forwarder",
        access: "secondProxy",
        workloads: [
          publisher({
            name: "forwarded",
            queue: arrived.name,
            via: forwarded.name,
            success: committed,
            isOrdered: false,
            publisher: waiting
          }),
          forwarder(forwarded, arrived.name),
          server(arrived, { concurrency: 4 })
        ]
      },
      { name: "batch consumer", access: "firstProxy", workloads: [server(batched, { concurrency: 1 })] },
      {
        name: "programs",
        access: "firstProxy",
        workloads: [
          programs("confirmed", { name: "confirmed", queue: programmed.name }),
          programs(
            "transaction",
            { name: "transacted", queue: fetched.name },
            committed
          ),
          fetcher(fetched.name)
        ]
      },
      {
        name: "callers",
        access: "direct",
        workloads: [caller(calls.name, callingOnce), caller(calls.name, callingAgain)]
      },
      { name: "repliers", access: "firstProxy", workloads: [replier(calls)] },
      {
        name: "streams",
        access: "secondProxy",
        workloads: [
          publisher({ name: "streamed", queue: stream.name, isOrdered: true, publisher: retrying }),
          streamQueueReader(stream),
          streamQueueServer(stream)
        ]
      },
      {
        name: "deletable queues",
        access: "direct",
        workloads: [
          deletableServer(deletable, deletable.name),
          publisher({ name: "deletable", queue: deletable.name, isOrdered: false, publisher: waiting }),
          deletableServer(described, described),
          publisher({ name: "described", queue: described.name, isOrdered: false, publisher: waiting })
        ]
      },
      {
        name: "rotating password",
        access: "secondProxy",
        isRotating: true,
        workloads: [
          prefetcher(rotated),
          publisher({ name: "rotated", queue: rotated.name, isOrdered: true, publisher: retrying })
        ]
      },
      {
        name: "subscriber",
        access: "firstProxy",
        topology: AmqpTopology.make(news, exclusive),
        workloads: [subscriber(news.name), exclusiveServer(exclusive.name)]
      }
    ]
  }
}
