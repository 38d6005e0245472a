/** The part of a plan that makes clients recover: more faults over a longer time, and programs that stay for as long. */
import * as Effect from "effect/Effect"
import { between, chance, listOf, maybe, oneOf } from "./dice.ts"
import { passingQueue, topologyName } from "./plan.ts"
import type {
  ActorPlan,
  DialPlan,
  Fault,
  FollowerPlan,
  Plan,
  PublisherPlan,
  ReconnectorPlan,
  RecoveryPlan,
  RetryPlan,
  TopologyPlan
} from "./plan.ts"

/** How long the faults go on, in milliseconds. */
const faultsMillis = 60_000

const dial = Effect.gen(function*(): Effect.fn.Return<DialPlan> {
  const tag = yield* oneOf<DialPlan["_tag"]>(
    "Connect",
    "Connect",
    "Connect",
    "Refuse",
    "Refuse",
    "Close",
    "Stall",
    "Cut",
    "Cut",
    "Linger",
    "Linger"
  )
  switch (tag) {
    case "Cut":
      return {
        _tag: tag,
        direction: yield* oneOf("toClient" as const, "toBroker" as const),
        // Within the handshake, while topologies are declared, or later.
        bytes: yield* oneOf(yield* between(0, 600), yield* between(400, 1_500), yield* between(0, 6_000))
      }
    case "Linger":
      return { _tag: tag, millis: yield* oneOf(100, 3_000, 20_000) }
    default:
      return { _tag: tag }
  }
})

const recovery = (calm: boolean) =>
  Effect.gen(function*(): Effect.fn.Return<RecoveryPlan> {
    return {
      endpoints: yield* oneOf(1, 1, 2, 3),
      order: yield* oneOf("shuffled" as const, "ordered" as const),
      pauseMillis: yield* oneOf(undefined, undefined, 100, 2_000),
      stableAfterMillis: yield* oneOf(0, 1_000, 10_000, 10_000),
      initial: yield* oneOf("fail" as const, "retry" as const),
      waitTimeoutMillis: yield* oneOf(30_000, 30_000, 30_000, 500),
      dials: calm ? [] : yield* listOf(yield* between(0, 8), dial)
    }
  })

/** When a fault happens: most while the programs run, some in quick succession. */
const faultTime = Effect.flatMap(
  between(1, 100),
  (kind) => kind <= 30 ? between(0, 3_000) : kind <= 70 ? between(0, 20_000) : between(0, faultsMillis)
)

const fault = Effect.gen(function*(): Effect.fn.Return<Fault> {
  const base = { atMillis: yield* faultTime, connection: yield* oneOf<0 | 1>(0, 0, 1) }
  const direction = yield* oneOf("toClient" as const, "toBroker" as const)
  const kind = yield* between(1, 100)
  if (kind <= 25) return { ...base, _tag: "Cut" }
  if (kind <= 42) return { ...base, _tag: "CutAfter", direction, bytes: yield* between(1, 3_000) }
  if (kind <= 55) {
    return { ...base, _tag: "Stall", direction, forMillis: yield* oneOf(10, 1_000, 10_000, 35_000, 90_000) }
  }
  if (kind <= 67) return { ...base, _tag: "CloseConnection", replyCode: yield* oneOf(320, 320, 541) }
  if (kind <= 77) {
    return { ...base, _tag: "CloseChannel", nth: yield* between(0, 4), replyCode: yield* oneOf(404, 406) }
  }
  if (kind <= 83) return { ...base, _tag: "Block", forMillis: yield* oneOf(1, 500, 20_000) }
  if (kind <= 87) return { ...base, _tag: "DeleteQueue", queue: passingQueue }
  if (kind <= 92) return { ...base, _tag: "Refuse", forMillis: yield* oneOf(500, 5_000, 40_000) }
  return { ...base, _tag: "ChangePassword", forMillis: yield* oneOf(0, 0, 0, 200, 3_000) }
})

const topology = Effect.gen(function*(): Effect.fn.Return<TopologyPlan> {
  return {
    _tag: "Topology",
    queue: yield* oneOf("durable" as const, "exclusive" as const, "autoDelete" as const, "serverNamed" as const),
    count: yield* between(1, 20),
    pauseMillis: yield* oneOf(10, 500, 3_000)
  }
})

const follower = Effect.gen(function*(): Effect.fn.Return<FollowerPlan> {
  return {
    _tag: "Follower",
    type: yield* oneOf("classic" as const, "quorum" as const, "stream" as const, "stream" as const),
    mode: yield* oneOf("serve" as const, "stream" as const),
    publishing: yield* oneOf("oneByOne" as const, "together" as const, "batch" as const),
    count: yield* between(1, 40),
    pauseMillis: yield* oneOf(0, 50, 500, 2_000),
    prefetch: yield* oneOf(1, 2, 10),
    handlerMillis: yield* oneOf(0, 10, 500, 2_000)
  }
})

const reconnector = Effect.gen(function*(): Effect.fn.Return<ReconnectorPlan> {
  return { _tag: "Reconnector", pauses: yield* listOf(yield* between(1, 4), oneOf(0, 10, 1_000, 10_000)) }
})

const actorOf = (plan: Effect.Effect<TopologyPlan | FollowerPlan | ReconnectorPlan>) =>
  Effect.gen(function*(): Effect.fn.Return<ActorPlan> {
    return {
      ...yield* plan,
      connection: yield* oneOf<0 | 1>(0, 0, 1),
      startMillis: yield* oneOf(0, 0, 5, 3_000),
      interruptMillis: yield* maybe(10, oneOf(1, 500, 5_000))
    }
  })

const newActor = Effect.flatMap(
  between(1, 100),
  (kind) => actorOf(kind <= 35 ? topology : kind <= 80 ? follower : reconnector)
)

/** A broker that nacks or holds the same message each time ends a retry only after some attempts. */
const retry = (plan: Plan) =>
  Effect.gen(function*(): Effect.fn.Return<RetryPlan> {
    return {
      pauseMillis: yield* oneOf(0, 0, 100, 1_000),
      times: plan.confirming === "all" ? yield* oneOf(undefined, undefined, undefined, 1) : yield* oneOf(1, 3)
    }
  })

/** What a publisher retries has to succeed at some time: retries without end would not end. */
const retrying = ({ confirmTimeoutMillis, queue }: PublisherPlan, retry: RetryPlan): Partial<PublisherPlan> => ({
  // A full queue refuses a message for as long as nothing consumes it.
  retry: { ...retry, times: queue === "small" ? retry.times ?? 3 : retry.times },
  confirmTimeoutMillis: confirmTimeoutMillis && Math.max(confirmTimeoutMillis, shortestConfirmTimeout)
})

/** More than a round trip, in milliseconds. */
const shortestConfirmTimeout = 200

/** An actor of a client that recovers: it takes longer, so that it is there while sessions come and go. */
const staying = (plan: Plan, actor: ActorPlan) =>
  Effect.gen(function*(): Effect.fn.Return<ActorPlan> {
    // Drawn for each actor, so that the further ones do not depend on its kind.
    const pauseMillis = yield* oneOf(0, 100, 1_000, 3_000)
    const retries = yield* chance(60)
    const retryPlan = yield* retry(plan)
    const whenDisconnected = yield* oneOf("wait" as const, "wait" as const, "fail" as const)
    switch (actor._tag) {
      case "Publisher":
        return {
          ...actor,
          pauseMillis: actor.count > 30 ? 0 : pauseMillis,
          ...retries ? retrying(actor, retryPlan) : {},
          whenDisconnected
        }
      case "Program":
        return { ...actor, pauseMillis, retries }
      case "Rpc":
        return { ...actor, pauseMillis, retries }
      default:
        return actor
    }
  })

/** Somebody deletes the queue of a topology. It is declared again on the next session, and not before. */
const deletion = ({ _tag, connection }: ActorPlan, actor: number) =>
  Effect.gen(function*(): Effect.fn.Return<ReadonlyArray<Fault>> {
    if (_tag !== "Topology" || !(yield* chance(20))) return []
    return [{ _tag: "DeleteQueue", connection, atMillis: yield* faultTime, queue: topologyName(actor) }]
  })

/** Makes most clients recover. Those that do not are the same as in the given plan. */
export const withRecovery = (plan: Plan): Effect.Effect<Plan> =>
  Effect.gen(function*(): Effect.fn.Return<Plan> {
    if (yield* chance(20)) return plan
    const calm = plan.faults.length === 0 && plan.cutAfterReceived === undefined && plan.cutAfterSent === undefined
    const first = yield* recovery(calm)
    const second = yield* recovery(calm)
    const both = yield* chance(70)
    const isFirst = yield* chance(70)
    const clients: Plan["recovery"] = [both || isFirst ? first : undefined, both || !isFirst ? second : undefined]
    const recovers = (actor: ActorPlan): boolean => clients[actor.connection] !== undefined
    const actors = yield* Effect.forEach(
      plan.actors,
      (actor) => recovers(actor) ? staying(plan, actor) : Effect.succeed(actor)
    )
    const added = yield* listOf(yield* between(0, 3), newActor)
    // Nobody may notice an ordered replacement, which can be checked only if there are no other faults.
    const replacing = calm && (yield* chance(60)) ? [yield* actorOf(reconnector)] : []
    const all = [...actors, ...[...added, ...replacing].filter(recovers)]
    const faults = calm ? [] : [...plan.faults, ...yield* listOf(yield* between(1, 8), fault)]
    const deletions = calm ? [] : yield* Effect.forEach(all, deletion)
    return { ...plan, recovery: clients, actors: all, faults: [...faults, ...deletions.flat()] }
  })
