/** Runs a plan against an in-memory broker, in the time of the test clock. */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpBroker from "@effect-amqp/core/testing/AmqpBroker"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as Random from "effect/Random"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { startClient } from "./client.ts"
import { inflict } from "./faults.ts"
import { History, idAtStart, percentOf } from "./history.ts"
import { make as makePlan } from "./makePlan.ts"
import { check } from "./model.ts"
import { Pace } from "./pace.ts"
import { autoQueue, passingQueue, retriedQueue } from "./plan.ts"
import type { Confirming, Plan } from "./plan.ts"
import { changesPassword, lingerMillis } from "./planFacts.ts"
import { userOf } from "./world.ts"
import type { World } from "./world.ts"

/** The result of a run. */
export interface Report {
  readonly plan: Plan
  readonly violations: ReadonlyArray<string>
  readonly published: number
  readonly received: number
}

/** Every program that only waits for replies has ended by then: the longest wait is a stall. */
const runTimeoutMillis = 400_000

/** With recovery, programs also wait for the next session, again and again. */
const recoveryTimeoutMillis = 2_000_000

/** How often fibers get a turn before time advances. */
const turns = 12

const deadLetters = { deadLetterExchange: "", deadLetterRoutingKey: "dead" }

const topology = [
  AmqpQueue.classic("dead"),
  AmqpQueue.classic("a", deadLetters),
  AmqpQueue.classic("b", deadLetters),
  AmqpQueue.quorum("quorum", { ...deadLetters, deliveryLimit: 3 }),
  AmqpQueue.classic("small", { ...deadLetters, maxLength: 5, overflow: "reject-publish" }),
  AmqpQueue.classic(autoQueue),
  AmqpQueue.classic(retriedQueue, deadLetters),
  AmqpQueue.classic(passingQueue)
]

/** Runs the plan of a seed. */
export const run = (seed: string): Effect.Effect<Report> => runPlan(makePlan(seed))

export const runPlan = (plan: Plan): Effect.Effect<Report> =>
  Effect.gen(function*() {
    const history = new History()
    const pace = new Pace()
    const brokerScope = yield* Scope.make()
    const broker = yield* Scope.provide(
      AmqpBroker.make({
        heartbeat: `${plan.heartbeatSeconds} seconds`,
        frameMax: plan.frameMax,
        channelMax: plan.channelMax
      }),
      brokerScope
    )
    yield* declareAll(broker)
    const clock = yield* Clock.Clock
    const world: World = {
      plan,
      broker,
      history,
      pace,
      clock,
      scope: brokerScope,
      passwords: ["guest", "guest"],
      newPasswords: ["guest", "guest"]
    }
    for (const client of [0, 1] as const) {
      if (changesPassword(plan, client)) yield* broker.setUser(userOf(client), { password: Redacted.make("guest") })
    }
    yield* broker.confirmWith((message) => confirmation(world, message))
    const scope = yield* Scope.make()
    const clients = yield* Effect.forEach([0, 1] as const, (index) => startClient(index, world, scope))
    const faults = yield* Effect.forkChild(
      Effect.forEach(plan.faults, (fault) => inflict(fault, world), { concurrency: "unbounded", discard: true })
    )
    const working = yield* Effect.forkChild(Effect.forEach(clients, ({ done }) => done))
    const recovers = plan.recovery.some((each) => each !== undefined)
    const timeoutMillis = recovers ? recoveryTimeoutMillis : runTimeoutMillis
    const hasEnded = yield* passTime(timeoutMillis, pace, () => working.pollUnsafe() !== undefined)
    if (!hasEnded) {
      history.violations.push("the run did not end")
      for (const actor of clients.flatMap(({ running }) => running())) history.exits.push({ actor, exit: "running" })
    }
    yield* Fiber.interrupt(faults)
    yield* broker.unblock
    const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
    if (!(yield* passTime(60_000, pace, () => closing.pollUnsafe() !== undefined))) {
      history.violations.push("the connections did not close within a minute")
    }
    yield* passTime(100 + lingerMillis(plan), pace, () => false)
    for (const { fibers: { running } } of clients) {
      if (running !== 0) history.violations.push(`${running} fibers are left`)
    }
    for (const { id } of yield* broker.connections) history.violations.push(`connection ${id} is left`)
    const violations = yield* check(plan, history, broker)
    yield* Scope.close(brokerScope, Exit.void)
    return { plan, violations, published: history.published.size, received: history.received.length }
  }).pipe(
    // The client draws pauses and the order of endpoints.
    Random.withSeed(`${plan.seed} runs`),
    // Each run has its own metrics, because the connections of all runs have the same names.
    Effect.provideService(Metric.MetricRegistry, new Map()),
    Effect.provide([TestClock.layer(), Logger.layer([])])
  )

/** Lets time pass until the condition holds or this much has passed. Returns whether it holds. */
const passTime = (millis: number, pace: Pace, condition: () => boolean): Effect.Effect<boolean> =>
  Effect.gen(function*() {
    pace.slowDown()
    for (let passed = 0; passed < millis;) {
      yield* Effect.repeat(Effect.yieldNow, { times: turns })
      if (condition()) return true
      const step = pace.next()
      passed += step
      yield* TestClock.adjust(step)
    }
    yield* Effect.repeat(Effect.yieldNow, { times: turns })
    return condition()
  })

/** Records that queues have taken a message, and decides how it is confirmed. A message that arrives again may be confirmed otherwise. */
const confirmation = ({ history, plan: { confirming } }: World, message: AmqpBroker.PublishedMessage) => {
  const id = idAtStart(message.body)
  const count = history.published.has(id) ? history.arrive(id) : 1
  // Those of topologies are published again until they are confirmed, and each is the same.
  if (confirming === "all" || id.startsWith("topology")) return "ack"
  const decided = confirmationBy(confirming, percentOf(count === 1 ? message.text : `${id} ${count}`))
  if (decided === "nack" || typeof decided === "object" && decided.confirmation === "nack") history.nacked.add(id)
  return decided
}

const confirmationBy = (confirming: Exclude<Confirming, "all">, percent: number): AmqpBroker.Confirmation => {
  switch (confirming) {
    case "someNacked":
      return percent < 15 ? "nack" : "ack"
    case "someHeld":
      return percent < 15 ? "hold" : "ack"
    case "someLate":
      return percent < 30 ? { confirmation: percent < 5 ? "nack" : "ack", after: percent * 20 } : "ack"
  }
}

const declareAll = (broker: AmqpBroker.AmqpBroker["Service"]): Effect.Effect<void> =>
  broker.connect().pipe(
    Effect.flatMap((connection) =>
      AmqpChannel.run(AmqpChannel.forEach(topology, AmqpQueue.declare)).pipe(
        Effect.provideService(AmqpConnection.AmqpConnection, connection)
      )
    ),
    Effect.scoped,
    Effect.orDie,
    Effect.asVoid
  )
