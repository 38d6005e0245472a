/**
 * Interrupts an operation at each of its steps, one run for each, and looks for what it left behind.
 *
 * A step is an operation of Effect on the fiber that is interrupted, or half a millisecond for which it waits: bytes are a
 * millisecond under way, so that it is interrupted before they leave, on their way, and as their answer comes.
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

/** What an operation has to do with. */
export interface World {
  readonly broker: AmqpBroker.AmqpBroker["Service"]
  /** A publisher that others use at the same time. */
  readonly publisher: AmqpPublisher.AmqpPublisher["Service"]
}

/** An operation that is interrupted. */
export interface Operation {
  readonly name: string
  /** The exported names that it stands for, with their modules. */
  readonly covers: ReadonlyArray<string>
  /** It ends with its scope. */
  readonly run: (world: World) => Effect.Effect<unknown, unknown, AmqpConnection.AmqpConnection | Scope.Scope>
  /** Whether it goes on until it is interrupted. */
  readonly isEndless?: boolean
  /** Whether messages of `work` may be gone when it is interrupted. */
  readonly mayTake?: boolean
}

/** The queue that operations publish to and receive from, and an exchange that sends there. There are more in the broker. */
export const work = AmqpQueue.classic("work")
export const source = AmqpExchange.topic("source")
/** A queue and an exchange that operations declare, bind and delete. */
export const passing = AmqpQueue.classic("passing").pipe(AmqpQueue.withBinding({ exchange: source, routingKey: "#" }))
export const passingExchange = AmqpExchange.fanout("passing")
/** Where the publisher's other messages go. */
const others = AmqpQueue.classic("others")

/** The messages that are in `work` when an operation begins. */
const waitingTexts = ["first", "second", "third"]

/** What operations publish begins like this, and is followed by what distinguishes the messages of a run. */
export const publishedText = "published "

/** Nothing is in the way of an operation that ends, so none may need its timeouts: longer than the one of a second that some have. */
const patienceMillis = 2_000

/** An endless operation that did nothing for so many steps does nothing more. */
const idleSteps = 24

/** Yields after each operation of one fiber. */
class SteppingScheduler extends Scheduler.MixedScheduler {
  stepped: Fiber.Fiber<unknown, unknown> | undefined
  /** How many operations the fiber has made. */
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

/** Runs the operation again and again, interrupted one step later each time, until it ends by itself. */
export const sweep = (operation: Operation): Effect.Effect<Report, unknown> =>
  Effect.gen(function*() {
    const broker = yield* AmqpBroker.make()
    const preparing = yield* broker.connect({ connectionName: "preparing" })
    const prepare = yield* preparation.pipe(Effect.provideService(AmqpConnection.AmqpConnection, preparing))
    const fibers = countingFibers()
    const scope = yield* Scope.make()
    const { connection, publisher } = yield* whileTimePasses(
      Effect.gen(function*() {
        const connection = yield* broker.connect({ connectionName: "interrupted" }, { latency: "1 milli" })
        const publisher = yield* Effect.provideService(AmqpPublisher.make(), AmqpConnection.AmqpConnection, connection)
        return { connection, publisher }
      }).pipe(Scope.provide(scope), fibers.counted)
    )
    // Those that are refused tell whether each publish hears of its own message.
    yield* broker.confirmWith(({ text }) => text.includes("refused") ? "nack" : "ack")
    const world: World = { broker, publisher }
    yield* whileTimePasses(ordinaryWork).pipe(
      Effect.provideService(AmqpConnection.AmqpConnection, connection),
      fibers.counted
    )
    const fibersBefore = fibers.running
    const violations: Array<string> = []
    let steps = 0
    for (let isOver = false; !isOver && violations.length === 0; steps++) {
      const wrong = (text: string) => void violations.push(`interrupted after ${steps} steps: ${text}`)
      yield* prepare
      const before = yield* Effect.forkChild(publishOthers(world))
      const scheduler = new SteppingScheduler()
      const fiber = yield* Effect.scoped(operation.run(world)).pipe(
        Effect.provideService(AmqpConnection.AmqpConnection, connection),
        Effect.provideService(Scheduler.Scheduler, scheduler),
        fibers.counted,
        Effect.forkChild
      )
      scheduler.stepped = fiber
      isOver = !(yield* advance(fiber, scheduler, steps, operation.isEndless === true))
      const after = yield* Effect.forkChild(publishOthers(world))
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(fiber))
      if (!(yield* passTime(patienceMillis, () => interrupting.pollUnsafe() !== undefined))) {
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
      if (!(yield* passTime(patienceMillis, () => checks.pollUnsafe() !== undefined))) {
        wrong("what others do on the connection does not end")
        break
      }
      const checked = yield* Fiber.await(checks)
      if (Exit.isFailure(checked)) wrong(`the connection does not work: ${Cause.pretty(checked.cause)}`)
      yield* passTime(3, () => false)
      if (fibers.running !== fibersBefore) wrong(`${fibers.running - fibersBefore} fibers are left`)
      for (const text of yield* leftovers(world, operation)) wrong(text)
    }
    yield* whileTimePasses(Scope.close(scope, Exit.void))
    if (fibers.running !== 0) violations.push(`${fibers.running} fibers of the connection are left`)
    return { steps, violations }
  }).pipe(Effect.scoped, Effect.provide([TestClock.layer(), Logger.layer([])]))

/** Lets a fiber make so many steps. Answers whether it had not ended, or come to rest if it is endless. */
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

/** Lets time pass until the condition holds or so much has passed, and answers whether it holds. */
const passTime = (millis: number, condition: () => boolean): Effect.Effect<boolean> =>
  Effect.gen(function*() {
    for (let passed = 0, step = 1; passed < millis; passed += step) {
      for (let turn = 0; turn < 3; turn++) {
        if (condition()) return true
        yield* Effect.yieldNow
      }
      // Short steps while there are answers to come, longer ones when there is only a timeout to wait for.
      if (passed > 50) step = 50
      yield* TestClock.adjust(step)
    }
    return condition()
  })

const whileTimePasses = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect)
    yield* passTime(patienceMillis, () => fiber.pollUnsafe() !== undefined)
    return yield* Fiber.join(fiber)
  })

/** Over a connection of its own: what is there before each run. */
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

/** Publishes some messages, and answers what was wrong with their confirms. */
const publishOthers = ({ publisher }: World): Effect.Effect<ReadonlyArray<string>> =>
  Effect.map(
    // Whoever takes the confirm of the one before or behind gets another answer.
    Effect.forEach(["refused first", "taken", "refused last"], (text) =>
      publisher.publish(AmqpMessage.text(text), AmqpQueue.route(others)).pipe(
        Effect.match({
          onSuccess: () =>
            "taken",
          onFailure: ({ reason }) => reason._tag
        }),
        Effect.map((answer) => {
          const due = text === "taken" ? "taken" : "Nacked"
          return answer === due ? [] : [`of the other message "${text}" it is said: ${answer}`]
        })
      ), { concurrency: "unbounded" }),
    (wrong) =>
      wrong.flat()
  )

/** What anybody may do with the connection. It leaves an idle channel of each mode. */
const ordinaryWork = Effect.gen(function*() {
  yield* AmqpChannel.run(AmqpQueue.declarePassive(work))
  const publish = AmqpChannel.publish(AmqpMessage.text("ordinary"), AmqpQueue.route(others))
  yield* AmqpChannel.confirmed(publish)
  yield* AmqpChannel.transaction(publish)
})

/** What should not be in the broker any more, or should be there. */
const leftovers = ({ broker }: World, { mayTake = false }: Operation): Effect.Effect<ReadonlyArray<string>> =>
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
    // An idle one of each mode, since operations follow each other, and the publisher's.
    for (const [mode, most] of [["Plain", 1], ["Confirm", 2], ["Transaction", 1]] as const) {
      const count = modes.filter((each) => each === mode).length
      if (count > most) wrong.push(`${count} channels are open of the mode ${mode}`)
    }
    const texts = (yield* broker.messages("work")).map(({ text }) => text)
    if (new Set(texts).size !== texts.length) wrong.push(`work has a message twice: ${texts.join(", ")}`)
    const kept = texts.filter((text) => !text.startsWith(publishedText))
    if (!mayTake && kept.length !== waitingTexts.length) {
      wrong.push(`of the messages of work there are: ${kept.join(", ")}`)
    }
    const taken = (yield* broker.messages("others")).filter(({ text }) => text === "taken").length
    if (taken !== 2) wrong.push(`of 2 other messages there are ${taken}`)
    return wrong
  })
