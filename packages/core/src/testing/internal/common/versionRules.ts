/** What differs between the versions of RabbitMQ that the broker can behave like. */
import type { Version } from "../../AmqpBroker.ts"

export const versions: ReadonlyArray<Version> = ["3.10", "4.0", "4.3"]

export interface VersionRules {
  /** Whose checks of a queue's and a consumer's arguments apply, see `knownQueueArguments` and `consumerArguments`. */
  readonly version: Version
  /** The `version` of the server properties. */
  readonly serverVersion: string
  /** The default limit of a body, in bytes. */
  readonly maxMessageSize: number

  /** Which other version of AMQP it speaks. A client with none that it speaks gets the header of 0-9-1, or of 1.0. */
  readonly otherProtocol: "AMQP 0-8" | "AMQP 1.0"
  /** Whether a body that is longer than announced is refused. Otherwise it is read until another frame arrives. */
  readonly refusesLongBodies: boolean
  /** Whether an unknown exchange type closes the connection (503) or the channel (406). */
  readonly unknownExchangeTypeClosesConnection: boolean
  /** Whether headers exchanges distinguish 1 from 1.0, and a timestamp from a number of seconds. */
  readonly comparesHeaderTypes: boolean
  /** Whether delivery modes other than 1 and 2 are refused. */
  readonly refusesDeliveryModes: boolean
  /** Whether the `user-id` is checked before the other properties or after them. */
  readonly checksUserFirst: boolean

  /** Whether RabbitMQ crashes on an interval (`x-max-age`, `x-stream-offset`) that does not begin with a digit. */
  readonly crashesOnIntervals: boolean
  /** Whether a stream adds a delivery mode to messages without one. */
  readonly streamsMarkTransient: boolean
  /** Whether reply texts say "stream" in front of the name of a stream. */
  readonly namesStreams: boolean
  /** How the reply to `basic.get` spells the type of a quorum queue that refuses it. */
  readonly quorumName: string

  /** The minimum of an effective `x-max-priority`; 0 is raised to it. */
  readonly minMaxPriority: 0 | 1

  /**
   * Whether the deaths of a message are read from its `x-death` header, even one that a client wrote, or recorded by the broker, which ignores the
   * header and adds headers for the last death.
   */
  readonly deaths: "header" | "recorded"
  /**
   * Which queues count how often a message failed and pass that on with a dead letter. The next queue delivers such a letter as
   * redelivered.
   */
  readonly countsFailures: "no queue" | "quorum queues" | "all queues"
  /** Which headers a quorum queue adds to a message that was delivered before. */
  readonly deliveryHeaders: "deliveries, also 0" | "deliveries" | "deliveries and failures"
  /** What the delivery limit of a quorum queue limits. */
  readonly deliveryLimitCounts: "deliveries" | "failures"
  /** The delivery limit of a quorum queue that is declared without one; infinite for none. */
  readonly defaultDeliveryLimit: number
  /** Whether a negative delivery limit means no limit. Otherwise the first return of a message exceeds it. */
  readonly negativeDeliveryLimitIsNone: boolean
  /** Whether a quorum queue without a delivery limit puts messages that a client requeues behind all others. */
  readonly requeuesAtEnd: boolean
  /** How many priorities a quorum queue has. Two take turns: two messages of the higher one, then one of the lower. */
  readonly quorumPriorities: 1 | 2 | 32
  /** What `x-max-length-bytes` of a quorum queue counts. */
  readonly quorumLimitCounts: "bodies" | "properties and bodies"
  /** Whether messages that a quorum queue drops from its head at the same time are dead-lettered in reverse order. */
  readonly quorumDropsLastFirst: boolean
  /** Whether a message in a quorum queue may expire behind messages that were put back. */
  readonly expiresBehindReturned: boolean

  /** Whether queues take back the messages of a closed channel by consumer tag, or by the age of the consumer. */
  readonly releasesByConsumerTag: boolean

  /** Whether `basic.qos` with `global` limits the channel, or each of its later consumers. */
  readonly limitsChannels: boolean
  /** What happens when a client keeps a message for longer than the consumer timeout. */
  readonly overdueConsumers: "the channel is closed" | "consumers of quorum queues are cancelled"
}

const rabbit310: VersionRules = {
  version: "3.10",
  serverVersion: "3.10.0",
  maxMessageSize: 128 * 1024 * 1024,
  otherProtocol: "AMQP 0-8",
  refusesLongBodies: false,
  unknownExchangeTypeClosesConnection: true,
  comparesHeaderTypes: false,
  refusesDeliveryModes: true,
  checksUserFirst: true,
  crashesOnIntervals: true,
  streamsMarkTransient: false,
  namesStreams: false,
  quorumName: "quorum",
  minMaxPriority: 0,
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
  releasesByConsumerTag: true,
  limitsChannels: true,
  overdueConsumers: "the channel is closed"
}

const rabbit40: VersionRules = {
  ...rabbit310,
  version: "4.0",
  serverVersion: "4.0.0",
  maxMessageSize: 16 * 1024 * 1024,
  otherProtocol: "AMQP 1.0",
  unknownExchangeTypeClosesConnection: false,
  comparesHeaderTypes: true,
  refusesDeliveryModes: false,
  checksUserFirst: false,
  streamsMarkTransient: true,
  namesStreams: true,
  minMaxPriority: 1,
  deaths: "recorded",
  countsFailures: "quorum queues",
  deliveryHeaders: "deliveries",
  defaultDeliveryLimit: 20,
  negativeDeliveryLimitIsNone: true,
  quorumPriorities: 2,
  releasesByConsumerTag: false
}

const rabbit43: VersionRules = {
  ...rabbit40,
  version: "4.3",
  serverVersion: "4.3.0",
  refusesLongBodies: true,
  crashesOnIntervals: false,
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
  overdueConsumers: "consumers of quorum queues are cancelled"
}

const byVersion: Readonly<Record<Version, VersionRules>> = { "3.10": rabbit310, "4.0": rabbit40, "4.3": rabbit43 }

export const rulesOf = (version: Version): VersionRules => byVersion[version]
