/** The part of a plan that clients without recovery need too. */
import * as Effect from "effect/Effect"
import { between, chance, listOf, maybe, oneOf } from "./dice.ts"
import { autoQueue, passingQueue, retriedQueue, settledQueues } from "./plan.ts"
import type {
  ActorPlan,
  Confirming,
  ConsumerPlan,
  Fault,
  Plan,
  ProgramPlan,
  ProgramStep,
  PublisherPlan,
  ReaderPlan,
  RpcPlan,
  SecretsPlan,
  SolitaryPlan,
  SolitaryStep
} from "./plan.ts"

const publishedQueues = [...settledQueues, "a", "b", autoQueue, retriedQueue] as const

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
    timeoutMillis: yield* maybe(20, oneOf(0, 1, 20, 400)),
    retry: undefined,
    whenDisconnected: "wait"
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
    pauseMillis: yield* oneOf(0, 10),
    retries: false
  }
})

const rpc = Effect.gen(function*(): Effect.fn.Return<RpcPlan> {
  return {
    _tag: "Rpc",
    queue: "calls",
    calls: yield* between(1, 10),
    handlerMillis: yield* oneOf(0, 10, 500),
    timeoutMillis: yield* oneOf(100, 60_000),
    pauseMillis: 0,
    retries: false
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

export const actor = Effect.gen(function*(): Effect.fn.Return<ActorPlan> {
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

export const fault = Effect.gen(function*(): Effect.fn.Return<Fault> {
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

/** A plan in which no client recovers. */
export const basePlan = (seed: string): Effect.Effect<Plan> =>
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
      recovery: [undefined, undefined],
      actors: (yield* listOf(yield* between(1, 7), actor)).map((actor) =>
        confirming === "someHeld" ? withTimeout(actor) : actor
      ),
      faults: calm ? [] : yield* listOf(yield* between(0, 4), fault)
    }
  })
