/** Channel programs on the queues of the run. */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import type { AmqpConnection } from "@effect-amqp/core/AmqpConnection"
import { AmqpChannelError } from "@effect-amqp/core/AmqpError"
import type { AmqpPublishAllError } from "@effect-amqp/core/AmqpError"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { idOf, isLoss, reasonsOfCause, textOf } from "../history.ts"
import type { Outcome, Published, Received } from "../history.ts"
import { autoQueue, passingQueue } from "../plan.ts"
import type { ProgramPlan, ProgramStep } from "../plan.ts"
import { firstNumber } from "../role.ts"
import type { Role } from "../role.ts"
import { settlements } from "./consuming.ts"
import { settleBatch } from "./publishing.ts"
import { unlessLate } from "./solitary.ts"

/** The failure of a program that is planned to fail. */
class ProgramFailed extends Data.TaggedError("ProgramFailed")<{}> {}

/** How long a program waits for a channel by default. */
const channelTimeoutMillis = 10_000

/** Whether a program failed because there was no session. */
const hasNotBegun = (error: unknown): boolean =>
  error instanceof AmqpChannelError && error.reason._tag === "ConnectionLost" && error.reason.since !== undefined

/** How often a program begins again at most. */
const maxRetries = 8

export const runProgram = (plan: ProgramPlan, role: Role) =>
  Effect.gen(function*() {
    for (let round = 0; round < plan.repeat; round++) {
      // Each attempt publishes messages of its own, as nobody knows what became of the earlier ones.
      let attempt = 0
      const run = Effect.suspend(() => new OneProgram(plan, role, round * (maxRetries + 1) + attempt++).run)
      yield* plan.retries ? Effect.retry(run, { while: ({ isRetryable }) => isRetryable, times: maxRetries }) : run
      if (plan.pauseMillis > 0) yield* Effect.sleep(plan.pauseMillis)
    }
  })

/** One run of a program, with what it published and received. */
class OneProgram {
  private readonly plan: ProgramPlan
  private readonly role: Role
  private readonly name: string
  private readonly firstNumber: number
  private readonly published: Array<Published> = []
  private readonly received: Array<Received> = []

  constructor(plan: ProgramPlan, role: Role, round: number) {
    this.plan = plan
    this.role = role
    this.name = `${role.actor}/${role.generation}:${round}`
    this.firstNumber = firstNumber(role) + round * 100
  }

  readonly run = Effect.suspend((): Effect.Effect<unknown, AmqpChannelError | AmqpPublishAllError, AmqpConnection> => {
    const { history } = this.role
    const { runner, steps } = this.plan
    const program = AmqpChannel.forEach(steps, (step, index) => this.perform(step, index))
    const running: Effect.Effect<unknown, AmqpChannelError | AmqpPublishAllError | ProgramFailed, AmqpConnection> =
      runner === "run"
        ? AmqpChannel.run(program)
        : runner === "confirmed"
        ? AmqpChannel.confirmed(program)
        : AmqpChannel.transaction(program)
    return running.pipe(
      Effect.onExit((exit) => Effect.sync(() => this.ended(exit))),
      this.checkWait,
      Effect.catch((error) => {
        history.fail(this.role.actor, error)
        // A planned failure does not end the actor, but a lost connection does.
        return error._tag === "ProgramFailed" || !isLoss(error) ? Effect.void : Effect.fail(error)
      })
    )
  })

  /** A program that fails because there was no session has waited for one, for as long as the plan says. */
  private readonly checkWait = <A, E, R>(running: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
    const { history, waitTimeoutMillis } = this.role
    return Effect.flatMap(
      Clock.currentTimeMillis,
      (begun) =>
        Effect.tapError(running, (error) =>
          Effect.map(Clock.currentTimeMillis, (now) => {
            if (!hasNotBegun(error) || waitTimeoutMillis === undefined) return
            const waited = now - begun
            if (waited < waitTimeoutMillis - 1 || waited > waitTimeoutMillis + channelTimeoutMillis) {
              history.violations.push(`${this.name} waited for ${waited} ms for a session`)
            }
          }))
    )
  }

  private ended(exit: Exit.Exit<unknown, AmqpChannelError | AmqpPublishAllError | ProgramFailed>): void {
    const { runner, steps } = this.plan
    const { history } = this.role
    const settle = (outcome: Outcome): void => {
      for (const each of this.published) each.outcome = outcome
    }
    const isPlanned = Exit.isFailure(exit) && reasonsOfCause(exit.cause).includes("ProgramFailed")
    // Settlements that were made before a planned failure remain.
    if (Exit.isSuccess(exit) || (isPlanned && runner !== "transaction")) {
      for (const each of this.received) each.isSettled = true
    }
    if (Exit.isSuccess(exit)) {
      settle(runner === "run" ? "sent" : "confirmed")
      if (steps.some(({ _tag }) => _tag === "Misroute")) {
        history.violations.push(`${this.name} succeeded although its message was returned`)
      }
    } else if (runner === "transaction") {
      // Only a planned failure is known to come before the commit.
      if (!isPlanned) return
      settle("rolledBack")
      for (const each of this.received) if (each.queue !== autoQueue) each.decision = undefined
    } else {
      const [reason] = exit.cause.reasons
      if (reason?._tag === "Fail" && reason.error._tag === "AmqpPublishAllError") {
        settleBatch(this.published, reason.error)
      }
    }
  }

  private perform(
    step: ProgramStep,
    index: number
  ): AmqpChannel.AmqpChannel<unknown, AmqpChannelError | ProgramFailed> {
    const { plan } = this
    switch (step._tag) {
      case "Publish":
        return this.publish(plan.queue, step.bodySize, index, false)
      case "Misroute":
        return this.publish("nowhere", 20, index, true)
      case "Get":
        return AmqpQueue.get(
          plan.queue,
          (delivery) => AmqpChannel.fromEffect(Effect.sync(() => settlements[this.receive(delivery, step.settlement)]))
        )
      case "GetAutoAck":
        return AmqpChannel.map(AmqpQueue.getAutoAck(autoQueue), (delivery) => {
          if (Option.isSome(delivery)) this.receive(delivery.value, "ack")
        })
      case "Declare":
        return AmqpChannel.catchTag(
          AmqpQueue.declare(AmqpQueue.classic(passingQueue)),
          "AmqpChannelError",
          unlessLate
        )
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
      case "Qos":
        return AmqpChannel.qos({ prefetchCount: 3, global: true })
    }
  }

  private publish(queue: string, size: number, index: number, mandatory: boolean) {
    const { actor, history } = this.role
    const number = this.firstNumber + index
    const id = `${actor}.${number}`
    return AmqpChannel.andThen(
      AmqpChannel.fromEffect(Effect.sync(() => {
        const published: Published = {
          id,
          actor,
          number,
          queue,
          size,
          transaction: this.plan.runner === "transaction" ? this.name : undefined,
          mandatory,
          outcome: "pending"
        }
        history.publish(published)
        this.published.push(published)
      })),
      AmqpChannel.publish(AmqpMessage.text(textOf(id, size)), { exchange: "", routingKey: queue, mandatory })
    )
  }

  /** Records a message, and returns its decision. */
  private receive(
    { redelivered, routingKey, text }: { redelivered: boolean; routingKey: string; text: string },
    settlement: "ack" | "reject" | "requeue"
  ): "ack" | "reject" | "requeue" {
    const { history } = this.role
    const id = idOf(text)
    if (id === undefined) {
      history.violations.push(`a get returned a message that was not published: ${text.slice(0, 80)}`)
      return "ack"
    }
    const decision = history.attemptsOf(id) > 20 ? "ack" : settlement
    this.received.push(
      history.receive({
        id,
        receiver: this.name,
        session: history.sessionOf(this.role.client),
        queue: routingKey,
        redelivered,
        inOrder: false,
        decision,
        isSettled: false
      })
    )
    return decision
  }
}
