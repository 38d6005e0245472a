/**
 * A channel program with a private queue: it knows what must be in it, and checks that after each step.
 *
 * No other consumer takes its messages, and a failure of the connection ends it, so everything that it sees is predictable.
 */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import type { AmqpChannelError } from "@effect-amqp/core/AmqpError"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { requestTimeoutMillis } from "../plan.ts"
import type { SolitaryPlan, SolitaryStep } from "../plan.ts"
import type { Role } from "../role.ts"
import { settlements } from "./consuming.ts"

/** What a handler fails with. */
class HandlerFailed extends Data.TaggedError("HandlerFailed")<{}> {}

interface Waiting {
  readonly text: string
  readonly redelivered: boolean
}

type Program = AmqpChannel.AmqpChannel<unknown, AmqpChannelError>

export const workAlone = (plan: SolitaryPlan, role: Role) =>
  Effect.gen(function*() {
    const { program, rest } = new Solitary(plan, role)
    yield* plan.runner === "run" ? AmqpChannel.run(program) : AmqpChannel.confirmed(program)
    yield* AmqpChannel.run(rest)
  })

/** Continues after a request that timed out. */
export const unlessLate = (error: AmqpChannelError): Effect.Effect<void, AmqpChannelError> =>
  error.reason._tag === "RequestTimeout" ? Effect.void : Effect.fail(error)

class Solitary {
  private readonly plan: SolitaryPlan
  private readonly role: Role
  private readonly queue: AmqpQueue.AmqpQueue<"classic">
  /** The messages in the queue. */
  private waiting: ReadonlyArray<Waiting> = []
  private published = 0

  constructor(plan: SolitaryPlan, role: Role) {
    this.plan = plan
    this.role = role
    this.queue = AmqpQueue.classic(`solitary.${role.actor}.${role.generation}`)
  }

  get program() {
    return AmqpChannel.andThen(
      AmqpQueue.declare(this.queue),
      AmqpChannel.forEach(
        this.plan.steps,
        (step, index) => AmqpChannel.andThen(this.perform(step), this.check(`step ${index}`))
      )
    )
  }

  /** Another program takes what is left. */
  get rest() {
    return AmqpQueue.getAll(this.queue, (delivery) => {
      this.take(delivery, "at the end")
      return Effect.succeed(AmqpDelivery.ack)
    }).pipe(AmqpChannel.andThen(this.check("the end")))
  }

  private wrong(text: string): void {
    this.role.history.violations.push(`${this.queue.name}: ${text}`)
  }

  /** Checks the number of messages. A late reply is ignored, and must not affect later steps. */
  private check(when: string): Program {
    const { queue } = this
    const counting = AmqpChannel.gen(function*() {
      const begun = yield* Clock.currentTimeMillis
      const { messageCount } = yield* AmqpQueue.declarePassive(queue)
      // It waited for an earlier request that timed out, whose message is requeued only after this one.
      return (yield* Clock.currentTimeMillis) - begun < requestTimeoutMillis ? messageCount : undefined
    })
    return counting.pipe(
      AmqpChannel.map((count) => {
        if (count !== undefined && count !== this.waiting.length) {
          this.wrong(`after ${when} there are ${count} messages instead of ${this.waiting.length}`)
        }
      }),
      AmqpChannel.catchTag("AmqpChannelError", unlessLate)
    )
  }

  /** Checks that a delivery is the next message, and removes it. */
  private take({ redelivered, text }: Waiting, when: string): void {
    const [next, ...others] = this.waiting
    if (next?.text !== text || next.redelivered !== redelivered) {
      this.wrong(`${when} ${text} arrived (redelivered: ${redelivered}) instead of ${JSON.stringify(next)}`)
    }
    this.waiting = others
  }

  private requeue(...texts: ReadonlyArray<string>): void {
    this.waiting = [...texts.map((text) => ({ text, redelivered: true })), ...this.waiting]
  }

  private perform(step: SolitaryStep): Program {
    const { queue } = this
    switch (step._tag) {
      case "Publish":
        return AmqpChannel.forEach(Array.from({ length: step.count }, () => `${this.published++}`), (text) => {
          this.waiting = [...this.waiting, { text, redelivered: false }]
          return AmqpChannel.publish(AmqpMessage.text(text), AmqpQueue.route(queue))
        })
      case "Get":
        return AmqpQueue.get(queue, (delivery) => {
          this.take(delivery, "in a get")
          if (step.settlement === "requeue") this.requeue(delivery.text)
          return Effect.succeed(settlements[step.settlement])
        })
      case "GetAll": {
        const texts: Array<string> = []
        const count = Math.min(step.limit, this.waiting.length)
        return AmqpQueue.getAll(queue, (delivery) => {
          this.take(delivery, "in a getAll")
          texts.push(delivery.text)
          return Effect.succeed(settlements[step.settlement])
        }, { limit: step.limit }).pipe(AmqpChannel.map(({ length }) => {
          if (length !== count) this.wrong(`a getAll took ${length} messages instead of ${count}`)
          if (step.settlement === "requeue") this.requeue(...texts)
        }))
      }
      case "FailedGet":
        return AmqpQueue.get(queue, (delivery) => {
          this.take(delivery, "in a get that fails")
          this.requeue(delivery.text)
          return Effect.fail(new HandlerFailed())
        }).pipe(AmqpChannel.catchTag("HandlerFailed", () => AmqpChannel.succeed(undefined)))
      case "TimedOutGet": {
        const [next] = this.waiting
        if (next !== undefined) this.waiting = [{ ...next, redelivered: true }, ...this.waiting.slice(1)]
        return AmqpQueue.get(queue, () => Effect.never).pipe(
          AmqpChannel.timeout(step.millis),
          AmqpChannel.catchTag("TimeoutError", () => AmqpChannel.succeed(undefined))
        )
      }
      case "RecoveringGet":
        return AmqpQueue.get(queue, (delivery) => {
          this.take(delivery, "in a get that recovers")
          this.requeue(delivery.text)
          return AmqpChannel.as(AmqpChannel.recover, AmqpDelivery.ack)
        }).pipe(
          // It can't be settled after a recover, which is an error.
          AmqpChannel.catchTag(
            "AmqpChannelError",
            (error) =>
              error.reason._tag === "InvalidArgument" ? AmqpChannel.succeed(undefined) : AmqpChannel.fail(error)
          )
        )
      case "Wait":
        return AmqpChannel.fromEffect(Effect.sleep(step.millis))
      case "Purge":
        return AmqpChannel.map(AmqpQueue.purge(queue), (count) => {
          if (count !== this.waiting.length) {
            this.wrong(`a purge took ${count} messages instead of ${this.waiting.length}`)
          }
          this.waiting = []
        })
    }
  }
}
