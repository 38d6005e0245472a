/**
 * What connections count, and the metrics that show it.
 *
 * The parts of a session count in plain fields, so a message costs an addition. The metrics read these fields only when a snapshot of the
 * registry is taken.
 *
 * Connections with the same attributes in the same registry share their counts, which outlive them: a counter continues from its value when
 * a program connects again.
 */
import * as Context from "effect/Context"
import * as Metric from "effect/Metric"
import type { SessionOptions } from "../options/sessionOptions.ts"
import { serverAttributes } from "./serverAttributes.ts"

/** What the gauges read from a session. */
export interface Sampled {
  readonly channelCount: number
  readonly isBlocked: boolean
  /** Publishes that the broker has not confirmed. */
  readonly unconfirmed: number
  /** Deliveries that are not settled. */
  readonly unsettled: number
  /** Deliveries that the program has not taken. */
  readonly buffered: number
}

/** The counts of all connections with the same attributes. */
export class Counts {
  opened = 0
  /** Connections that were open again after a loss. */
  recovered = 0
  /** Attempts to connect that failed. */
  failedAttempts = 0
  bytesRead = 0
  bytesWritten = 0
  sent = 0
  confirmed = 0
  nacked = 0
  /** Publishes that were sent, with an unknown outcome. */
  unknown = 0
  returned = 0
  consumed = 0
  acknowledged = 0
  rejected = 0
  requeued = 0
  /** The sessions that are open. */
  readonly sessions = new Set<Sampled>()

  sum(value: (session: Sampled) => number): number {
    let sum = 0
    for (const session of this.sessions) sum += value(session)
    return sum
  }
}

interface Definition {
  readonly name: string
  readonly description: string
  readonly attributes?: Metric.Metric.AttributeSet
  readonly value: (counts: Counts) => number
}

const bytes = { unit: "bytes" }

const counters: ReadonlyArray<Definition> = [
  {
    name: "messaging.client.sent.messages",
    description: "Messages that were sent to the broker",
    attributes: { "messaging.operation.name": "publish" },
    value: ({ sent }) => sent
  },
  {
    name: "messaging.client.consumed.messages",
    description: "Messages that the broker delivered",
    attributes: { "messaging.operation.name": "deliver" },
    value: ({ consumed }) => consumed
  },
  {
    name: "amqp.client.connections.opened",
    description: "Connections that were opened",
    value: ({ opened }) => opened
  },
  {
    name: "amqp.client.connections.recovered",
    description: "Connections that were established again after they were lost",
    value: ({ recovered }) => recovered
  },
  {
    name: "amqp.client.connections.failed_attempts",
    description: "Attempts to connect that failed",
    value: ({ failedAttempts }) => failedAttempts
  },
  {
    name: "amqp.client.bytes.read",
    description: "Bytes that were read from sockets",
    attributes: bytes,
    value: ({ bytesRead }) => bytesRead
  },
  {
    name: "amqp.client.bytes.written",
    description: "Bytes that sockets accepted",
    attributes: bytes,
    value: ({ bytesWritten }) => bytesWritten
  },
  {
    name: "amqp.client.publishes.confirmed",
    description: "Publishes that the broker confirmed",
    value: ({ confirmed }) => confirmed
  },
  {
    name: "amqp.client.publishes.nacked",
    description: "Publishes that the broker refused",
    value: ({ nacked }) => nacked
  },
  {
    name: "amqp.client.publishes.unknown",
    description: "Publishes that were sent and never confirmed",
    value: ({ unknown }) => unknown
  },
  {
    name: "amqp.client.publishes.returned",
    description: "Mandatory publishes that were returned because no queue took them",
    value: ({ returned }) => returned
  },
  {
    name: "amqp.client.deliveries.acknowledged",
    description: "Deliveries that were acknowledged",
    value: ({ acknowledged }) => acknowledged
  },
  {
    name: "amqp.client.deliveries.rejected",
    description: "Deliveries that were rejected without being requeued",
    value: ({ rejected }) => rejected
  },
  {
    name: "amqp.client.deliveries.requeued",
    description: "Deliveries that were requeued",
    value: ({ requeued }) => requeued
  }
]

const gauges: ReadonlyArray<Definition> = [
  {
    name: "amqp.client.connections",
    description: "Connections that are open",
    value: ({ sessions }) => sessions.size
  },
  {
    name: "amqp.client.connections.blocked",
    description: "Connections on which the broker asks publishers to pause",
    value: (counts) => counts.sum(({ isBlocked }) => isBlocked ? 1 : 0)
  },
  {
    name: "amqp.client.channels",
    description: "Channels that are open, including idle ones",
    value: (counts) => counts.sum(({ channelCount }) => channelCount)
  },
  {
    name: "amqp.client.publishes.unconfirmed",
    description: "Publishes that are not yet confirmed",
    value: (counts) => counts.sum(({ unconfirmed }) => unconfirmed)
  },
  {
    name: "amqp.client.deliveries.unsettled",
    description: "Deliveries that are not yet settled",
    value: (counts) => counts.sum(({ unsettled }) => unsettled)
  },
  {
    name: "amqp.client.deliveries.buffered",
    description: "Deliveries that have arrived and that the program has not yet taken",
    value: (counts) => counts.sum(({ buffered }) => buffered)
  }
]

const byRegistry = new WeakMap<Metric.MetricRegistry, Map<string, Counts>>()

/** The counts of a connection with these options, in the registry of the context. Registers the metrics for the first connection. */
export const countsOf = (
  options: Pick<SessionOptions, "clientProperties" | "transport">,
  context: Context.Context<never>
): Counts => {
  const attributes = serverAttributes(options)
  // The attributes in the context distinguish series as well.
  const key = JSON.stringify([attributes, Context.get(context, Metric.CurrentMetricAttributes)])
  const registry = Context.get(context, Metric.MetricRegistry)
  const known = byRegistry.get(registry) ?? new Map<string, Counts>()
  byRegistry.set(registry, known)
  const found = known.get(key)
  if (found !== undefined) return found
  const counts = new Counts()
  known.set(key, counts)
  register(counts, attributes, context)
  return counts
}

const register = (counts: Counts, common: Metric.Metric.AttributeSet, context: Context.Context<never>): void => {
  for (const { attributes, description, name, value } of counters) {
    const metric = Metric.counter(name, { description, attributes: { ...common, ...attributes }, incremental: true })
    Metric.registerUnsafe(metric, context, {
      get: () => ({ count: value(counts), incremental: true }),
      update: ignore,
      modify: ignore
    })
  }
  for (const { attributes, description, name, value } of gauges) {
    const metric = Metric.gauge(name, { description, attributes: { ...common, ...attributes } })
    Metric.registerUnsafe(metric, context, {
      get: () => ({ value: value(counts) }),
      update: ignore,
      modify: ignore
    })
  }
}

const ignore = (): void => {}
