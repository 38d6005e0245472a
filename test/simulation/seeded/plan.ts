/**
 * The plan of a simulated run: programs, and what the network and the broker do to them.
 *
 * A plan is data that follows from its seed alone, so that a run can be repeated.
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"

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

export type ActorPlan =
  & (PublisherPlan | ConsumerPlan | ProgramPlan | RpcPlan | SolitaryPlan | ReaderPlan | SecretsPlan)
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
  )

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
  /** How often a client reconnects after a loss. */
  readonly reconnects: number
  readonly actors: ReadonlyArray<ActorPlan>
  readonly faults: ReadonlyArray<Fault>
}

/** The queues whose messages are settled by those that get them. Each dead-letters into `dead`. */
const settledQueues = ["a", "b", "quorum", "small"] as const

/** The request timeout of the clients: the default one. */
export const requestTimeoutMillis = 30_000

/** How long a publisher waits for a confirm by default. */
export const confirmTimeoutMillis = 60_000

/** The queue that is consumed without acknowledgements. */
export const autoQueue = "auto"

/** The queue whose messages are retried. */
export const retriedQueue = "retried"

const publishedQueues = [...settledQueues, "a", "b", autoQueue, retriedQueue] as const

/** A queue that is declared and deleted during a run: its messages are not checked. */
export const passingQueue = "passing"

const between = (minimum: number, maximum: number): Effect.Effect<number> => Random.nextIntBetween(minimum, maximum)

const chance = (percent: number): Effect.Effect<boolean> => Effect.map(between(1, 100), (value) => value <= percent)

const oneOf = <A>(...values: ReadonlyArray<A>): Effect.Effect<A> =>
  Effect.map(between(0, values.length - 1), (index) => values[index])

const maybe = <A>(percent: number, value: Effect.Effect<A>): Effect.Effect<A | undefined> =>
  Effect.flatMap(chance(percent), (wanted) => wanted ? value : Effect.succeed(undefined))

const listOf = <A>(length: number, value: Effect.Effect<A>): Effect.Effect<ReadonlyArray<A>> =>
  Effect.forEach(Array.from({ length }), () => value)

/** Mostly small, sometimes several frames, and occasionally so large that it is interleaved with other channels. */
const bodySize = Effect.flatMap(
  between(1, 100),
  (kind) => kind <= 90 ? between(8, 200) : kind <= 98 ? between(5_000, 60_000) : between(280_000, 600_000)
)

const publisher = Effect.gen(function*(): Effect.fn.Return<PublisherPlan> {
  const size = yield* bodySize
  // Enough small messages to make the client's confirm ledger grow.
  const many = size < 200 && (yield* chance(6))
  return {
    _tag: "Publisher",
    queue: yield* oneOf<string>(...publishedQueues),
    count: many ? yield* between(257, 300) : size > 100_000 ? yield* between(1, 3) : yield* between(1, 30),
    mode: yield* oneOf<PublisherPlan["mode"]>("oneByOne", "few", "together", "batch"),
    maxInFlight: yield* oneOf(1, 2, 7, 1024),
    bodySize: size,
    mandatory: yield* chance(40),
    misroutes: yield* chance(25),
    confirmTimeoutMillis: yield* maybe(30, between(1, 3_000)),
    sendTimeoutMillis: yield* maybe(30, between(0, 3_000)),
    whenBlocked: yield* oneOf<PublisherPlan["whenBlocked"]>("wait", "fail"),
    pauseMillis: many ? 0 : yield* oneOf(0, 0, 5, 100),
    timeoutMillis: yield* maybe(20, oneOf(0, 1, 20, 400))
  }
})

const consumer = Effect.gen(function*(): Effect.fn.Return<ConsumerPlan> {
  const mode = yield* oneOf<ConsumerPlan["mode"]>(
    "serve",
    "serve",
    "serve",
    "layer",
    "stream",
    "stream",
    "handle",
    "retry",
    "autoAck"
  )
  const queues = mode === "retry"
    ? [retriedQueue]
    : mode === "autoAck"
    ? [autoQueue]
    : (yield* chance(25))
    ? ["a", "b"]
    : [yield* oneOf<string>(...settledQueues, passingQueue)]
  return {
    _tag: "Consumer",
    queues,
    mode,
    prefetch: yield* oneOf(1, 2, 10, 100),
    nextPrefetch: yield* oneOf(1, 3, 50),
    concurrency: yield* oneOf(1, 1, 4),
    handlerMillis: yield* oneOf(0, 0, 1, 50, 2_000),
    requeue: yield* oneOf(0, 0, 20, 60),
    reject: yield* oneOf(0, 0, 10),
    fail: yield* oneOf(0, 0, 20),
    drainMillis: yield* oneOf(0, 10, 5_000)
  }
})

const step = Effect.gen(function*(): Effect.fn.Return<ProgramStep> {
  const tag = yield* oneOf<ProgramStep["_tag"]>(
    "Publish",
    "Publish",
    "Publish",
    "Get",
    "Get",
    "Declare",
    "Bind",
    "Wait",
    "Fail",
    "Refused",
    "Recover",
    "Qos",
    "GetAutoAck",
    "Misroute"
  )
  switch (tag) {
    case "Publish":
      return { _tag: tag, bodySize: yield* bodySize }
    case "Get":
      return { _tag: tag, settlement: yield* oneOf<"ack" | "reject" | "requeue">("ack", "ack", "reject", "requeue") }
    case "Wait":
      return { _tag: tag, millis: yield* oneOf(0, 1, 100, 3_000) }
    default:
      return { _tag: tag }
  }
})

const program = Effect.gen(function*(): Effect.fn.Return<ProgramPlan> {
  return {
    _tag: "Program",
    runner: yield* oneOf<ProgramPlan["runner"]>("run", "confirmed", "transaction"),
    queue: yield* oneOf<string>(...settledQueues),
    repeat: yield* between(1, 4),
    steps: yield* listOf(yield* between(1, 8), step),
    pauseMillis: yield* oneOf(0, 10)
  }
})

const rpc = Effect.gen(function*(): Effect.fn.Return<RpcPlan> {
  return {
    _tag: "Rpc",
    queue: "calls",
    calls: yield* between(1, 10),
    handlerMillis: yield* oneOf(0, 10, 500),
    timeoutMillis: yield* oneOf(100, 60_000)
  }
})

const solitaryStep = Effect.gen(function*(): Effect.fn.Return<SolitaryStep> {
  const tag = yield* oneOf<SolitaryStep["_tag"]>(
    "Publish",
    "Publish",
    "Publish",
    "Get",
    "Get",
    "GetAll",
    "FailedGet",
    "TimedOutGet",
    "RecoveringGet",
    "Purge",
    "Wait"
  )
  switch (tag) {
    case "Publish":
      return { _tag: tag, count: yield* between(1, 4) }
    case "Get":
      return { _tag: tag, settlement: yield* oneOf<"ack" | "reject" | "requeue">("ack", "ack", "reject", "requeue") }
    case "GetAll":
      return { _tag: tag, limit: yield* between(1, 5), settlement: yield* oneOf<"ack" | "requeue">("ack", "requeue") }
    case "TimedOutGet":
      return { _tag: tag, millis: yield* oneOf(0, 1, 10, 100) }
    case "Wait":
      return { _tag: tag, millis: yield* oneOf(1, 50, 1_000) }
    default:
      return { _tag: tag }
  }
})

const solitary = Effect.gen(function*(): Effect.fn.Return<SolitaryPlan> {
  return {
    _tag: "Solitary",
    runner: yield* oneOf<SolitaryPlan["runner"]>("run", "confirmed"),
    steps: yield* listOf(yield* between(2, 12), solitaryStep)
  }
})

const reader = Effect.gen(function*(): Effect.fn.Return<ReaderPlan> {
  return {
    _tag: "Reader",
    type: yield* oneOf<ReaderPlan["type"]>("classic", "stream", "autoAck"),
    count: yield* between(1, 40),
    holdMillis: yield* oneOf(0, 20, 500),
    prefetches: yield* listOf(yield* between(1, 4), oneOf(1, 2, 5, 20))
  }
})

const secrets = Effect.gen(function*(): Effect.fn.Return<SecretsPlan> {
  return { _tag: "Secrets", count: yield* between(1, 5) }
})

const actor = Effect.gen(function*(): Effect.fn.Return<ActorPlan> {
  const kind = yield* between(1, 100)
  const plan = kind <= 32
    ? yield* publisher
    : kind <= 60
    ? yield* consumer
    : kind <= 80
    ? yield* program
    : kind <= 86
    ? yield* rpc
    : kind <= 92
    ? yield* solitary
    : kind <= 98
    ? yield* reader
    : yield* secrets
  return {
    ...plan,
    connection: yield* oneOf<0 | 1>(0, 0, 1),
    startMillis: yield* oneOf(0, 0, 0, 5, 200),
    interruptMillis: yield* maybe(30, oneOf(0, 1, 2, 5, 50, 500, 5_000))
  }
})

/** An actor that may wait for a confirm that never comes needs its own timeout. */
const withTimeout = (actor: ActorPlan): ActorPlan =>
  actor._tag === "Publisher"
    ? { ...actor, confirmTimeoutMillis: actor.confirmTimeoutMillis ?? 2_000 }
    : { ...actor, interruptMillis: actor.interruptMillis ?? 20_000 }

const fault = Effect.gen(function*(): Effect.fn.Return<Fault> {
  const base = {
    atMillis: yield* oneOf(0, 1, 3, 10, 50, 200, 1_000, 4_000),
    connection: yield* oneOf<0 | 1>(0, 0, 0, 1)
  }
  const kind = yield* between(1, 100)
  if (kind <= 10) return { ...base, _tag: "Cut" }
  if (kind <= 25) {
    const direction = yield* oneOf("toClient" as const, "toBroker" as const)
    return { ...base, _tag: "CutAfter", direction, bytes: yield* between(1, 3_000) }
  }
  if (kind <= 40) {
    const direction = yield* oneOf("toClient" as const, "toBroker" as const)
    return { ...base, _tag: "Stall", direction, forMillis: yield* oneOf(10, 1_000, 10_000, 35_000, 35_000, 200_000) }
  }
  if (kind <= 50) return { ...base, _tag: "CloseConnection", replyCode: yield* oneOf(320, 541) }
  if (kind <= 70) return { ...base, _tag: "CloseChannel", nth: yield* between(0, 4), replyCode: yield* oneOf(404, 406) }
  if (kind <= 82) return { ...base, _tag: "Block", forMillis: yield* oneOf(1, 500, 20_000) }
  if (kind <= 92) return { ...base, _tag: "DeleteQueue", queue: passingQueue }
  return { ...base, _tag: "Hostile", bytes: yield* oneOf(...hostile) }
})

/** Bytes that no broker sends: the client has to close the connection for each of them. */
const hostile: ReadonlyArray<ReadonlyArray<number>> = [
  // Not a frame.
  [0x55, 0xaa, 1, 2, 3, 4, 5, 6],
  // A method that does not exist.
  [1, 0, 0, 0, 0, 0, 4, 0, 99, 0, 99, 206],
  // A frame above any frame_max.
  [3, 0, 1, 0x7f, 0xff, 0xff, 0xff],
  // A wrong frame end.
  [1, 0, 0, 0, 0, 0, 4, 0, 10, 0, 61, 0],
  // A body on channel 0.
  [3, 0, 0, 0, 0, 0, 1, 65, 206],
  // A heartbeat with a payload.
  [8, 0, 0, 0, 0, 0, 1, 0, 206],
  // A delivery on a channel that was never opened.
  [1, 0x7f, 0xff, 0, 0, 0, 5, 0, 60, 0, 31, 0, 206],
  // A reply to connection.update-secret without a request.
  [1, 0, 0, 0, 0, 0, 4, 0, 10, 0, 71, 206]
]

/** The plan of a seed. */
export const make = (seed: string): Plan =>
  Effect.runSync(
    Effect.gen(function*(): Effect.fn.Return<Plan> {
      const calm = yield* chance(25)
      const confirming = calm ? "all" : yield* oneOf<Confirming>("all", "all", "someNacked", "someHeld", "someLate")
      return {
        seed,
        heartbeatSeconds: yield* oneOf(0, 1, 10, 60),
        frameMax: yield* oneOf(8192, 131072),
        channelMax: yield* oneOf(6, 2047),
        maxIdleChannels: yield* oneOf(0, 1, 8),
        latencyMillis: yield* oneOf(0, 0, 1, 30),
        readSize: yield* oneOf(undefined, undefined, undefined, 61, 1_000),
        cutAfterReceived: calm ? undefined : yield* maybe(8, between(0, 1_500)),
        cutAfterSent: calm ? undefined : yield* maybe(8, between(0, 1_500)),
        confirming,
        reconnects: yield* oneOf(0, 0, 1, 2),
        actors: (yield* listOf(yield* between(1, 7), actor)).map((actor) =>
          confirming === "someHeld" ? withTimeout(actor) : actor
        ),
        faults: calm ? [] : yield* listOf(yield* between(0, 4), fault)
      }
    }).pipe(Random.withSeed(seed))
  )
