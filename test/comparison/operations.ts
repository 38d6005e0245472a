/** The operations of a plan. They can be represented as JSON, and an `@` stands for the prefix that makes the names of a run unique. */
import type { Fields } from "./fields.ts"
import type { Arguments, Bytes } from "./wire.ts"

/** The channels of a run. Each is opened when it is used, and reopened after it was closed. */
export const channels = {
  confirm: { connection: "main", number: 1, confirms: true },
  plain: { connection: "main", number: 2, confirms: false },
  /** A channel whose operations are often part of a transaction. */
  tx: { connection: "main", number: 3, confirms: false },
  /** A channel with a global prefetch. All its consumers are on one queue, because RabbitMQ picks one of several queues at random. */
  global: { connection: "main", number: 4, confirms: false },
  other: { connection: "other", number: 1, confirms: true }
} as const

export type ChannelName = keyof typeof channels

export type ConnectionName = "main" | "other"

// The keys of the record are its channels.
export const channelNames = Object.keys(channels) as ReadonlyArray<ChannelName>

/** A method with its arguments, to which the broker replies or for which it closes the channel or the connection. */
export interface Request {
  readonly _tag: "Request"
  readonly channel: ChannelName
  readonly method: string
  readonly arguments: Arguments
}

export interface Publish {
  readonly _tag: "Publish"
  readonly channel: ChannelName
  readonly exchange: string
  readonly routingKey: string | Bytes
  readonly mandatory: boolean
  readonly immediate: boolean
  readonly properties: Arguments & { readonly headers?: Fields | undefined }
  readonly body: string
}

/** Which delivery is settled: an unsettled one by its index (modulo their number), all of them, or a wrong one. */
export type Target = number | "all" | "unknown" | "settledLast"

export interface Settle {
  readonly _tag: "Settle"
  readonly channel: ChannelName
  readonly method: "basic.ack" | "basic.nack" | "basic.reject"
  readonly target: Target
  readonly multiple: boolean
  readonly requeue: boolean
}

export interface CloseChannel {
  readonly _tag: "CloseChannel"
  readonly channel: ChannelName
}

/** With a close, or by cutting the connection. */
export interface CloseConnection {
  readonly _tag: "CloseConnection"
  readonly connection: ConnectionName
  readonly how: "close" | "cut"
}

export type Operation = Request | Publish | Settle | CloseChannel | CloseConnection

export interface Plan {
  readonly seed: number
  readonly theme: string
  readonly operations: ReadonlyArray<Operation>
}

/** The queues and exchanges that a plan may declare. */
export const queues = ["@q0", "@q1", "@q2", "@q3"] as const

export const exchanges = ["@e0", "@e1", "@e2"] as const

/** Valid names of queues that are declared by mistake. */
export const strayQueues = ["@none", `@${"x".repeat(200)}`] as const

/** An exchange that is declared by mistake. */
export const strayExchange = "@none"

/** Stands for the reply address in the last delivery with a direct reply-to. */
export const replyQueue = "$reply"

/** Describes an operation in one line. */
export const describeOperation = (operation: Operation): string => shortened(describe(operation))

/** Abbreviates long repetitions. */
const shortened = (text: string): string => text.replaceAll(/(.)\1{20,}/g, "$1…$1")

const describe = (operation: Operation): string => {
  switch (operation._tag) {
    case "Request":
      return `${operation.channel}: ${operation.method} ${JSON.stringify(operation.arguments)}`
    case "Publish": {
      const { body, channel, exchange, immediate, mandatory, properties, routingKey } = operation
      const flags = `${mandatory ? " mandatory" : ""}${immediate ? " immediate" : ""}`
      const shown = JSON.stringify(properties)
      return `${channel}: basic.publish ${JSON.stringify(body)} to ${JSON.stringify({ exchange, routingKey })}${flags}${
        shown === "{}" ? "" : ` ${shown}`
      }`
    }
    case "Settle": {
      const { channel, method, multiple, requeue, target } = operation
      const which = typeof target === "number" ? `open delivery ${target}` : target
      return `${channel}: ${method} ${which}${multiple ? " multiple" : ""}${
        method === "basic.ack" ? "" : requeue ? " requeue" : " no requeue"
      }`
    }
    case "CloseChannel":
      return `${operation.channel}: close the channel`
    case "CloseConnection":
      return `${operation.how} the connection "${operation.connection}"`
  }
}

/** Whether messages or queues expire during the run. */
export const hasShortTimes = (plan: Plan): boolean => {
  const text = JSON.stringify(plan.operations)
  return /"(x-message-ttl|x-expires)":(1|\{"type":"\w","value":1\})\b|"expiration":"1"/.test(text)
}

/** Whether a plan has replicated queues, which reply later. */
export const hasReplicatedQueues = (plan: Plan): boolean =>
  /"x-queue-type":"(quorum|stream)"/.test(JSON.stringify(plan.operations))
