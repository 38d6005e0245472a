/** A client of a simulated run: it connects, runs its actors, and reconnects after a loss. */
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import type { AmqpBroker, NetworkOptions } from "@effect-amqp/core/testing/AmqpBroker"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import { countingFibers } from "../../support/countingFibers.ts"
import { singleSession } from "../../support/recovery.ts"
import { act } from "./actors.ts"
import { find } from "./faults.ts"
import type { History } from "./history.ts"
import type { Pace } from "./pace.ts"
import type { ActorPlan, Plan } from "./plan.ts"

type Broker = AmqpBroker["Service"]
type Connection = AmqpConnection.AmqpConnection["Service"]

interface Member {
  readonly number: number
  readonly actor: ActorPlan
}

/** An actor on a connection. `hasEnded` returns whether it is done, and need not run on another connection. */
interface Acting {
  readonly member: Member
  readonly fiber: Fiber.Fiber<void>
  readonly hasEnded: () => boolean
}

/** The fibers of a connection without channels, and the one that checks it. */
const fibersOfConnection = 8

/** Starts a client. `done` completes when it has nothing more to run. */
export const startClient = (
  index: 0 | 1,
  plan: Plan,
  broker: Broker,
  history: History,
  pace: Pace,
  scope: Scope.Scope
) =>
  Effect.gen(function*() {
    const client = new Client(index, plan, broker, history, pace)
    const fiber = yield* Effect.forkIn(client.fibers.counted(client.run), scope)
    return { done: Fiber.await(fiber), running: () => [...client.running], fibers: client.fibers }
  })

class Client {
  private readonly index: 0 | 1
  private readonly plan: Plan
  private readonly broker: Broker
  private readonly history: History
  private readonly pace: Pace
  readonly fibers = countingFibers()
  /** The numbers of the running actors. */
  readonly running = new Set<number>()

  constructor(index: 0 | 1, plan: Plan, broker: Broker, history: History, pace: Pace) {
    this.index = index
    this.plan = plan
    this.broker = broker
    this.history = history
    this.pace = pace
  }

  readonly run = Effect.gen({ self: this }, function*() {
    let members: ReadonlyArray<Member> = this.plan.actors.map((actor, number) => ({ actor, number }))
      .filter(({ actor }) => actor.connection === this.index)
    for (let generation = 0; members.length > 0 && generation <= this.plan.reconnects; generation++) {
      if (generation > 0) yield* Effect.sleep(100)
      this.pace.slowDown()
      members = yield* Effect.scoped(this.connectAndAct(members, generation))
    }
  })

  /** Returns the actors that lost the connection and have to continue on another one. */
  private connectAndAct(members: ReadonlyArray<Member>, generation: number) {
    return Effect.gen({ self: this }, function*() {
      const connected = yield* Effect.exit(this.connect(generation))
      if (Exit.isFailure(connected)) {
        this.history.refused.push({ connection: this.index, cause: connected.cause })
        return members
      }
      const connection = connected.value
      const acting = yield* Effect.forEach(members, (member) => this.start(member, generation, connection))
      const [consumers, others] = partition(acting, ({ member }) => member.actor._tag === "Consumer")
      yield* Fiber.awaitAll(others.map(({ fiber }) => fiber))
      if (yield* isOpen(connection)) yield* this.finish(connection, consumers)
      if (yield* isOpen(connection)) {
        this.pace.slowDown()
        yield* Fiber.interruptAll(consumers.map(({ fiber }) => fiber))
        yield* this.checkChannels(connection)
        return []
      }
      // The consumers end with their connection, without an interruption.
      yield* Fiber.awaitAll(consumers.map(({ fiber }) => fiber))
      return acting.filter(({ hasEnded }) => !hasEnded()).map(({ member }) => member)
    })
  }

  private connect(generation: number) {
    const { heartbeatSeconds, maxIdleChannels } = this.plan
    return this.broker.connect(
      { ...singleSession, connectionName: `c${this.index}`, maxIdleChannels, heartbeat: `${heartbeatSeconds} seconds` },
      this.network(generation)
    )
  }

  private network(generation: number): NetworkOptions {
    const { cutAfterReceived, cutAfterSent, latencyMillis: latency, readSize } = this.plan
    return { latency, readSize, ...(this.index === 0 && generation === 0 ? { cutAfterReceived, cutAfterSent } : {}) }
  }

  /** Starts an actor, and interrupts it when its plan says so. */
  private start({ actor, number }: Member, generation: number, connection: Connection) {
    return Effect.gen({ self: this }, function*() {
      const { history, running } = this
      running.add(number)
      let hasEnded = true
      const acting = Effect.andThen(Effect.sleep(actor.startMillis), act(actor, { actor: number, generation, history }))
        .pipe(Effect.provideService(AmqpConnection.AmqpConnection, connection))
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

  /** Gives the consumers time for what was published, and checks them before they are stopped. */
  private finish(connection: Connection, acting: ReadonlyArray<Acting>) {
    return Effect.gen({ self: this }, function*() {
      yield* Effect.sleep(20_000)
      // Both sides agree once each has received what the other sent.
      this.pace.slowDown()
      const own = yield* find(this.broker, this.index)
      yield* Effect.forEach(["toClient", "toBroker"] as const, (direction) => own?.resume(direction) ?? Effect.void)
      yield* Effect.sleep(6_000)
      if ((yield* this.idleSince(this.idle(acting), acting, 1_000)).length > 0 && (yield* isOpen(connection))) {
        // A failure policy may hold a message for a minute, and with it all that the prefetch allows.
        const idle = yield* this.idleSince(this.idle(acting), acting, 75_000)
        if (yield* isOpen(connection)) { for (const text of idle) this.wrong(text) }
      }
      if (!(yield* isOpen(connection))) return
      const consumed = acting.filter(({ fiber }) => fiber.pollUnsafe() === undefined)
        .flatMap(({ member }) => queuesOf(this.plan, member.number))
      const open = yield* find(this.broker, this.index)
      const consumers = open?.channels.reduce((sum, { consumers }) => sum + consumers, 0) ?? 0
      if (open !== undefined && consumers !== consumed.length) {
        this.wrong(`it has ${consumed.length} consumers, and the broker has ${consumers}`)
      }
    })
  }

  /** Waits, and returns which consumers have started no handler since `before`, though there are messages for them. */
  private idleSince(before: ReadonlyMap<number, number>, acting: ReadonlyArray<Acting>, millis: number) {
    return Effect.gen({ self: this }, function*() {
      yield* Effect.sleep(millis)
      const after = this.idle(acting)
      const queues = new Map((yield* this.broker.queues()).map((queue) => [queue.name, queue]))
      return [...after].filter(([number, started]) => before.get(number) === started).flatMap(([number]) =>
        queuesOf(this.plan, number).flatMap((name) => {
          const ready = queues.get(name)?.messagesReady ?? 0
          return ready > 0 ? [`consumer ${number} is idle, though there are ${ready} messages in ${name}`] : []
        })
      )
    })
  }

  /** The running consumers that handle nothing, with the number of messages that they have started to handle. */
  private idle(acting: ReadonlyArray<Acting>): ReadonlyMap<number, number> {
    return new Map(acting.flatMap(({ fiber, member: { number } }) => {
      const { started, running } = this.history.handlingOf(number)
      return running === 0 && fiber.pollUnsafe() === undefined ? [[number, started]] : []
    }))
  }

  /** Checks the channels that are left when none is used. */
  private checkChannels(connection: Connection) {
    return Effect.gen({ self: this }, function*() {
      yield* Effect.sleep(6_000)
      const open = yield* find(this.broker, this.index)
      if (open === undefined || !(yield* isOpen(connection))) return
      const count = yield* connection.channelCount
      if (open.channels.length !== count) {
        this.wrong(`it counts ${count} channels, and the broker ${open.channels.length}`)
      }
      const fibers = this.fibers.running - count
      if (fibers > fibersOfConnection) this.wrong(`it has ${fibers} fibers besides those of its ${count} channels`)
      if (count > 3 * this.plan.maxIdleChannels) this.wrong(`it has ${count} channels left`)
      yield* this.checkBuffers
      for (const { consumers, messagesUnacknowledged } of open.channels) {
        if (consumers > 0) this.wrong(`an idle channel has ${consumers} consumers`)
        if (messagesUnacknowledged > 0) this.wrong(`an idle channel has ${messagesUnacknowledged} messages`)
      }
    })
  }

  /** Checks by the client's metrics that it holds no messages while it is idle. */
  private readonly checkBuffers = Effect.gen({ self: this }, function*() {
    for (const metric of yield* Metric.snapshot) {
      if (metric.type !== "Gauge" || metric.attributes?.["messaging.client.id"] !== `c${this.index}`) continue
      if (buffers.has(metric.id) && metric.state.value !== 0) this.wrong(`${metric.id} is ${metric.state.value}`)
    }
  })

  private wrong(text: string): void {
    this.history.violations.push(`connection ${this.index}: ${text}`)
  }
}

/** The metrics that must be 0 when nothing is published or consumed. */
const buffers: ReadonlySet<string> = new Set([
  "amqp.client.publishes.unconfirmed",
  "amqp.client.deliveries.unsettled",
  "amqp.client.deliveries.buffered"
])

const isOpen = (connection: Connection): Effect.Effect<boolean> =>
  Effect.map(connection.state, ({ _tag }) => _tag !== "Closed")

/** The queues that an actor consumes until it is stopped. */
const queuesOf = (plan: Plan, number: number): ReadonlyArray<string> => {
  const actor = plan.actors[number]
  // A handle is cancelled early, and its stream continues with what has arrived. An interrupted actor may take long to stop.
  return actor._tag === "Consumer" && actor.mode !== "handle" && actor.interruptMillis === undefined ? actor.queues : []
}

const partition = <A>(values: ReadonlyArray<A>, predicate: (value: A) => boolean) =>
  [values.filter(predicate), values.filter((value) => !predicate(value))] as const
