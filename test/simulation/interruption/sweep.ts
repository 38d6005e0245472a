/**
 * Interrupts an operation at each of its steps, one run for each, and checks what it left behind.
 *
 * A step is an operation of Effect on the interrupted fiber, or half a millisecond for which it waits: bytes take a millisecond, so
 * the operation is interrupted before they are sent, while they are under way, and as their reply arrives.
 */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpBroker from "@effect-amqp/core/testing/AmqpBroker"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Scheduler from "effect/Scheduler"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { countingFibers } from "../../support/countingFibers.ts"
import { singleSession } from "../../support/recovery.ts"

/** What an operation can use. */
export interface Environment {
  readonly broker: AmqpBroker.AmqpBroker["Service"]
  /** A publisher that others use at the same time. */
  readonly publisher: AmqpPublisher.AmqpPublisher["Service"]
}

/** An operation that is interrupted. */
export interface Operation {
  readonly name: string
  /** The exported names that it covers, with their modules. */
  readonly covers: ReadonlyArray<string>
  /** It ends with its scope. */
  readonly run: (
    environment: Environment
  ) => Effect.Effect<unknown, unknown, AmqpConnection.AmqpConnection | Scope.Scope>
  /** Whether it runs until it is interrupted. */
  readonly isEndless?: boolean
  /** Whether messages of `work` may be gone when it is interrupted. */
  readonly mayTake?: boolean
}

/** The queue that operations publish to and consume from, and an exchange that they bind. */
export const work = AmqpQueue.classic("work")
export const source = AmqpExchange.topic("source")
/** A queue and an exchange that operations declare, bind and delete. */
export const passing = AmqpQueue.classic("passing").pipe(AmqpQueue.withBinding({ exchange: source, routingKey: "#" }))
export const passingExchange = AmqpExchange.fanout("passing")
/** Where the publisher's other messages go. */
const others = AmqpQueue.classic("others")

/** The messages that are in `work` when an operation begins. */
const waitingTexts = ["first", "second", "third"]

/** The texts of messages that operations publish begin with this. */
export const publishedText = "published "

/** No operation may need longer to end: its own timeouts, of at most a second, are not needed either. */
const endTimeoutMillis = 2_000

/** An endless operation that did nothing for this many steps is at rest. */
const idleSteps = 24

/** Yields after each operation of one fiber. */
class SteppingScheduler extends Scheduler.MixedScheduler {
  stepped: Fiber.Fiber<unknown, unknown> | undefined
  /** How many operations the fiber has run. */
  count = 0

  override shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    if (fiber !== this.stepped) return super.shouldYield(fiber)
    // The first two only bring it back to where it yielded.
    if (fiber.currentOpCount <= 2) return false
    this.count++
    return true
  }
}

/** What a sweep found. */
export interface Report {
  /** At how many steps the operation was interrupted. */
  readonly steps: number
  readonly violations: ReadonlyArray<string>
}

/** Runs the operation repeatedly, interrupted one step later each time, until it ends without an interruption. */
export const sweep = (operation: Operation): Effect.Effect<Report, unknown> =>
  Effect.gen(function*() {
    const broker = yield* AmqpBroker.make()
    const preparing = yield* broker.connect({ connectionName: "preparing" })
    const prepare = yield* preparation.pipe(Effect.provideService(AmqpConnection.AmqpConnection, preparing))
    const fibers = countingFibers()
    const scope = yield* Scope.make()
    const connection = yield* whileTimePasses(
      broker.connect({ ...singleSession, connectionName: "interrupted" }, { latency: "1 milli" }).pipe(
        Scope.provide(scope),
        fibers.counted
      )
    )
    // Not counted: more of its fibers wait while its channel has nacked.
    const publisher = yield* whileTimePasses(
      AmqpPublisher.make().pipe(
        Effect.provideService(AmqpConnection.AmqpConnection, connection),
        Scope.provide(scope)
      )
    )
    // The nacks show whether each publish gets the confirm of its own message.
    yield* broker.confirmWith(({ text }) => text.includes("refused") ? "nack" : "ack")
    const environment: Environment = { broker, publisher }
    yield* whileTimePasses(ordinaryWork).pipe(
      Effect.provideService(AmqpConnection.AmqpConnection, connection),
      fibers.counted
    )
    const fibersBefore = fibers.running
    const violations: Array<string> = []
    let steps = 0
    for (let hasEnded = false; !hasEnded && violations.length === 0; steps++) {
      const wrong = (text: string) => void violations.push(`interrupted after ${steps} steps: ${text}`)
      yield* prepare
      const before = yield* Effect.forkChild(publishOthers(environment))
      const scheduler = new SteppingScheduler()
      const fiber = yield* Effect.scoped(operation.run(environment)).pipe(
        Effect.provideService(AmqpConnection.AmqpConnection, connection),
        Effect.provideService(Scheduler.Scheduler, scheduler),
        fibers.counted,
        Effect.forkChild
      )
      scheduler.stepped = fiber
      hasEnded = !(yield* advance(fiber, scheduler, steps, operation.isEndless === true))
      const after = yield* Effect.forkChild(publishOthers(environment))
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(fiber))
      if (!(yield* passTime(endTimeoutMillis, () => interrupting.pollUnsafe() !== undefined))) {
        wrong("it did not end")
        break
      }
      const exit = yield* Fiber.await(fiber)
      if (Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)) wrong(`it failed: ${Cause.pretty(exit.cause)}`)
      const checks = yield* Effect.forkChild(
        Effect.gen(function*() {
          for (const text of [...yield* Fiber.join(before), ...yield* Fiber.join(after)]) wrong(text)
          yield* ordinaryWork
        }).pipe(Effect.provideService(AmqpConnection.AmqpConnection, connection), fibers.counted)
      )
      if (!(yield* passTime(endTimeoutMillis, () => checks.pollUnsafe() !== undefined))) {
        wrong("other operations on the connection did not end")
        break
      }
      const checked = yield* Fiber.await(checks)
      if (Exit.isFailure(checked)) wrong(`the connection does not work: ${Cause.pretty(checked.cause)}`)
      yield* passTime(3, () => false)
      if (fibers.running !== fibersBefore) wrong(`${fibers.running - fibersBefore} fibers are left`)
      for (const text of yield* leftovers(environment, operation)) wrong(text)
    }
    yield* whileTimePasses(Scope.close(scope, Exit.void))
    if (fibers.running !== 0) violations.push(`${fibers.running} fibers of the connection are left`)
    return { steps, violations }
  }).pipe(Effect.scoped, Effect.provide([TestClock.layer(), Logger.layer([])]))

/** Lets a fiber make this many steps. Returns false if it ended meanwhile, or came to rest if it is endless. */
const advance = (
  fiber: Fiber.Fiber<unknown, unknown>,
  scheduler: SteppingScheduler,
  steps: number,
  isEndless: boolean
): Effect.Effect<boolean> =>
  Effect.gen(function*() {
    let idle = 0
    for (let step = 0; step < steps; step++) {
      const { count } = scheduler
      yield* Effect.yieldNow
      if (fiber.pollUnsafe() !== undefined) return false
      if (scheduler.count > count) {
        idle = 0
        continue
      }
      yield* TestClock.adjust("500 micros")
      if (isEndless && ++idle > idleSteps) return false
    }
    return true
  })

/** Lets time pass until the condition holds or this much has passed. Returns whether it holds. */
const passTime = (millis: number, condition: () => boolean): Effect.Effect<boolean> =>
  Effect.gen(function*() {
    for (let passed = 0, step = 1; passed < millis; passed += step) {
      for (let turn = 0; turn < 3; turn++) {
        if (condition()) return true
        yield* Effect.yieldNow
      }
      // Short steps while replies are expected, longer ones while only a timeout is left.
      if (passed > 50) step = 50
      yield* TestClock.adjust(step)
    }
    return condition()
  })

const whileTimePasses = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect)
    yield* passTime(endTimeoutMillis, () => fiber.pollUnsafe() !== undefined)
    return yield* Fiber.join(fiber)
  })

/** Declares what the runs need, over a separate connection. Returns the effect that fills the queues before each run. */
const preparation = Effect.gen(function*() {
  const connection = yield* AmqpConnection.AmqpConnection
  const publisher = yield* AmqpPublisher.make()
  yield* AmqpChannel.run(AmqpChannel.gen(function*() {
    for (const queue of [work, others]) yield* AmqpQueue.declare(queue)
    yield* AmqpExchange.declare(source)
  }))
  const clear = AmqpChannel.run(AmqpChannel.forEach([work, others], (queue) => AmqpQueue.purge(queue)))
  return Effect.andThen(
    clear,
    publisher.publishAll(waitingTexts.map((text) => AmqpMessage.text(text)), AmqpQueue.route(work))
  ).pipe(Effect.provideService(AmqpConnection.AmqpConnection, connection))
})

/** Publishes some messages, and returns what was wrong with their confirms. */
const publishOthers = ({ publisher }: Environment): Effect.Effect<ReadonlyArray<string>> =>
  Effect.map(
    // A publish that gets the confirm of its neighbour has the wrong result.
    Effect.forEach(["refused first", "taken", "refused last"], (text) =>
      publisher.publish(AmqpMessage.text(text), AmqpQueue.route(others)).pipe(
        Effect.match({
          onSuccess: () =>
            "taken",
          onFailure: ({ reason }) => reason._tag
        }),
        Effect.map((answer) => {
          const due = text === "taken" ? "taken" : "Nacked"
          return answer === due ? [] : [`the other message "${text}" has the result ${answer}`]
        })
      ), { concurrency: "unbounded" }),
    (wrong) =>
      wrong.flat()
  )

/** What others do on the connection. It leaves an idle channel of each mode. */
const ordinaryWork = Effect.gen(function*() {
  yield* AmqpChannel.run(AmqpQueue.declarePassive(work))
  const publish = AmqpChannel.publish(AmqpMessage.text("ordinary"), AmqpQueue.route(others))
  yield* AmqpChannel.confirmed(publish)
  yield* AmqpChannel.transaction(publish)
})

/** What should no longer be in the broker, and what is missing there. */
const leftovers = ({ broker }: Environment, { mayTake = false }: Operation): Effect.Effect<ReadonlyArray<string>> =>
  Effect.gen(function*() {
    const wrong: Array<string> = []
    for (const { consumers, messagesUnacknowledged, name } of yield* broker.queues()) {
      if (messagesUnacknowledged > 0) wrong.push(`${messagesUnacknowledged} messages of ${name} are unacknowledged`)
      if (consumers > 0) wrong.push(`${name} has ${consumers} consumers`)
    }
    for (const { replyText } of yield* broker.refusals) wrong.push(`the broker refused: ${replyText}`)
    const connections = yield* broker.connections
    if (connections.length !== 2) wrong.push(`there are ${connections.length} connections`)
    const modes = connections.find(({ name }) => name === "interrupted")?.channels.map(({ mode }) => mode) ?? []
    // An idle one of each mode, from earlier operations, and the publisher's.
    for (const [mode, most] of [["Plain", 1], ["Confirm", 2], ["Transaction", 1]] as const) {
      const count = modes.filter((each) => each === mode).length
      if (count > most) wrong.push(`${count} channels are open of the mode ${mode}`)
    }
    const texts = (yield* broker.messages("work")).map(({ text }) => text)
    if (new Set(texts).size !== texts.length) wrong.push(`work has a message twice: ${texts.join(", ")}`)
    const kept = texts.filter((text) => !text.startsWith(publishedText))
    if (!mayTake && kept.length !== waitingTexts.length) {
      wrong.push(`of the messages of work only these are left: ${kept.join(", ")}`)
    }
    const taken = (yield* broker.messages("others")).filter(({ text }) => text === "taken").length
    if (taken !== 2) wrong.push(`${taken} of 2 other messages are left`)
    return wrong
  })
