/** The clients of a run: their connections, and what they do on them. */
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpTopology from "@effect-amqp/core/AmqpTopology"
import { impatient, retrying, waiting } from "./client.ts"
import type { Access } from "./site.ts"
import { server, streamer, streamQueueReader, subscriber } from "./workloads/consuming.ts"
import { caller, fetcher, programs, replier } from "./workloads/programs.ts"
import { batches, publisher } from "./workloads/publishing.ts"
import type { Workload } from "./world.ts"

export interface Client {
  /** The name of its connection. */
  readonly name: string
  readonly access: Access
  /** Whether it connects as the user whose password changes. */
  readonly isRotating?: boolean
  readonly workloads: ReadonlyArray<Workload>
}

export interface Cast {
  readonly topology: AmqpTopology.AmqpTopology
  readonly clients: ReadonlyArray<Client>
  readonly deletableQueue: string
  readonly replicatedQueue: string
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
  const stream = AmqpQueue.stream("chaos.stream")
  const news = AmqpExchange.fanout("chaos.news")
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
      stream,
      news
    ),
    deletableQueue: deletable.name,
    replicatedQueue: replicated.name,
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
          server(programmed, { concurrency: 2 })
        ]
      },
      { name: "batch consumer", access: "firstProxy", workloads: [server(batched, { concurrency: 1 })] },
      {
        name: "programs",
        access: "firstProxy",
        workloads: [
          programs("confirmed", { name: "confirmed", queue: programmed.name }),
          programs("transaction", { name: "transacted", queue: fetched.name }),
          fetcher(fetched.name)
        ]
      },
      { name: "callers", access: "direct", workloads: [caller(calls.name)] },
      { name: "repliers", access: "firstProxy", workloads: [replier(calls)] },
      {
        name: "streams",
        access: "secondProxy",
        workloads: [
          publisher({ name: "streamed", queue: stream.name, isOrdered: true, publisher: retrying }),
          streamQueueReader(stream)
        ]
      },
      {
        name: "deletable queue",
        access: "direct",
        workloads: [
          server(deletable, { concurrency: 4, whenEnded: "retry" }),
          publisher({
            name: "deletable",
            queue: deletable.name,
            isOrdered: false,
            publisher: waiting,
            mandatory: true
          })
        ]
      },
      {
        name: "rotating password",
        access: "secondProxy",
        isRotating: true,
        workloads: [
          server(rotated, { concurrency: 1 }),
          publisher({ name: "rotated", queue: rotated.name, isOrdered: true, publisher: retrying })
        ]
      },
      { name: "subscriber", access: "firstProxy", workloads: [subscriber(news.name)] }
    ]
  }
}
