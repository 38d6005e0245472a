/** The programs of a simulated run: what users of the client write, and what they learn recorded. */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import type { AmqpConnection } from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import type { AmqpChannelError, AmqpPublishAllError, AmqpPublishError } from "@effect-amqp/core/AmqpError"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpRpc from "@effect-amqp/core/AmqpRpc"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import { idOf, percentOf, tagsOf, textOf } from "./history.ts"
import type { Decision, History, Outcome, Published } from "./history.ts"
import { passingQueue } from "./plan.ts"
import type { ActorPlan, ConsumerPlan, ProgramPlan, ProgramStep, PublisherPlan, RpcPlan } from "./plan.ts"

/** What a program of the plan fails with when it is to fail. */
export class ProgramFailed extends Data.TaggedError("ProgramFailed")<{}> {}

/** What a handler fails with. */
class HandlerFailed extends Data.TaggedError("HandlerFailed")<{}> {}

const outcomes: Readonly<Record<AmqpPublishError["reason"]["_tag"], Outcome>> = {
  Nacked: "nacked",
  Returned: "returned",
  OutcomeUnknown: "unknown",
  NotSent: "notSent"
}

/** Runs an actor to its end, on the connection that is provided. */
export const act = (actor: number, plan: ActorPlan, history: History): Effect.Effect<void, unknown, AmqpConnection> => {
  switch (plan._tag) {
    case "Publisher":
      return publish(actor, plan, history)
    case "Consumer":
      return consume(actor, plan, history)
    case "Program":
      return runProgram(actor, plan, history)
    case "Rpc":
      return call(actor, plan, history)
  }
}

// -----------------------------------------------------------------------------
// publishing
// -----------------------------------------------------------------------------

const publish = (actor: number, plan: PublisherPlan, history: History) =>
  Effect.scoped(Effect.gen(function*() {
    const publisher = yield* AmqpPublisher.make({
      maxInFlight: plan.maxInFlight,
      confirmTimeout: plan.confirmTimeoutMillis,
      sendTimeout: plan.sendTimeoutMillis,
      whenBlocked: plan.whenBlocked
    })
    const next = (number: number): Published => {
      const published: Published = {
        id: `${actor}.${number}`,
        actor,
        number,
        queue: plan.misroutes && number % 5 === 4 ? "nowhere" : plan.queue,
        size: plan.bodySize,
        transaction: undefined,
        inOrder: plan.mode !== "together",
        outcome: "pending"
      }
      history.publish(published)
      return published
    }
    const messageOf = ({ id, size }: Published) => AmqpMessage.text(textOf(id, size))
    const optionsOf = ({ queue }: Published) => ({ exchange: "", routingKey: queue, mandatory: plan.mandatory })
    const publishOne = (number: number): Effect.Effect<void> =>
      Effect.suspend(() => {
        const published = next(number)
        return publisher.publish(messageOf(published), optionsOf(published)).pipe(
          Effect.match({
            onSuccess: () => void (published.outcome = "confirmed"),
            onFailure: ({ reason }) => void (published.outcome = outcomes[reason._tag])
          })
        )
      })
    const numbers = Array.from({ length: plan.count }, (_, index) => index)
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
          onFailure: (error) => settleBatch(batch, error)
        })
      )
    } else {
      yield* Effect.forEach(
        numbers,
        (number) =>
          Effect.andThen(publishOne(number), plan.pauseMillis > 0 ? Effect.sleep(plan.pauseMillis) : Effect.void),
        { discard: true, concurrency: plan.mode === "together" ? "unbounded" : 1 }
      )
    }
  }))

/** Records what is known of the messages of a batch. */
const settleBatch = (batch: ReadonlyArray<Published>, error: AmqpPublishAllError | undefined): void => {
  const taken = error?.taken ?? batch.length
  batch.forEach((published, index) => {
    published.outcome = index < taken ? "confirmed" : "notSent"
  })
  for (const { error: { reason }, index } of error?.failures ?? []) batch[index].outcome = outcomes[reason._tag]
}

// -----------------------------------------------------------------------------
// consuming
// -----------------------------------------------------------------------------

const settlements = { ack: AmqpDelivery.ack, reject: AmqpDelivery.reject, requeue: AmqpDelivery.requeue }

const decide = (plan: ConsumerPlan, id: string, attempt: number): Decision => {
  // Nothing goes round for ever.
  const percent = attempt > 20 ? 99 : percentOf(`${id} ${attempt}`)
  if (percent < plan.requeue) return "requeue"
  if (percent < plan.requeue + plan.reject) return "reject"
  return percent < plan.requeue + plan.reject + plan.fail ? "fail" : "ack"
}

const consume = (actor: number, plan: ConsumerPlan, history: History) => {
  const inOrder = plan.concurrency === 1 && plan.queues.length === 1
  let generation = 0
  const handle = (receiver: string, delivery: AmqpDelivery.ReceivedMessage) =>
    Effect.gen(function*() {
      const id = idOf(delivery.text)
      if (id === undefined) {
        history.violations.push(`${receiver} got a message that nobody published: ${delivery.text.slice(0, 80)}`)
        return "ack"
      }
      const { redelivered, routingKey } = delivery
      const received = history.receive({ id, receiver, queue: routingKey, redelivered, inOrder, decision: undefined })
      const decision = decide(plan, id, history.attemptsOf(id))
      if (plan.handlerMillis > 0) yield* Effect.sleep(plan.handlerMillis)
      received.decision = decision
      return decision
    })
  const options = { prefetch: plan.prefetch }
  const settle = (receiver: string) => (delivery: AmqpDelivery.AmqpDelivery): Effect.Effect<unknown> =>
    Effect.flatMap(handle(receiver, delivery), (decision) =>
      decision === "ack"
        ? delivery.ack
        : decision === "reject"
        ? delivery.reject()
        : delivery.nack({ requeue: true }))
  return Effect.suspend(() => {
    const receiver = `${actor}/${++generation}`
    switch (plan.mode) {
      case "serve":
        return AmqpConsumer.serve(
          plan.queues,
          (delivery): Effect.Effect<AmqpDelivery.Settlement, HandlerFailed> =>
            Effect.flatMap(
              handle(receiver, delivery),
              (decision) =>
                decision === "fail" ? Effect.fail(new HandlerFailed()) : Effect.succeed(settlements[decision])
            ),
          {
            ...options,
            concurrency: plan.concurrency,
            drainTimeout: plan.drainMillis,
            onFailure: (_, { redelivered }) => Effect.succeed(redelivered ? AmqpDelivery.reject : AmqpDelivery.requeue)
          }
        )
      case "stream":
        return AmqpConsumer.stream(plan.queues, options).pipe(
          Stream.mapEffect(settle(receiver), { concurrency: plan.concurrency }),
          Stream.runDrain
        )
      case "handle":
        return Effect.scoped(Effect.gen(function*() {
          const consumer = yield* AmqpConsumer.make(plan.queues, options)
          yield* Effect.sleep(200).pipe(
            Effect.andThen(consumer.setPrefetch(plan.prefetch + 1)),
            Effect.ignore,
            Effect.forkScoped
          )
          yield* Effect.sleep(3_000).pipe(Effect.andThen(consumer.cancel), Effect.forkScoped)
          yield* Stream.runForEach(consumer.stream, settle(receiver))
        }))
    }
  })
}

// -----------------------------------------------------------------------------
// channel programs
// -----------------------------------------------------------------------------

const runProgram = (actor: number, plan: ProgramPlan, history: History) =>
  Effect.gen(function*() {
    for (let round = 0; round < plan.repeat; round++) {
      yield* runOnce(actor, round, plan, history)
      if (plan.pauseMillis > 0) yield* Effect.sleep(plan.pauseMillis)
    }
  })

const runOnce = (actor: number, round: number, plan: ProgramPlan, history: History) =>
  Effect.suspend(() => {
    const published: Array<Published> = []
    const program = AmqpChannel.forEach(
      plan.steps,
      (step, index) => perform(step, `${actor}.${round * 100 + index}`, `${actor}:${round}`, plan, history, published)
    )
    const settle = (outcome: Outcome): void => {
      for (const each of published) each.outcome = outcome
    }
    const { runner } = plan
    const running: Effect.Effect<unknown, AmqpChannelError | AmqpPublishAllError | ProgramFailed, AmqpConnection> =
      runner === "run"
        ? AmqpChannel.run(program)
        : runner === "confirmed"
        ? AmqpChannel.confirmed(program)
        : AmqpChannel.transaction(program)
    return running.pipe(
      Effect.onExit((exit) =>
        Effect.sync(() => {
          if (Exit.isSuccess(exit)) return settle(runner === "run" ? "sent" : "confirmed")
          const tags = tagsOf(exit.cause)
          if (runner === "transaction") {
            // Whether a commit was under way is known only of what failed before it.
            if (tags.includes("ProgramFailed")) settle("rolledBack")
          } else if (tags[0] === "AmqpPublishAllError") {
            const [reason] = exit.cause.reasons
            if (reason._tag === "Fail" && reason.error._tag === "AmqpPublishAllError") {
              settleBatch(published, reason.error)
            }
          }
        })
      ),
      // What the plan foresees is no reason to end the actor; a lost connection is.
      Effect.catch((error) => error._tag === "ProgramFailed" || !isLost(error) ? Effect.void : Effect.fail(error))
    )
  })

const isLost = (error: AmqpChannelError | AmqpPublishAllError): boolean =>
  error._tag === "AmqpChannelError" && error.reason._tag === "ConnectionLost"

const perform = (
  step: ProgramStep,
  id: string,
  transaction: string,
  plan: ProgramPlan,
  history: History,
  batch: Array<Published>
): AmqpChannel.AmqpChannel<unknown, AmqpChannelError | ProgramFailed> => {
  switch (step._tag) {
    case "Publish": {
      const [actor, number] = id.split(".").map(Number)
      return AmqpChannel.andThen(
        AmqpChannel.fromEffect(Effect.sync(() => {
          const published: Published = {
            id,
            actor,
            number,
            queue: plan.queue,
            size: step.bodySize,
            transaction: plan.runner === "transaction" ? transaction : undefined,
            inOrder: true,
            outcome: "pending"
          }
          history.publish(published)
          batch.push(published)
        })),
        AmqpChannel.publish(AmqpMessage.text(textOf(id, step.bodySize)), { exchange: "", routingKey: plan.queue })
      )
    }
    case "Get":
      return AmqpQueue.get(plan.queue, (delivery) =>
        AmqpChannel.fromEffect(Effect.sync(() => {
          const { redelivered, routingKey, text } = delivery
          const id = idOf(text)
          if (id === undefined) {
            history.violations.push(`a get answered a message that nobody published: ${text.slice(0, 80)}`)
            return AmqpDelivery.ack
          }
          const settlement = history.attemptsOf(id) > 20 ? "ack" : step.settlement
          history.receive({
            id,
            receiver: transaction,
            queue: routingKey,
            redelivered,
            inOrder: false,
            decision: settlement
          })
          return settlements[settlement]
        })))
    case "Declare":
      return AmqpQueue.declare(AmqpQueue.classic(passingQueue))
    case "Bind":
      return AmqpQueue.bind(plan.queue, { exchange: "amq.topic", routingKey: "simulated.#" })
    case "Wait":
      return AmqpChannel.fromEffect(Effect.sleep(step.millis))
    case "Fail":
      return AmqpChannel.fail(new ProgramFailed())
    case "Refused":
      return AmqpQueue.declarePassive("nowhere")
    case "Recover":
      return AmqpChannel.recover
  }
}

// -----------------------------------------------------------------------------
// calls
// -----------------------------------------------------------------------------

const call = (actor: number, plan: RpcPlan, history: History) =>
  Effect.scoped(Effect.gen(function*() {
    const queue = AmqpQueue.classic(`${plan.queue}.${actor}`)
    yield* AmqpChannel.run(AmqpQueue.declare(queue))
    yield* Effect.forkScoped(AmqpRpc.serve(queue, (request) =>
      Effect.as(Effect.sleep(plan.handlerMillis), AmqpMessage.text(`answer to ${request.text}`))))
    const client = yield* AmqpRpc.makeClient()
    yield* Effect.forEach(
      Array.from({ length: plan.calls }, (_, index) =>
        index),
      (index) =>
        client.call(AmqpMessage.text(`${actor}-${index}`), AmqpQueue.route(queue)).pipe(
          Effect.timeout(plan.timeoutMillis),
          Effect.catchTag("TimeoutError", () => Effect.succeed(undefined)),
          Effect.map((answer) => {
            if (answer !== undefined && answer.text !== `answer to ${actor}-${index}`) {
              history.violations.push(`call ${actor}-${index} was answered with ${answer.text}`)
            }
          })
        ),
      { concurrency: 4, discard: true }
    )
  }))
