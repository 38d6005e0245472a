/** A client that recovers: its actors stay on one connection, whose sessions come and go. */
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { ActingMember, Connection } from "./acting.ts"
import type { ClientParts } from "./clientParts.ts"
import { connectionOptions, isConnected, isOpen, partition } from "./connecting.ts"
import type { RecoveryPlan } from "./plan.ts"
import { changesPassword, quietAt } from "./planFacts.ts"
import { userOf } from "./world.ts"

/** How often a client tries to make its connection, if its first round of attempts is the only one. */
const maxStarts = 8

/** The longest pause of the default schedule, with a handshake of each endpoint that times out. */
const recoveryLimit = 120_000

/** How often the final checks begin anew because a session was lost meanwhile. */
const maxChecks = 5

export const recovering = (parts: ClientParts, plan: RecoveryPlan): Effect.Effect<void> =>
  Effect.scoped(Effect.gen(function*() {
    const { acting, world: { pace } } = parts
    if (acting.members.length === 0) return
    const connection = yield* start(parts, plan)
    if (connection === undefined) return
    yield* Effect.forkScoped(watch(parts, connection))
    pace.slowDown()
    const started = yield* Effect.forEach(acting.members, (member) => acting.start(member, 0, connection))
    const [consumers, others] = partition(started, ({ member }) => member.actor._tag === "Consumer")
    yield* Fiber.awaitAll(others.map(({ fiber }) => fiber))
    yield* finish(parts, connection, consumers)
  }))

/** Makes the connection, as a process that is started again when it has failed. */
const start = ({ dialing, index, world: { history, passwords, plan } }: ClientParts, recovery: RecoveryPlan) =>
  Effect.gen(function*() {
    const { endpoints, initial, order, pauseMillis, stableAfterMillis, waitTimeoutMillis } = recovery
    const [first, ...others] = Array.from({ length: endpoints }, (_, endpoint) => ({
      name: `e${endpoint}`,
      socket: dialing.socketOf(endpoint)
    }))
    const credentials = Effect.sync(() => ({
      username: userOf(index),
      password: Redacted.make(passwords[index])
    }))
    const connect = AmqpConnection.makeFrom([first, ...others], {
      ...connectionOptions(index, plan),
      ...changesPassword(plan, index) ? { credentials } : {},
      endpointOrder: order,
      recovery: {
        initial,
        stableAfter: stableAfterMillis,
        waitTimeout: waitTimeoutMillis,
        ...pauseMillis === undefined ? {} : { schedule: Schedule.spaced(pauseMillis) }
      }
    })
    for (let attempt = 1; attempt <= maxStarts; attempt++) {
      dialing.begins()
      const exit = yield* Effect.exit(connect)
      if (Exit.isSuccess(exit)) return exit.value
      history.refused.push({ connection: index, cause: exit.cause })
      yield* Effect.sleep(3_000)
    }
    return undefined
  })

/** Records the states. */
const watch = ({ index, world: { clock, history } }: ClientParts, connection: Connection) =>
  Stream.runForEach(
    connection.stateChanges,
    (state) => Effect.sync(() => history.states[index].push({ at: clock.currentTimeMillisUnsafe(), state }))
  )

/** Waits until no more faults come, and checks that everything is as without them. */
const finish = (parts: ClientParts, connection: Connection, consumers: ReadonlyArray<ActingMember>) =>
  Effect.gen(function*() {
    const { checks, index, world: { clock, history, pace, plan } } = parts
    const left = quietAt(plan) - clock.currentTimeMillisUnsafe()
    if (left > 0) yield* Effect.sleep(left)
    pace.slowDown()
    for (let check = 1; check <= maxChecks; check++) {
      if (!(yield* awaitConnected(parts, connection))) break
      const disturbances = history.disturbancesOf(index)
      const isValid = Effect.map(
        isConnected(connection),
        (isConnected) => isConnected && history.disturbancesOf(index) === disturbances
      )
      yield* checks.consumers(consumers, isValid)
      if (!(yield* isValid)) continue
      pace.slowDown()
      yield* Fiber.interruptAll(consumers.map(({ fiber }) => fiber))
      yield* checks.channels(connection, isValid)
      return
    }
    if (yield* isOpen(connection)) {
      history.violations.push(`connection ${index}: it does not stay open without faults`)
      yield* Fiber.interruptAll(consumers.map(({ fiber }) => fiber))
    } else {
      // The consumers end with their connection, without an interruption.
      yield* Fiber.awaitAll(consumers.map(({ fiber }) => fiber))
    }
  })

/** Without faults, a connection that has not closed for good is open again. Returns whether it is. */
const awaitConnected = ({ world: { clock } }: ClientParts, connection: Connection) =>
  Effect.gen(function*() {
    const limit = clock.currentTimeMillisUnsafe() + recoveryLimit
    while (clock.currentTimeMillisUnsafe() < limit && (yield* isOpen(connection))) {
      if (yield* isConnected(connection)) return true
      yield* Effect.sleep(500)
    }
    return false
  })
