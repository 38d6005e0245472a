/**
 * Consumers with a private queue or stream that know what they must get: one changes its prefetch, the other one receives without
 * acknowledgements.
 */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { ReaderPlan } from "../plan.ts"
import type { Role } from "../role.ts"

export const read = (plan: ReaderPlan, { actor, client, generation, history }: Role) =>
  Effect.gen(function*() {
    const name = `read.${actor}.${generation}`
    const disturbances = history.disturbancesOf(client)
    // What it receives is predictable until its channel is lost: a consumer that goes on gets its messages again.
    const wrong = (text: string): void => {
      if (history.disturbancesOf(client) === disturbances) history.violations.push(`${name}: ${text}`)
    }
    const queue = plan.type === "stream" ? AmqpQueue.stream(name) : AmqpQueue.classic(name)
    yield* AmqpChannel.confirmed(AmqpChannel.andThen(
      AmqpQueue.declare(queue),
      AmqpChannel.forEach(Array.from({ length: plan.count }, (_, number) => number), (number) =>
        AmqpChannel.publish(AmqpMessage.text(String(number)), AmqpQueue.route(queue)))
    ))
    yield* plan.type === "autoAck" ? readAutoAck(plan, name, wrong) : readByPrefetch(plan, queue, wrong)
  })

/** How many messages are ready in the queue. */
const readyIn = (queue: string) =>
  AmqpChannel.run(AmqpChannel.map(AmqpQueue.declarePassive(queue), ({ messageCount }) => messageCount))

/** Cancels before it has taken anything: what the broker has sent by then is in the buffer, and the rest is in the queue. */
const readAutoAck = (plan: ReaderPlan, queue: string, wrong: (text: string) => void) =>
  Effect.scoped(Effect.gen(function*() {
    const consumer = yield* AmqpConsumer.make(queue, { autoAck: true })
    yield* Effect.sleep(plan.holdMillis)
    yield* consumer.cancel
    let taken = 0
    yield* Effect.ignore(Stream.runForEach(consumer.stream, () => Effect.sync(() => taken++)))
    const count = yield* readyIn(queue)
    if (taken + count !== plan.count) wrong(`${taken} messages arrived and ${count} are in the queue, of ${plan.count}`)
  }))

/** Takes as many messages as its prefetches allow. */
const readByPrefetch = (plan: ReaderPlan, queue: AmqpQueue.AmqpQueue, wrong: (text: string) => void) =>
  Effect.scoped(Effect.gen(function*() {
    const [first, ...prefetches] = plan.prefetches
    const consumer = yield* AmqpConsumer.make(queue, {
      prefetch: first,
      ...(plan.type === "stream" ? { offset: "first" } : {})
    })
    let taken = 0
    const held: Array<Effect.Effect<boolean>> = []
    /** Takes this many messages, and does not settle them yet. */
    const take = (count: number) =>
      consumer.stream.pipe(
        Stream.take(count),
        Stream.runForEach((delivery) =>
          Effect.sync(() => {
            if (delivery.text !== String(taken)) {
              wrong(`${delivery.text} arrived instead of ${taken}`)
            }
            taken++
            held.push(delivery.ack)
          })
        )
      )
    // Each consumer can hold as many messages as its prefetch, and earlier ones keep what they hold.
    for (const [round, prefetch] of [first, ...prefetches].entries()) {
      if (round > 0) yield* consumer.setPrefetch(prefetch)
      const due = Math.min(prefetch, plan.count - taken)
      if (due === 0) break
      yield* take(due)
      if (plan.type === "classic") {
        const count = yield* readyIn(queue.name)
        if (count !== plan.count - taken) {
          wrong(`with a prefetch of ${prefetch} there are ${count} messages ready instead of ${plan.count - taken}`)
        }
      }
    }
    yield* Effect.forEach(held, (ack) => ack)
    yield* consumer.cancel
  }))
