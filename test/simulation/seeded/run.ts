/** Runs a plan against a broker in memory, without any time passing but that of the test's clock. */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpBroker from "@effect-amqp/core/testing/AmqpBroker"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { act } from "./actors.ts"
import { History, percentOf } from "./history.ts"
import { check } from "./model.ts"
import { make as makePlan, passingQueue } from "./plan.ts"
import type { Fault, Plan } from "./plan.ts"

/** What a run showed. */
export interface Report {
  readonly plan: Plan
  readonly violations: ReadonlyArray<string>
  readonly published: number
  readonly received: number
}

/** After this long every program that waits for nothing but an answer has ended: the longest timeout is a stall's. */
const patienceMillis = 400_000

/** How often fibers get their turn before time goes on. */
const turns = 12

const deadLetters = { deadLetterExchange: "", deadLetterRoutingKey: "dead" }

const topology = [
  AmqpQueue.classic("dead"),
  AmqpQueue.classic("a", deadLetters),
  AmqpQueue.classic("b", deadLetters),
  AmqpQueue.quorum("quorum", { ...deadLetters, deliveryLimit: 3 }),
  AmqpQueue.classic("small", { ...deadLetters, maxLength: 5, overflow: "reject-publish" }),
  AmqpQueue.classic(passingQueue)
]

/** Runs the plan of a seed. */
export const run = (seed: string): Effect.Effect<Report> => runPlan(makePlan(seed))

export const runPlan = (plan: Plan): Effect.Effect<Report> =>
  Effect.gen(function*() {
    const history = new History()
    let fibers = 0
    const counted = Effect.provideService(Metric.FiberRuntimeMetrics, {
      recordFiberStart: () => void fibers++,
      recordFiberEnd: () => void fibers--
    })
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
    if (plan.confirming !== "all") {
      const instead = plan.confirming === "someNacked" ? "nack" : "hold"
      yield* broker.confirmWith(({ text }) => percentOf(text) < 15 ? instead : "ack")
    }
    const scope = yield* Scope.make()
    const clients = yield* counted(
      Effect.forEach([0, 1] as const, (index) => startClient(index, plan, broker, history, scope))
    )
    const faults = yield* Effect.forkChild(
      Effect.forEach(plan.faults, (fault) => inflict(fault, broker), { concurrency: "unbounded", discard: true })
    )
    const working = yield* Effect.forkChild(Effect.forEach(clients, ({ done }) => done))
    const isOver = yield* passTime(patienceMillis, () => working.pollUnsafe() !== undefined)
    if (!isOver) {
      for (const actor of clients.flatMap(({ running }) => running())) history.exits.push({ actor, exit: "running" })
    }
    yield* Fiber.interrupt(faults)
    yield* broker.unblock
    const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
    if (!(yield* passTime(60_000, () => closing.pollUnsafe() !== undefined))) {
      history.violations.push("the connections did not close within a minute")
    }
    yield* passTime(100, () => false)
    if (fibers !== 0) history.violations.push(`${fibers} fibers are left`)
    for (const { id } of yield* broker.connections) history.violations.push(`connection ${id} is left`)
    const violations = yield* check(plan, history, broker)
    yield* Scope.close(brokerScope, Exit.void)
    return { plan, violations, published: history.published.size, received: history.received.length }
  }).pipe(Effect.provide([TestClock.layer(), Logger.layer([])]))

/** Lets time pass until the condition holds or so much has passed, and answers whether it holds. */
const passTime = (millis: number, condition: () => boolean): Effect.Effect<boolean> =>
  Effect.gen(function*() {
    let passed = 0
    // Short steps while much happens, longer ones when there is only waiting.
    for (let step = 1; passed < millis; step = Math.min(step * 1.3, 5_000)) {
      yield* Effect.repeat(Effect.yieldNow, { times: turns })
      if (condition()) return true
      passed += step
      yield* TestClock.adjust(step)
    }
    yield* Effect.repeat(Effect.yieldNow, { times: turns })
    return condition()
  })

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

/** Connects and starts the actors of a connection. `done` when all of them have ended that end by themselves. */
const startClient = (
  index: 0 | 1,
  plan: Plan,
  broker: AmqpBroker.AmqpBroker["Service"],
  history: History,
  scope: Scope.Scope
) =>
  Effect.gen(function*() {
    const actors = plan.actors.map((actor, number) => ({ actor, number })).filter(({ actor }) =>
      actor.connection === index
    )
    const running = new Set(actors.map(({ number }) => number))
    const connection = broker.connect(
      {
        connectionName: `c${index}`,
        maxIdleChannels: plan.maxIdleChannels,
        heartbeat: `${plan.heartbeatSeconds} seconds`
      },
      {
        latency: plan.latencyMillis,
        readSize: plan.readSize,
        ...(index === 0 ? { cutAfterReceived: plan.cutAfterReceived, cutAfterSent: plan.cutAfterSent } : {})
      }
    )
    const work = Effect.gen(function*() {
      const connected = yield* connection
      const consumers: Array<Fiber.Fiber<void>> = []
      const others: Array<Fiber.Fiber<void>> = []
      for (const { actor, number } of actors) {
        const acting = Effect.andThen(Effect.sleep(actor.startMillis), act(number, actor, history)).pipe(
          Effect.provideService(AmqpConnection.AmqpConnection, connected)
        )
        const fiber = yield* Effect.forkChild(
          Effect.gen(function*() {
            const fiber = yield* Effect.forkChild(acting)
            if (actor.interruptMillis !== undefined) {
              yield* Effect.forkChild(
                Effect.andThen(Effect.sleep(actor.startMillis + actor.interruptMillis), Fiber.interrupt(fiber))
              )
            }
            const exit = yield* Effect.onInterrupt(Fiber.await(fiber), () => Fiber.interrupt(fiber))
            history.exits.push({ actor: number, exit })
            running.delete(number)
          }).pipe(Effect.onInterrupt(() => Effect.sync(() => running.delete(number))))
        )
        ;(actor._tag === "Consumer" ? consumers : others).push(fiber)
      }
      yield* Fiber.awaitAll(others)
      // Consumers go on as long as they are let: give them time for what was published, then stop them.
      yield* Effect.sleep(20_000)
      yield* Fiber.interruptAll(consumers)
      // Both sides count the same channels once each has heard of what the other closed.
      const own = yield* find(broker, index)
      yield* Effect.forEach(["toClient", "toBroker"] as const, (direction) => own?.resume(direction) ?? Effect.void)
      yield* Effect.sleep(6_000)
      const open = yield* find(broker, index)
      const state = yield* connected.state
      const channels = yield* connected.channelCount
      if (open !== undefined && state._tag === "Open" && open.channels.length !== channels) {
        history.violations.push(
          `connection ${index} counts ${channels} channels and the broker ${open.channels.length}`
        )
      }
      if (state._tag === "Open" && channels > 3 * plan.maxIdleChannels) {
        history.violations.push(`connection ${index} has ${channels} channels left`)
      }
    })
    // A connection that can't be made is as good as one that ends.
    const fiber = yield* Effect.forkIn(Scope.provide(Effect.exit(work), scope), scope)
    return {
      done: Effect.flatMap(Fiber.join(fiber), (exit) =>
        Effect.sync(() => {
          if (Exit.isFailure(exit)) running.clear()
        })),
      running: () => [...running]
    }
  })

const find = (broker: AmqpBroker.AmqpBroker["Service"], index: 0 | 1) =>
  Effect.map(broker.connections, (connections) => connections.find(({ name }) => name === `c${index}`))

const inflict = (fault: Fault, broker: AmqpBroker.AmqpBroker["Service"]): Effect.Effect<void> =>
  Effect.gen(function*() {
    yield* Effect.sleep(fault.atMillis)
    const connection = yield* find(broker, fault.connection)
    switch (fault._tag) {
      case "Block":
        yield* broker.block("simulated")
        yield* Effect.sleep(fault.forMillis)
        return yield* broker.unblock
      case "DeleteQueue":
        return yield* Effect.ignore(
          Effect.scoped(Effect.flatMap(broker.connect(), (connected) =>
            Effect.provideService(
              AmqpChannel.run(AmqpQueue.delete(fault.queue)),
              AmqpConnection.AmqpConnection,
              connected
            )))
        )
    }
    if (connection === undefined) return
    switch (fault._tag) {
      case "Cut":
        return yield* connection.cut
      case "CutAfter":
        return yield* connection.cutAfter(fault.direction, fault.bytes)
      case "Stall":
        yield* connection.stall(fault.direction)
        yield* Effect.sleep(fault.forMillis)
        return yield* connection.resume(fault.direction)
      case "CloseConnection":
        return yield* connection.close(fault.replyCode, "simulated")
      case "CloseChannel": {
        const channel = connection.channels[fault.nth]
        return channel === undefined
          ? undefined
          : yield* connection.closeChannel(channel.number, fault.replyCode, "simulated")
      }
      case "Hostile":
        return yield* connection.sendBytes(Uint8Array.from(fault.bytes))
    }
  })
