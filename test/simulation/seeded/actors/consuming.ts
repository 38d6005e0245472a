/** Consumes the queues of the run, and settles each message as its id determines. */
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpFailurePolicy from "@effect-amqp/core/AmqpFailurePolicy"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { idOf, percentOf } from "../history.ts"
import type { Decision, Received } from "../history.ts"
import type { ConsumerPlan } from "../plan.ts"
import { started } from "../role.ts"
import type { Role } from "../role.ts"

/** What a handler fails with. */
class HandlerFailed extends Data.TaggedError("HandlerFailed")<{}> {}

export const settlements = {
  ack: AmqpDelivery.ack,
  reject: AmqpDelivery.reject,
  requeue: AmqpDelivery.requeue
}

/** Serves until the consumer ends with an error, or is interrupted. */
const serving = <A, E, E2, R>(role: Role, start: Effect.Effect<Effect.Effect<A, E>, E2, R>) =>
  Effect.scoped(Effect.flatMap(started(role, start), (ended) => Effect.andThen(ended, Effect.never)))

const decide = (plan: ConsumerPlan, id: string, attempt: number): Decision => {
  // No message is requeued forever.
  const percent = attempt > 20 ? 99 : percentOf(`${id} ${attempt}`)
  if (percent < plan.requeue) return "requeue"
  if (percent < plan.requeue + plan.reject) return "reject"
  return percent < plan.requeue + plan.reject + plan.fail ? "fail" : "ack"
}

export const consume = (plan: ConsumerPlan, role: Role) => {
  const { actor, client, generation, history } = role
  const inOrder = plan.concurrency === 1 && plan.queues.length === 1
  const receiver = `${actor}/${generation}`
  const handling = history.handlingOf(actor)
  const isServed = plan.mode === "serve" || plan.mode === "layer" || plan.mode === "retry"
  const receive = ({ redelivered, routingKey, text }: AmqpDelivery.ReceivedMessage): Received | undefined => {
    handling.started++
    const id = idOf(text)
    if (id === undefined) {
      history.violations.push(`${receiver} got a message that was not published: ${text.slice(0, 80)}`)
      return undefined
    }
    if (isServed && history.openCount(id) === 0) {
      history.violations.push(`${receiver} handles ${id}, which was delivered on a session or channel that has ended`)
    }
    return history.receive({
      id,
      receiver,
      session: history.sessionOf(client),
      queue: routingKey,
      redelivered,
      inOrder,
      decision: undefined,
      isSettled: false
    })
  }
  /** Handles a message, and returns it with its decision. */
  const handle = (delivery: AmqpDelivery.ReceivedMessage): Effect.Effect<Received & { decision: Decision }> =>
    Effect.gen(function*() {
      const received = receive(delivery)
      if (received === undefined) return yield* Effect.never
      const decision = decide(plan, received.id, history.attemptsOf(received.id))
      handling.running++
      yield* Effect.ensuring(
        plan.handlerMillis > 0 ? Effect.sleep(plan.handlerMillis) : Effect.void,
        Effect.sync(() => handling.running--)
      )
      return Object.assign(received, { decision })
    })
  /** Handles a message and settles it. */
  const settle = (delivery: AmqpDelivery.AmqpDelivery): Effect.Effect<void> =>
    Effect.flatMap(handle(delivery), (received) =>
      Effect.map(
        received.decision === "ack"
          ? delivery.ack
          : received.decision === "reject"
          ? delivery.reject()
          : delivery.nack({ requeue: true }),
        (isSettled) => void (received.isSettled = isSettled)
      ))
  /** Handles a message and returns its settlement. */
  const handler = (delivery: AmqpDelivery.ReceivedMessage): Effect.Effect<AmqpDelivery.Settlement, HandlerFailed> =>
    Effect.flatMap(handle(delivery), (received) => {
      if (received.decision === "fail") return Effect.fail(new HandlerFailed())
      received.isSettled = true
      return Effect.succeed(settlements[received.decision])
    })
  const options = { prefetch: plan.prefetch }
  const serveOptions = {
    ...options,
    concurrency: plan.concurrency,
    drainTimeout: plan.drainMillis,
    onFailure: (_: unknown, { redelivered }: AmqpDelivery.ReceivedMessage) =>
      Effect.succeed(redelivered ? AmqpDelivery.reject : AmqpDelivery.requeue)
  }
  switch (plan.mode) {
    case "serve":
      return serving(role, AmqpConsumer.startServing(plan.queues, handler, serveOptions))
    case "layer":
      return Effect.scoped(Effect.gen(function*() {
        const ended = yield* Deferred.make<never, AmqpConsumer.ServeError>()
        const onEnd = (error: AmqpConsumer.ServeError) => Deferred.fail(ended, error)
        yield* started(role, Layer.build(AmqpConsumer.layerServe(plan.queues, handler, { ...serveOptions, onEnd })))
        yield* Deferred.await(ended)
      }))
    case "retry": {
      const onFailure = AmqpFailurePolicy.retry({ delays: ["10 millis", "500 millis"] })
      return Effect.scoped(Effect.gen(function*() {
        const publisher = yield* started(role, Layer.build(AmqpPublisher.layer()))
        const start = AmqpConsumer.startServing(plan.queues, handler, { ...serveOptions, onFailure })
        yield* Effect.provideContext(serving(role, start), publisher)
      }))
    }
    case "stream":
      return Effect.scoped(
        Effect.flatMap(started(role, AmqpConsumer.make(plan.queues, options)), ({ stream }) =>
          stream.pipe(
            Stream.mapEffect(settle, { concurrency: plan.concurrency }),
            Stream.runDrain
          ))
      )
    case "autoAck":
      return Effect.scoped(Effect.flatMap(
        started(role, AmqpConsumer.make(plan.queues, { autoAck: true })),
        ({ stream }) =>
          Stream.runForEach(stream, (delivery) =>
            Effect.suspend(() => {
              const received = receive(delivery)
              if (received !== undefined) received.decision = "ack"
              // The broker no longer has the messages that wait behind it.
              return plan.handlerMillis > 0 ? Effect.sleep(Math.min(plan.handlerMillis, 50)) : Effect.void
            }))
      ))
    case "handle":
      return Effect.scoped(Effect.gen(function*() {
        const consumer = yield* started(role, AmqpConsumer.make(plan.queues, options))
        yield* Effect.sleep(200).pipe(
          Effect.andThen(Clock.currentTimeMillis),
          Effect.tap((now) => Effect.sync(() => history.prefetchChanges.set(actor, now))),
          Effect.andThen(consumer.setPrefetch(plan.nextPrefetch)),
          Effect.ignore,
          Effect.forkScoped
        )
        yield* Effect.sleep(3_000).pipe(Effect.andThen(consumer.cancel), Effect.forkScoped)
        yield* Stream.runForEach(consumer.stream, settle)
      }))
  }
}
