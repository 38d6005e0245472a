/**
 * Consumers that have a queue or a stream for themselves, and know what they must get: one that changes its prefetch, and one whose
 * messages the broker forgets as it sends them.
 */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { ReaderPlan } from "../plan.ts"
import type { Role } from "../role.ts"

export const read = (plan: ReaderPlan, { actor, generation, history }: Role) =>
  Effect.gen(function*() {
    const name = `read.${actor}.${generation}`
    const wrong = (text: string): void => void history.violations.push(`${name}: ${text}`)
    const queue = plan.type === "stream" ? AmqpQueue.stream(name) : AmqpQueue.classic(name)
    yield* AmqpChannel.confirmed(AmqpChannel.andThen(
      AmqpQueue.declare(queue),
      AmqpChannel.forEach(Array.from({ length: plan.count }, (_, number) => number), (number) =>
        AmqpChannel.publish(AmqpMessage.text(String(number)), AmqpQueue.route(queue)))
    ))
    yield* plan.type === "autoAck" ? readForgotten(plan, name, wrong) : readHeld(plan, queue, wrong)
  })

/** How many messages the broker has not sent. */
const waitingIn = (queue: string) =>
  AmqpChannel.run(AmqpChannel.map(AmqpQueue.declarePassive(queue), ({ messageCount }) => messageCount))

/**
 * Stops before it has taken anything, if the broker does not stop it before: what that has sent by then is here, and the rest is
 * there.
 */
const readForgotten = (plan: ReaderPlan, queue: string, wrong: (text: string) => void) =>
  Effect.scoped(Effect.gen(function*() {
    const consumer = yield* AmqpConsumer.make(queue, { autoAck: true })
    yield* Effect.sleep(plan.holdMillis)
    yield* consumer.cancel
    let taken = 0
    yield* Effect.ignore(Stream.runForEach(consumer.stream, () => Effect.sync(() => taken++)))
    const count = yield* waitingIn(queue)
    if (taken + count !== plan.count) wrong(`${taken} messages came and ${count} are there, of ${plan.count}`)
  }))

/** Takes as much as its prefetches let it have. */
const readHeld = (plan: ReaderPlan, queue: AmqpQueue.AmqpQueue, wrong: (text: string) => void) =>
  Effect.scoped(Effect.gen(function*() {
    const [first, ...prefetches] = plan.prefetches
    const consumer = yield* AmqpConsumer.make(queue, {
      prefetch: first,
      ...(plan.type === "stream" ? { offset: "first" } : {})
    })
    let taken = 0
    const held: Array<Effect.Effect<boolean>> = []
    /** Takes so many messages, and keeps them. */
    const take = (count: number) =>
      consumer.stream.pipe(
        Stream.take(count),
        Stream.runForEach((delivery) =>
          Effect.sync(() => {
            if (delivery.text !== String(taken)) {
              wrong(`${delivery.text} came instead of ${taken}`)
            }
            taken++
            held.push(delivery.ack)
          })
        )
      )
    // Each consumer may have as much as its prefetch says, and those before it keep what they had.
    for (const [round, prefetch] of [first, ...prefetches].entries()) {
      if (round > 0) yield* consumer.setPrefetch(prefetch)
      const due = Math.min(prefetch, plan.count - taken)
      if (due === 0) break
      yield* take(due)
      if (plan.type === "classic") {
        const count = yield* waitingIn(queue.name)
        if (count !== plan.count - taken) {
          wrong(`with a prefetch of ${prefetch} there are ${count} messages waiting instead of ${plan.count - taken}`)
        }
      }
    }
    yield* Effect.forEach(held, (ack) => ack)
    yield* consumer.cancel
  }))
