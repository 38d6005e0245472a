/** Publishers, and the outcomes of their messages. */
import type { AmqpPublishAllError, AmqpPublishError } from "@effect-amqp/core/AmqpError"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Schedule from "effect/Schedule"
import { textOf } from "../../simulation/seeded/history.ts"
import type { Outcome, Source, SourceOptions } from "../account.ts"
import type { Workload, World } from "../world.ts"

const outcomes: Readonly<Record<AmqpPublishError["reason"]["_tag"], Outcome>> = {
  Nacked: "nacked",
  Returned: "returned",
  OutcomeUnknown: "unknown",
  NotSent: "notSent"
}

/** How many messages of a publisher may wait for their outcome at the same time. */
const maxWaiting = 512

/** How long a publish may take that fails because there is no connection, in milliseconds. */
const atOnceMillis = 2_000

/** How often a publisher publishes, in milliseconds. */
const tickMillis = 50

/** Sizes from 50 to 2,000 bytes, and now and then a message that is sent in pieces. */
const sizeOf = (number: number): number => number % 499 === 498 ? 300_000 : 50 + (number * 7919) % 1950

export const messageOf = (source: Source, number: number): AmqpMessage.AmqpMessage => {
  const id = source.idOf(number)
  return AmqpMessage.text(textOf(id, sizeOf(number)), { messageId: id, deliveryMode: "persistent" })
}

export interface PublisherSettings extends SourceOptions {
  readonly publisher: AmqpPublisher.Options
  /** The queue to which it publishes, if another program moves the messages from there to `queue`. */
  readonly via?: string
  /** The outcome of a message that was confirmed: by default `confirmed`. */
  readonly success?: Outcome
}

/** Why a message is published again after newer ones. After the loss of a connection it comes before them. */
const changesOrder = ({ reason }: AmqpPublishError): boolean =>
  reason._tag !== "OutcomeUnknown" || reason.cause.reason._tag === "ConfirmTimeout"

/** The number of the message that an error is about. */
const numberIn = ({ target }: AmqpPublishError): ReadonlyArray<number> =>
  target?.messageId === undefined ? [] : [Number(target.messageId.split(".")[1])]

/** Notes which messages lose their place in the order: the numbers of those that an error may be about. */
const noting = (
  source: Source,
  options: AmqpPublisher.Options,
  numbersIn: (error: AmqpPublishError) => ReadonlyArray<number> = numberIn
): AmqpPublisher.Options => {
  const { retry } = options
  if (retry === undefined) return options
  return {
    ...options,
    retry: Schedule.tap(retry, ({ input }) =>
      Effect.sync(() => {
        if (changesOrder(input)) { for (const number of numbersIn(input)) source.outOfOrder.add(number) }
      }))
  }
}

/** Runs a step again and again, until the world is stopping. */
export const untilStopping = <E, R>(
  { isStopping }: World,
  everyMillis: number,
  step: Effect.Effect<unknown, E, R>
): Effect.Effect<void, E, R> =>
  Effect.gen(function*() {
    while (!isStopping()) {
      yield* step
      yield* Effect.sleep(everyMillis)
    }
  })

/** Publishes messages one by one, many at the same time. */
export const publisher = (settings: PublisherSettings): Workload => ({
  name: `publisher ${settings.name} to ${settings.queue}`,
  ends: true,
  run: (world, connection) =>
    Effect.gen(function*() {
      const { account, monitor, nodesFail, rate, violations } = world
      const source = account.source(settings)
      const { publish } = yield* AmqpPublisher.make(noting(source, settings.publisher))
      const mayNotWait = settings.publisher.whenDisconnected === "fail"
      const fibers = yield* FiberSet.make<void>()
      const isRetrying = settings.publisher.retry !== undefined
      const route = { exchange: "", routingKey: settings.via ?? settings.queue }
      let open = 0
      const publishOne = Effect.suspend(() => {
        open++
        const number = source.publish()
        const ended = monitor.begin(`publish of ${source.idOf(number)}`)
        const startedAt = performance.now()
        const session = monitor.sessionOf(connection)
        const hasNoConnection = monitor.isRecovering(connection)
        const settle = (outcome: Outcome) => {
          open--
          ended()
          const millis = performance.now() - startedAt
          if (mayNotWait && hasNoConnection && outcome === "notSent" && millis > atOnceMillis) {
            violations.add("a publish without a connection did not fail at once", `${Math.round(millis)} ms`)
          }
          // RabbitMQ's transactions are not atomic when a node fails.
          const isMovedOnce = settings.via === undefined || !nodesFail
          source.settle(number, outcome, isMovedOnce && (!isRetrying || session === monitor.sessionOf(connection)))
          if (outcome === "confirmed" || outcome === "committed") {
            monitor.succeeded(`publisher ${settings.name} to ${settings.queue}`, startedAt)
          }
        }
        return Effect.match(publish(messageOf(source, number), route), {
          onSuccess: () => settle(settings.success ?? "confirmed"),
          onFailure: ({ reason }) => settle(outcomes[reason._tag])
        })
      })
      let due = 0
      const publishDue = Effect.gen(function*() {
        for (due += rate * tickMillis / 1000; due >= 1; due--) {
          if (open < maxWaiting) yield* FiberSet.run(fibers, publishOne, { startImmediately: true })
        }
      })
      yield* untilStopping(world, tickMillis, publishDue)
      yield* FiberSet.awaitEmpty(fibers)
    })
})

/** Records the outcomes of a batch whose messages have these numbers. */
const settleBatch = (source: Source, numbers: ReadonlyArray<number>, error: AmqpPublishAllError, isSingle: boolean) => {
  numbers.forEach((number, index) => source.settle(number, index < error.taken ? "confirmed" : "notSent", isSingle))
  for (const { error: { reason }, index } of error.failures) {
    source.settle(numbers[index], outcomes[reason._tag], isSingle)
  }
}

/** Publishes batches, one at a time. */
export const batches = (settings: PublisherSettings): Workload => ({
  name: `batches ${settings.name} to ${settings.queue}`,
  ends: true,
  run: (world, connection) =>
    Effect.gen(function*() {
      const { account, monitor, rate } = world
      const source = account.source(settings)
      // The error of a message in a batch does not say which one it is.
      let current: ReadonlyArray<number> = []
      const { publishAll } = yield* AmqpPublisher.make(noting(source, settings.publisher, () => current))
      const isRetrying = settings.publisher.retry !== undefined
      const everyMillis = 200
      const size = Math.max(1, Math.round(rate * everyMillis / 1000))
      yield* untilStopping(
        world,
        everyMillis,
        Effect.suspend(() => {
          const numbers = Array.from({ length: size }, () => source.publish())
          current = numbers
          const ended = monitor.begin(`batch of ${source.idOf(numbers[0])}`)
          const startedAt = performance.now()
          const session = monitor.sessionOf(connection)
          const messages = numbers.map((number) => messageOf(source, number))
          return publishAll(messages, { exchange: "", routingKey: settings.queue }).pipe(
            Effect.match({
              onSuccess: () => {
                const isSingle = !isRetrying || session === monitor.sessionOf(connection)
                for (const number of numbers) source.settle(number, "confirmed", isSingle)
                monitor.succeeded(`batches ${settings.name} to ${settings.queue}`, startedAt)
              },
              onFailure: (error) => settleBatch(source, numbers, error, !isRetrying)
            }),
            Effect.andThen(Effect.sync(ended))
          )
        })
      )
    })
})
