/** Publishes with confirms, and records the outcome of each message. */
import type { AmqpPublishAllError, AmqpPublishError } from "@effect-amqp/core/AmqpError"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { isLoss, textOf } from "../history.ts"
import type { Outcome, Published } from "../history.ts"
import type { PublisherPlan, RetryPlan } from "../plan.ts"
import { firstNumber, started } from "../role.ts"
import type { Role } from "../role.ts"

const outcomes: Readonly<Record<AmqpPublishError["reason"]["_tag"], Outcome>> = {
  Nacked: "nacked",
  Returned: "returned",
  OutcomeUnknown: "unknown",
  NotSent: "notSent"
}

/** At any concurrency the calls are made in the order of the numbers. */
const concurrencies = { oneByOne: 1, few: 3, together: "unbounded" } as const

const scheduleOf = ({ pauseMillis, times }: RetryPlan): Schedule.Schedule<unknown> => {
  const schedule = Schedule.spaced(pauseMillis)
  return times === undefined ? schedule : Schedule.upTo(schedule, { times })
}

export const publish = (plan: PublisherPlan, role: Role) =>
  Effect.scoped(Effect.gen(function*() {
    const { actor, history } = role
    const publisher = yield* started(
      role,
      AmqpPublisher.make({
        maxInFlight: plan.maxInFlight,
        confirmTimeout: plan.confirmTimeoutMillis,
        sendTimeout: plan.sendTimeoutMillis,
        whenBlocked: plan.whenBlocked,
        ...role.recovers ? { whenDisconnected: plan.whenDisconnected } : {},
        ...plan.retry === undefined ? {} : { retry: scheduleOf(plan.retry) }
      })
    )
    const next = (number: number): Published => {
      const published: Published = {
        id: `${actor}.${number}`,
        actor,
        number,
        queue: plan.misroutes && number % 5 === 4 ? "nowhere" : plan.queue,
        size: plan.bodySize,
        transaction: undefined,
        mandatory: plan.mandatory,
        outcome: "pending"
      }
      history.publish(published)
      return published
    }
    const messageOf = ({ id, size }: Published) => AmqpMessage.text(textOf(id, size), { messageId: id })
    const optionsOf = ({ queue }: Published) => ({ exchange: "", routingKey: queue, mandatory: plan.mandatory })
    /** The publishes without an outcome, in order. */
    const open = new Set<Published>()
    const publishOne = (number: number): Effect.Effect<void> =>
      Effect.suspend(() => {
        const published = next(number)
        const [before] = open
        open.add(published)
        return publisher.publish(messageOf(published), optionsOf(published)).pipe(
          plan.timeoutMillis === undefined || number % 2 === 0 ? (self) => self : Effect.timeout(plan.timeoutMillis),
          Effect.tapError((error) =>
            plan.retry === undefined && error._tag === "AmqpPublishError" && error.reason._tag === "OutcomeUnknown" &&
              isLoss(error)
              ? Effect.map(Clock.currentTimeMillis, (at) => {
                history.unknownPublishes.push({ client: role.client, id: published.id, at })
              })
              : Effect.void
          ),
          Effect.match({
            onSuccess: (): Outcome => "confirmed",
            onFailure: (error) => {
              if (error._tag === "AmqpPublishError") {
                history.fail(actor, error)
                return outcomes[error.reason._tag]
              }
              // A publish that timed out may have been sent, unless it still waited for its turn behind an earlier one. One that
              // pauses before it is published again lets others pass.
              return plan.retry === undefined && plan.maxInFlight === 1 && before !== undefined && open.has(before)
                ? "notSent"
                : "unknown"
            }
          }),
          Effect.map((outcome) => void (published.outcome = outcome)),
          Effect.ensuring(Effect.sync(() => open.delete(published)))
        )
      })
    const numbers = Array.from({ length: plan.count }, (_, index) => firstNumber(role) + index)
    if (plan.mode === "batch") {
      const batch: Array<Published> = []
      const messages = function*() {
        for (const number of numbers) {
          const published = next(number)
          batch.push(published)
          yield messageOf(published)
        }
      }
      yield* publisher.publishAll(messages(), (_, index) => optionsOf(batch[index])).pipe(
        Effect.match({
          onSuccess: () => settleBatch(batch, undefined),
          onFailure: (error) => {
            settleBatch(batch, error)
            history.fail(actor, error)
          }
        })
      )
    } else {
      yield* Effect.forEach(
        numbers,
        (number) =>
          Effect.andThen(publishOne(number), plan.pauseMillis > 0 ? Effect.sleep(plan.pauseMillis) : Effect.void),
        { discard: true, concurrency: concurrencies[plan.mode] }
      )
    }
  }))

/** Records the outcomes of the messages of a batch. */
export const settleBatch = (batch: ReadonlyArray<Published>, error: AmqpPublishAllError | undefined): void => {
  const taken = error?.taken ?? batch.length
  batch.forEach((published, index) => {
    published.outcome = index < taken ? "confirmed" : "notSent"
  })
  for (const { error: { reason }, index } of error?.failures ?? []) batch[index].outcome = outcomes[reason._tag]
}
