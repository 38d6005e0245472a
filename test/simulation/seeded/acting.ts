/** The actors of a client: starting them on a connection, and interrupting them when their plan says so. */
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { act } from "./actors.ts"
import { isLoss } from "./history.ts"
import type { ActorPlan } from "./plan.ts"
import { isOrderly } from "./planFacts.ts"
import type { Role } from "./role.ts"
import type { World } from "./world.ts"

export type Connection = AmqpConnection.AmqpConnection["Service"]

export interface Member {
  readonly number: number
  readonly actor: ActorPlan
}

/** An actor on a connection. `hasEnded` returns whether it is done, and need not run on another connection. */
export interface ActingMember {
  readonly member: Member
  readonly fiber: Fiber.Fiber<void>
  readonly hasEnded: () => boolean
}

/** The actors that know exactly what they must see, and so begin anew after a loss, if their connection is established again. */
const beginAnew: ReadonlySet<ActorPlan["_tag"]> = new Set(["Solitary", "Reader", "Secrets"])

/** How often they begin anew. */
const maxGenerations = 5

export class Acting {
  private readonly index: 0 | 1
  private readonly world: World
  /** The numbers of the running actors. */
  readonly running = new Set<number>()

  constructor(index: 0 | 1, world: World) {
    this.index = index
    this.world = world
  }

  /** The actors of this client. */
  get members(): ReadonlyArray<Member> {
    return this.world.plan.actors.map((actor, number) => ({ actor, number }))
      .filter(({ actor }) => actor.connection === this.index)
  }

  /** Starts an actor. */
  start({ actor, number }: Member, generation: number, connection: Connection) {
    return Effect.gen({ self: this }, function*() {
      const { running, world: { history } } = this
      running.add(number)
      let hasEnded = true
      const acting = Effect.andThen(Effect.sleep(actor.startMillis), this.act({ actor, number }, generation)).pipe(
        Effect.provideService(AmqpConnection.AmqpConnection, connection)
      )
      const fiber = yield* Effect.forkChild(
        Effect.gen(function*() {
          const fiber = yield* Effect.forkChild(acting)
          if (actor.interruptMillis !== undefined) {
            yield* Effect.forkChild(
              Effect.andThen(Effect.sleep(actor.startMillis + actor.interruptMillis), Fiber.interrupt(fiber))
            )
          }
          const exit = yield* Effect.onInterrupt(Fiber.await(fiber), () => Fiber.interrupt(fiber))
          history.exits.push({ actor: number, exit })
          hasEnded = Exit.isSuccess(exit) || exit.cause.reasons.some(({ _tag }) => _tag === "Interrupt")
        }).pipe(Effect.ensuring(Effect.sync(() => running.delete(number))))
      )
      return { member: { actor, number }, fiber, hasEnded: () => hasEnded }
    })
  }

  private act({ actor, number }: Member, generation: number): Effect.Effect<
    void,
    unknown,
    AmqpConnection.AmqpConnection
  > {
    const { history } = this.world
    const role = this.role(number, generation)
    return !role.recovers || generation >= maxGenerations || !beginAnew.has(actor._tag)
      ? act(actor, role)
      : Effect.catch(act(actor, role), (error) => {
        if (!isLoss(error)) return Effect.fail(error)
        history.fail(number, error)
        return Effect.andThen(Effect.sleep(100), this.act({ actor, number }, generation + 1))
      })
  }

  private role(actor: number, generation: number): Role {
    const { index, world: { history, passwords, plan } } = this
    return {
      actor,
      client: index,
      generation,
      history,
      recovers: plan.recovery[index] !== undefined,
      waitTimeoutMillis: plan.recovery[index]?.waitTimeoutMillis,
      leavesAtOnce: plan.recovery[index]?.dials.every(({ _tag }) => _tag !== "Linger") ?? true,
      isSmooth: plan.channelMax > 100 && plan.confirming === "all" &&
        plan.faults.every(({ _tag }) => _tag !== "Stall" && _tag !== "Block"),
      isOrderly: isOrderly(plan),
      password: () => passwords[index]
    }
  }
}
