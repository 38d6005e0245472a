/** What a plan consists of. All of it is data that JSON can hold, and an `@` stands for what makes the names of a run its own. */
import type { Fields } from "./fields.ts"
import type { Arguments, Bytes } from "./wire.ts"

/** The channels of a run. Each is opened when it is used, and again after it was closed. */
export const channels = {
  confirm: { connection: "main", number: 1, confirms: true },
  plain: { connection: "main", number: 2, confirms: false },
  /** The one whose operations are often part of a transaction. */
  tx: { connection: "main", number: 3, confirms: false },
  /** The one that has a global prefetch. Its consumers are all on one queue: which of two gets a free place is up to chance. */
  global: { connection: "main", number: 4, confirms: false },
  other: { connection: "other", number: 1, confirms: true }
} as const

export type ChannelName = keyof typeof channels

export type ConnectionName = "main" | "other"

// The keys of the record are its channels.
export const channelNames = Object.keys(channels) as ReadonlyArray<ChannelName>

/** A method with its arguments, for which the broker has an answer or closes the channel or the connection. */
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

/** Which delivery is settled: one of those that are open, counted from the oldest on and around; all; a wrong one. */
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

/** In order, or without a word. */
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

/** Every queue and exchange that a plan may declare. */
export const queues = ["@q0", "@q1", "@q2", "@q3"] as const

export const exchanges = ["@e0", "@e1", "@e2"] as const

/** Names of queues that are declared by mistake: each is a valid name. */
export const strayQueues = ["@none", `@${"x".repeat(200)}`] as const

/** An exchange that is declared by mistake. */
export const strayExchange = "@none"

/** Stands for the queue that the broker named in the last delivery with a direct reply-to. */
export const replyQueue = "$reply"

/** An operation in a line. */
export const describeOperation = (operation: Operation): string => shortened(describe(operation))

/** What only has to be long is shown in short. */
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

/** Whether time decides what comes of a plan: messages or queues that expire while it runs. */
export const hasShortTimes = (plan: Plan): boolean => {
  const text = JSON.stringify(plan.operations)
  return /"(x-message-ttl|x-expires)":(1|\{"type":"\w","value":1\})\b|"expiration":"1"/.test(text)
}

/** Whether a plan has queues that are replicated, whose answers take longer. */
export const hasReplicatedQueues = (plan: Plan): boolean =>
  /"x-queue-type":"(quorum|stream)"/.test(JSON.stringify(plan.operations))
