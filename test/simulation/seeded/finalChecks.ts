/** What is checked at the end of a client, while its connection is still open. */
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type { ActingMember, Connection } from "./acting.ts"
import { find } from "./faults.ts"
import type { Plan } from "./plan.ts"
import type { World } from "./world.ts"

/** The fibers of a connection without channels, and the one that checks it. */
const fibersOfConnection = 8

/** Those of a connection that recovers: also the supervisor, and the one that watches the states. */
const fibersOfRecovery = 3

export class FinalChecks {
  private readonly index: 0 | 1
  private readonly world: World
  private readonly fibers: { readonly running: number }

  constructor(index: 0 | 1, world: World, fibers: { readonly running: number }) {
    this.index = index
    this.world = world
    this.fibers = fibers
  }

  /**
   * Gives the consumers time for what was published, and checks that they consume. `isValid` returns whether the connection has been open
   * for all that time.
   */
  consumers(acting: ReadonlyArray<ActingMember>, isValid: Effect.Effect<boolean>): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      const { broker, pace, plan } = this.world
      yield* Effect.sleep(20_000)
      // Both sides agree once each has received what the other sent.
      pace.slowDown()
      const own = yield* find(broker, this.index)
      yield* Effect.forEach(["toClient", "toBroker"] as const, (direction) => own?.resume(direction) ?? Effect.void)
      yield* Effect.sleep(6_000)
      if ((yield* this.idleSince(this.idle(acting), acting, 1_000)).length > 0 && (yield* isValid)) {
        // A failure policy may hold a message for a minute, and with it all that the prefetch allows.
        const idle = yield* this.idleSince(this.idle(acting), acting, 75_000)
        if (yield* isValid) { for (const text of idle) this.wrong(text) }
      }
      if (!(yield* isValid)) return
      const consumed = acting.filter(({ fiber }) => fiber.pollUnsafe() === undefined)
        .flatMap(({ member }) => queuesOf(plan, member.number))
      const open = yield* find(broker, this.index)
      const consumers = open?.channels.reduce((sum, { consumers }) => sum + consumers, 0) ?? 0
      if (open !== undefined && consumers !== consumed.length) {
        this.wrong(`it has ${consumed.length} consumers, and the broker has ${consumers}`)
      }
    })
  }

  /** Waits, and returns which consumers have started no handler since `before`, though there are messages for them. */
  private idleSince(before: ReadonlyMap<number, number>, acting: ReadonlyArray<ActingMember>, millis: number) {
    return Effect.gen({ self: this }, function*() {
      yield* Effect.sleep(millis)
      const after = this.idle(acting)
      const queues = new Map((yield* this.world.broker.queues()).map((queue) => [queue.name, queue]))
      return [...after].filter(([number, started]) => before.get(number) === started).flatMap(([number]) =>
        queuesOf(this.world.plan, number).flatMap((name) => {
          const ready = queues.get(name)?.messagesReady ?? 0
          return ready > 0 ? [`consumer ${number} is idle, though there are ${ready} messages in ${name}`] : []
        })
      )
    })
  }

  /** The running consumers that handle nothing, with the number of messages that they have started to handle. */
  private idle(acting: ReadonlyArray<ActingMember>): ReadonlyMap<number, number> {
    return new Map(acting.flatMap(({ fiber, member: { number } }) => {
      const { started, running } = this.world.history.handlingOf(number)
      return running === 0 && fiber.pollUnsafe() === undefined ? [[number, started]] : []
    }))
  }

  /** Checks the channels that are left when none is used. */
  channels(connection: Connection, isValid: Effect.Effect<boolean>): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      const { broker, plan } = this.world
      yield* Effect.sleep(6_000)
      const open = yield* find(broker, this.index)
      if (open === undefined || !(yield* isValid)) return
      // The broker does not read that channels are closed.
      if ((yield* connection.state)._tag === "Blocked") return
      const count = yield* connection.channelCount
      if (open.channels.length !== count) {
        this.wrong(`it counts ${count} channels, and the broker ${open.channels.length}`)
      }
      const fibers = this.fibers.running - count
      const expected = fibersOfConnection + (plan.recovery[this.index] === undefined ? 0 : fibersOfRecovery)
      if (fibers > expected) this.wrong(`it has ${fibers} fibers besides those of its ${count} channels`)
      if (count > 3 * plan.maxIdleChannels) this.wrong(`it has ${count} channels left`)
      yield* this.buffers
      for (const { consumers, messagesUnacknowledged } of open.channels) {
        if (consumers > 0) this.wrong(`an idle channel has ${consumers} consumers`)
        if (messagesUnacknowledged > 0) this.wrong(`an idle channel has ${messagesUnacknowledged} messages`)
      }
    })
  }

  /** Checks by the client's metrics that it holds no messages while it is idle. */
  private readonly buffers = Effect.gen({ self: this }, function*() {
    for (const metric of yield* Metric.snapshot) {
      if (metric.type !== "Gauge" || metric.attributes?.["messaging.client.id"] !== `c${this.index}`) continue
      if (emptyBuffers.has(metric.id) && metric.state.value !== 0) this.wrong(`${metric.id} is ${metric.state.value}`)
    }
  })

  private wrong(text: string): void {
    this.world.history.violations.push(`connection ${this.index}: ${text}`)
  }
}

/** The metrics that must be 0 when nothing is published or consumed. */
const emptyBuffers: ReadonlySet<string> = new Set([
  "amqp.client.publishes.unconfirmed",
  "amqp.client.deliveries.unsettled",
  "amqp.client.deliveries.buffered"
])

/** The queues that an actor consumes until it is stopped. */
const queuesOf = (plan: Plan, number: number): ReadonlyArray<string> => {
  const actor = plan.actors[number]
  // A handle is cancelled early, and its stream continues with what has arrived. An interrupted actor may take long to stop.
  return actor._tag === "Consumer" && actor.mode !== "handle" && actor.interruptMillis === undefined ? actor.queues : []
}
