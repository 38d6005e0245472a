/**
 * The plan of a simulated run: programs, and what the network and the broker do to them.
 *
 * A plan is data that follows from its seed alone, so that a run can be repeated.
 */
/** How the broker confirms the publishes of a run. */
export type Confirming = "all" | "someNacked" | "someHeld" | "someLate"

export interface PublisherPlan {
  readonly _tag: "Publisher"
  readonly queue: string
  readonly count: number
  readonly mode: "oneByOne" | "few" | "together" | "batch"
  readonly maxInFlight: number
  readonly bodySize: number
  readonly mandatory: boolean
  /** Some of its messages go to a queue that does not exist. */
  readonly misroutes: boolean
  readonly confirmTimeoutMillis: number | undefined
  readonly sendTimeoutMillis: number | undefined
  readonly whenBlocked: "wait" | "fail"
  readonly pauseMillis: number
  /** The timeout of every other publish. */
  readonly timeoutMillis: number | undefined
  readonly retry: RetryPlan | undefined
  readonly whenDisconnected: "wait" | "fail"
}

/** The pauses between attempts, and how many more attempts there are. */
export interface RetryPlan {
  readonly pauseMillis: number
  /** `undefined`: without end. */
  readonly times: number | undefined
}

export interface ConsumerPlan {
  readonly _tag: "Consumer"
  readonly queues: ReadonlyArray<string>
  /** `retry`: messages that fail are handled again after a delay. `autoAck`: there is nothing to settle. */
  readonly mode: "serve" | "layer" | "stream" | "handle" | "retry" | "autoAck"
  readonly prefetch: number
  /** What a handle changes its prefetch to. */
  readonly nextPrefetch: number
  readonly concurrency: number
  readonly handlerMillis: number
  /** The percentages of messages that are requeued, rejected or fail; the others are acknowledged. */
  readonly requeue: number
  readonly reject: number
  readonly fail: number
  readonly drainMillis: number
}

export interface ProgramPlan {
  readonly _tag: "Program"
  readonly runner: "run" | "confirmed" | "transaction"
  readonly queue: string
  readonly repeat: number
  readonly steps: ReadonlyArray<ProgramStep>
  readonly pauseMillis: number
  /** Whether it begins again when its connection is lost. */
  readonly retries: boolean
}

export type ProgramStep =
  | { readonly _tag: "Publish"; readonly bodySize: number }
  | { readonly _tag: "Get"; readonly settlement: "ack" | "reject" | "requeue" }
  | { readonly _tag: "Declare" }
  | { readonly _tag: "Bind" }
  | { readonly _tag: "Wait"; readonly millis: number }
  | { readonly _tag: "Fail" }
  | { readonly _tag: "Refused" }
  | { readonly _tag: "Recover" }
  | { readonly _tag: "Qos" }
  | { readonly _tag: "GetAutoAck" }
  /** A mandatory message that no queue takes. */
  | { readonly _tag: "Misroute" }

export interface RpcPlan {
  readonly _tag: "Rpc"
  readonly queue: string
  readonly calls: number
  readonly handlerMillis: number
  readonly timeoutMillis: number
  readonly pauseMillis: number
  /** Whether a request is sent again when its outcome is unknown. */
  readonly retries: boolean
}

/** A program with a private queue that knows what must be in it. */
export interface SolitaryPlan {
  readonly _tag: "Solitary"
  readonly runner: "run" | "confirmed"
  readonly steps: ReadonlyArray<SolitaryStep>
}

export type SolitaryStep =
  | { readonly _tag: "Publish"; readonly count: number }
  | { readonly _tag: "Get"; readonly settlement: "ack" | "reject" | "requeue" }
  | { readonly _tag: "GetAll"; readonly limit: number; readonly settlement: "ack" | "requeue" }
  /** A handler that fails. */
  | { readonly _tag: "FailedGet" }
  /** A get that times out before its message has arrived, or before that is handled. */
  | { readonly _tag: "TimedOutGet"; readonly millis: number }
  /** A handler that recovers its own message, and then acknowledges what it no longer has. */
  | { readonly _tag: "RecoveringGet" }
  | { readonly _tag: "Purge" }
  | { readonly _tag: "Wait"; readonly millis: number }

/** A consumer with a private queue or stream that knows what it must get. */
export interface ReaderPlan {
  readonly _tag: "Reader"
  readonly type: "classic" | "stream" | "autoAck"
  readonly count: number
  /** How long it leaves deliveries in its buffer, where there is no prefetch. */
  readonly holdMillis: number
  /** The first prefetch, and those that it is changed to. */
  readonly prefetches: ReadonlyArray<number>
}

export interface SecretsPlan {
  readonly _tag: "Secrets"
  readonly count: number
}

/** A topology that is declared on each session, with a publisher to its exchange and a consumer of its queue. */
export interface TopologyPlan {
  readonly _tag: "Topology"
  /** The queue, of which nothing is left after a session, except for `durable`. */
  readonly queue: "durable" | "exclusive" | "autoDelete" | "serverNamed"
  readonly count: number
  readonly pauseMillis: number
}

/** A publisher that retries, and the only consumer of its queue: nothing is lost, and the order is kept. */
export interface FollowerPlan {
  readonly _tag: "Follower"
  readonly type: "classic" | "quorum" | "stream"
  readonly mode: "serve" | "stream"
  readonly publishing: "oneByOne" | "together" | "batch"
  readonly count: number
  readonly pauseMillis: number
  readonly prefetch: number
  readonly handlerMillis: number
}

/** Replaces its connection in order, after each of these pauses. */
export interface ReconnectorPlan {
  readonly _tag: "Reconnector"
  readonly pauses: ReadonlyArray<number>
}

export type ActorPlan =
  & (
    | PublisherPlan
    | ConsumerPlan
    | ProgramPlan
    | RpcPlan
    | SolitaryPlan
    | ReaderPlan
    | SecretsPlan
    | TopologyPlan
    | FollowerPlan
    | ReconnectorPlan
  )
  & {
    /** Which of the two connections it uses. */
    readonly connection: 0 | 1
    readonly startMillis: number
    /** When it is interrupted, after its start. */
    readonly interruptMillis: number | undefined
  }

export type Fault =
  & { readonly atMillis: number; readonly connection: 0 | 1 }
  & (
    | { readonly _tag: "Cut" }
    | { readonly _tag: "CutAfter"; readonly direction: "toClient" | "toBroker"; readonly bytes: number }
    | { readonly _tag: "Stall"; readonly direction: "toClient" | "toBroker"; readonly forMillis: number }
    | { readonly _tag: "CloseConnection"; readonly replyCode: number }
    | { readonly _tag: "CloseChannel"; readonly nth: number; readonly replyCode: number }
    | { readonly _tag: "Block"; readonly forMillis: number }
    | { readonly _tag: "DeleteQueue"; readonly queue: string }
    | { readonly _tag: "Hostile"; readonly bytes: ReadonlyArray<number> }
    /** The broker refuses connections of all clients. */
    | { readonly _tag: "Refuse"; readonly forMillis: number }
    /** The password is changed at the broker, and the client has the new one after a while. */
    | { readonly _tag: "ChangePassword"; readonly forMillis: number }
  )

/** What happens when a client dials. */
export type DialPlan =
  | { readonly _tag: "Connect" }
  | { readonly _tag: "Refuse" }
  /** The peer accepts the connection and closes it. */
  | { readonly _tag: "Close" }
  /** The peer accepts the connection and sends nothing. */
  | { readonly _tag: "Stall" }
  | { readonly _tag: "Cut"; readonly direction: "toClient" | "toBroker"; readonly bytes: number }
  /** The broker learns later that the client has gone, and keeps its exclusive queues and its messages until then. */
  | { readonly _tag: "Linger"; readonly millis: number }

/** How a client recovers. */
export interface RecoveryPlan {
  /** How many endpoints it has, all of them of the same broker. */
  readonly endpoints: number
  readonly order: "shuffled" | "ordered"
  /** The pause after each round. `undefined`: those of the default schedule. */
  readonly pauseMillis: number | undefined
  readonly stableAfterMillis: number
  readonly initial: "fail" | "retry"
  readonly waitTimeoutMillis: number
  /** The first attempts to connect. The further ones succeed unless a fault prevents it. */
  readonly dials: ReadonlyArray<DialPlan>
}

export interface Plan {
  readonly seed: string
  readonly heartbeatSeconds: number
  readonly frameMax: number
  readonly channelMax: number
  readonly maxIdleChannels: number
  readonly latencyMillis: number
  readonly readSize: number | undefined
  /** The first connection is cut in its handshake or soon after it. */
  readonly cutAfterReceived: number | undefined
  readonly cutAfterSent: number | undefined
  readonly confirming: Confirming
  /** How often a client without recovery reconnects after a loss. */
  readonly reconnects: number
  /** How each client recovers. `undefined`: it has a single session at a time, and reconnects on its own. */
  readonly recovery: readonly [RecoveryPlan | undefined, RecoveryPlan | undefined]
  readonly actors: ReadonlyArray<ActorPlan>
  readonly faults: ReadonlyArray<Fault>
}

/** The queues whose messages are settled by those that get them. Each dead-letters into `dead`. */
export const settledQueues = ["a", "b", "quorum", "small"] as const

/** The request timeout of the clients: the default one. */
export const requestTimeoutMillis = 30_000

/** How long a publisher waits for a confirm by default. */
export const confirmTimeoutMillis = 60_000

/** The queue that is consumed without acknowledgements. */
export const autoQueue = "auto"

/** The queue whose messages are retried. */
export const retriedQueue = "retried"

/** A queue that is declared and deleted during a run: its messages are not checked. */
export const passingQueue = "passing"

/** The queue of a follower, whose messages are checked like those of the other queues. */
export const followedQueue = (actor: number): string => `follow.${actor}`

/** The stream of a follower, which keeps what was handled. */
export const followedStream = (actor: number): string => `stream.${actor}`

/** The name of the exchange of a topology, and of its queue. */
export const topologyName = (actor: number): string => `topology.${actor}`
