/** What differs between the versions of RabbitMQ that the broker can be, each named by what it does. */
import type { Version } from "../../AmqpBroker.ts"

export const versions: ReadonlyArray<Version> = ["3.10", "4.0", "4.3"]

export interface Rules {
  /** What `connection.start` says. */
  readonly serverVersion: string
  /** The default of the largest body, in bytes. */
  readonly maxMessageSize: number

  /** What closes for an exchange type that is not known: the channel (406) or the connection (503). */
  readonly unknownExchangeTypeClosesConnection: boolean
  /** Whether headers exchanges tell 1 from 1.0, and a time from a number of seconds. */
  readonly comparesHeaderTypes: boolean
  /** Whether a delivery mode other than 1 and 2 is refused. */
  readonly refusesDeliveryModes: boolean
  /** Whether the `user-id` is checked before the other properties, and not after them. */
  readonly checksUserFirst: boolean

  /** Whether RabbitMQ fails over an interval (`x-max-age`, `x-stream-offset`) that doesn't begin with a digit. */
  readonly failsOverIntervals: boolean
  /** Whether a stream gives its messages a delivery mode when they have none. */
  readonly streamsMarkTransient: boolean
  /** Whether RabbitMQ's texts call a stream a stream, and not only a queue. */
  readonly namesStreams: boolean
  /** What `basic.get` calls the type of a quorum queue that refuses it. */
  readonly quorumName: string

  /** The lowest effective `x-max-priority` of a classic queue: a lower value is raised to it. */
  readonly leastMaxPriority: 0 | 1

  /**
   * Whose deaths a message carries: those that its header `x-death` says, or those that this broker has noted, whatever the
   * header says. The latter has headers for the last death, too.
   */
  readonly deaths: "header" | "noted"
  /**
   * Which queues count how often a message failed, and pass that on with a dead letter, which the next queue takes for a message that
   * was delivered before.
   */
  readonly countsFailures: "no queue" | "quorum queues" | "all queues"
  /** Which headers a quorum queue adds to a message that was delivered before. */
  readonly deliveryHeaders: "deliveries, also 0" | "deliveries" | "deliveries and failures"
  /** What is compared with the delivery limit of a quorum queue. */
  readonly deliveryLimitCounts: "deliveries" | "failures"
  /** Of a quorum queue that is declared without one; `Infinity`: none. */
  readonly defaultDeliveryLimit: number
  /** Whether a limit below 0 is none. Otherwise it is one that a message exceeds at once. */
  readonly negativeDeliveryLimitIsNone: boolean
  /** Whether what a client requeues goes behind all other messages, in a quorum queue without a delivery limit. */
  readonly requeuesAtEnd: boolean
  /** How many priorities a quorum queue knows; 2: two of them take turns, two messages to one. */
  readonly quorumPriorities: 1 | 2 | 32
  /** What `x-max-length-bytes` of a quorum queue counts. */
  readonly quorumLimitCounts: "bodies" | "properties and bodies"
  /** Whether the dead letters of messages that a quorum queue drops at once from its head come in the reverse order. */
  readonly quorumDropsLastFirst: boolean
  /** Whether a message behind one that was put back may expire in a quorum queue. */
  readonly expiresBehindReturned: boolean

  /** Whether `basic.qos` with `global` limits the channel, and not each of its later consumers. */
  readonly limitsChannels: boolean
  /** What happens to a client that keeps a message for too long. */
  readonly overdueConsumers: "the channel is closed" | "consumers of quorum queues are cancelled"

  /** What is refused as an argument of a queue, see `queueDeclaration`. */
  readonly queueArguments: Version
}

const rabbit310: Rules = {
  serverVersion: "3.10.0",
  maxMessageSize: 128 * 1024 * 1024,
  unknownExchangeTypeClosesConnection: true,
  comparesHeaderTypes: false,
  refusesDeliveryModes: true,
  checksUserFirst: true,
  failsOverIntervals: true,
  streamsMarkTransient: false,
  namesStreams: false,
  quorumName: "quorum",
  leastMaxPriority: 0,
  deaths: "header",
  countsFailures: "no queue",
  deliveryHeaders: "deliveries, also 0",
  deliveryLimitCounts: "deliveries",
  defaultDeliveryLimit: Infinity,
  negativeDeliveryLimitIsNone: false,
  requeuesAtEnd: true,
  quorumPriorities: 1,
  quorumLimitCounts: "bodies",
  quorumDropsLastFirst: true,
  expiresBehindReturned: false,
  limitsChannels: true,
  overdueConsumers: "the channel is closed",
  queueArguments: "3.10"
}

const rabbit40: Rules = {
  ...rabbit310,
  serverVersion: "4.0.0",
  maxMessageSize: 16 * 1024 * 1024,
  unknownExchangeTypeClosesConnection: false,
  comparesHeaderTypes: true,
  refusesDeliveryModes: false,
  checksUserFirst: false,
  streamsMarkTransient: true,
  namesStreams: true,
  leastMaxPriority: 1,
  deaths: "noted",
  countsFailures: "quorum queues",
  deliveryHeaders: "deliveries",
  defaultDeliveryLimit: 20,
  negativeDeliveryLimitIsNone: true,
  quorumPriorities: 2,
  queueArguments: "4.0"
}

const rabbit43: Rules = {
  ...rabbit40,
  serverVersion: "4.3.0",
  failsOverIntervals: false,
  quorumName: "<<\"quorum\">>",
  countsFailures: "all queues",
  deliveryHeaders: "deliveries and failures",
  deliveryLimitCounts: "failures",
  requeuesAtEnd: false,
  quorumPriorities: 32,
  quorumLimitCounts: "properties and bodies",
  quorumDropsLastFirst: false,
  expiresBehindReturned: true,
  limitsChannels: false,
  overdueConsumers: "consumers of quorum queues are cancelled",
  queueArguments: "4.3"
}

const byVersion: Readonly<Record<Version, Rules>> = { "3.10": rabbit310, "4.0": rabbit40, "4.3": rabbit43 }

export const rulesOf = (version: Version): Rules => byVersion[version]
