/**
 * How a client of a simulated run reaches the broker: sockets that connect as the plan says, and whose bytes are observed.
 */
import type { NetworkOptions } from "@effect-amqp/core/testing/AmqpBroker"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import type { Dial, History } from "./history.ts"
import type { DialPlan, Plan } from "./plan.ts"
import { SessionObserver } from "./sessionObserver.ts"
import type { SessionRules } from "./sessionObserver.ts"
import type { World } from "./world.ts"

const refused = () =>
  new Socket.SocketError({
    reason: new Socket.SocketOpenError({ kind: "Unknown", cause: new Error("the connection was refused") })
  })

const reset = () =>
  new Socket.SocketError({
    reason: new Socket.SocketReadError({ cause: new Error("the connection was reset") })
  })

/** The socket of an attempt that reaches no broker. */
const silent = (pull: Effect.Effect<never, Socket.SocketError>): Socket.Socket =>
  Socket.make({
    reader: Effect.succeed({ pull, upgrade: () => Effect.die(new Error("there is no TLS")) }),
    writer: Effect.succeed({ write: () => Effect.void, writeAll: () => Effect.void })
  })

/** The fibers of the network do not belong to the client. */
const uncounted = { recordFiberStart: () => {}, recordFiberEnd: () => {} }

export class Dialing {
  private readonly index: 0 | 1
  private readonly world: World
  /** The faults of the next attempt, for a client without recovery. */
  network: NetworkOptions = {}
  private isFirst = true
  /** How many attempts and sessions have not ended. */
  private live = 0

  constructor(index: 0 | 1, world: World) {
    this.index = index
    this.world = world
  }

  /** Another connection is about to be made. */
  begins(): void {
    this.isFirst = true
  }

  /** A socket that makes a new connection each time that it is opened. */
  socketOf(endpoint: number): Socket.Socket {
    let writer: Socket.Writer | undefined
    let observer: SessionObserver | undefined
    return Socket.make({
      reader: Effect.gen({ self: this }, function*() {
        const dial = this.begin(endpoint)
        yield* Effect.addFinalizer(() => Effect.sync(() => this.end(dial)))
        const plan = this.planOf(dial)
        if (plan._tag === "Refuse") return yield* Effect.fail(refused())
        const socket = yield* this.connect(plan)
        const inner = yield* Scope.make()
        yield* Effect.addFinalizer((exit) => this.leave(plan, Scope.close(inner, exit)))
        const reader = yield* Scope.provide(socket.reader, inner)
        writer = yield* Scope.provide(socket.writer, inner)
        const current = observer = new SessionObserver(dial.number, this.rules, this.world.history)
        yield* Effect.addFinalizer(() => Effect.sync(() => current.ended()))
        const pull = Effect.map(reader.pull, (chunks) => {
          for (const chunk of chunks) if (typeof chunk !== "string") current.received(chunk)
          if (current.isOpen) dial.openedAt ??= this.now()
          return chunks
        })
        return { pull, upgrade: reader.upgrade }
      }),
      writer: Effect.succeed({
        write: (chunk) => {
          if (chunk instanceof Uint8Array) observer?.sent(chunk)
          return writer?.write(chunk) ?? Effect.fail(reset())
        },
        writeAll: (chunks) => {
          for (const chunk of chunks) if (chunk instanceof Uint8Array) observer?.sent(chunk)
          return writer?.writeAll(chunks) ?? Effect.fail(reset())
        }
      })
    })
  }

  private now(): number {
    return this.world.clock.currentTimeMillisUnsafe()
  }

  private begin(endpoint: number): Dial {
    const { index, world: { history } } = this
    if (this.live > 0) history.violations.push(`client ${index} dials before its last session has ended`)
    this.live++
    const dial = history.dial(index, endpoint, this.now(), this.isFirst)
    this.isFirst = false
    return dial
  }

  private end(dial: Dial): void {
    this.live--
    dial.endedAt = this.now()
  }

  private planOf({ number }: Dial): DialPlan {
    return this.world.plan.recovery[this.index]?.dials[number] ?? { _tag: "Connect" }
  }

  private connect(plan: DialPlan): Effect.Effect<Socket.Socket> {
    const { latencyMillis: latency, readSize } = this.world.plan
    switch (plan._tag) {
      case "Close":
        return Effect.succeed(silent(Effect.suspend(() => Effect.fail(reset()))))
      case "Stall":
        return Effect.succeed(silent(Effect.never))
      case "Cut": {
        const cut = plan.direction === "toClient" ? "cutAfterReceived" : "cutAfterSent"
        return this.world.broker.makeSocket({ latency, readSize, [cut]: plan.bytes })
      }
      default:
        return this.world.broker.makeSocket({ latency, readSize, ...this.network })
    }
  }

  /** The broker learns at once or later that the client has gone. */
  private leave(plan: DialPlan, close: Effect.Effect<void>): Effect.Effect<unknown> {
    if (plan._tag !== "Linger") return close
    return Effect.andThen(Effect.sleep(plan.millis), close).pipe(
      Effect.forkIn(this.world.scope),
      Effect.provideService(Metric.FiberRuntimeMetrics, uncounted)
    )
  }

  private get rules(): SessionRules {
    const { index, world: { history, plan } } = this
    return {
      client: index,
      topologies: () => history.topologies.filter(({ client }) => client === index),
      isConfirmed: (id) => {
        const published = history.published.get(id)
        if (published === undefined) return false
        const { _tag } = plan.actors[published.actor]
        return _tag === "Publisher" || _tag === "Follower"
      },
      prefetches: (queue, openedAt) => prefetchesOf(plan, history, index, queue, openedAt),
      now: () => this.now()
    }
  }
}

/** The prefetches with which the actors of a client consume a queue on a session that was opened at this time. */
const prefetchesOf = (
  plan: Plan,
  history: History,
  client: 0 | 1,
  queue: string,
  openedAt: number
): ReadonlySet<number> | undefined => {
  const prefetches = plan.actors.flatMap((actor, number) => {
    if (actor._tag !== "Consumer" || actor.connection !== client || !actor.queues.includes(queue)) return []
    if (actor.mode !== "handle") return [actor.prefetch]
    // A consumer that goes on keeps the prefetch that was set last.
    const isChanged = plan.recovery[client] !== undefined &&
      (history.prefetchChanges.get(number) ?? Infinity) < openedAt
    return isChanged ? [actor.nextPrefetch] : [actor.prefetch, actor.nextPrefetch]
  })
  return prefetches.length === 0 ? undefined : new Set(prefetches)
}
