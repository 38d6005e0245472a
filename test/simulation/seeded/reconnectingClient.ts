/** A client without recovery: it runs its actors on one connection, and on another one when that is lost. */
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import type { NetworkOptions } from "@effect-amqp/core/testing/AmqpBroker"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Socket from "effect/socket/Socket"
import type { Member } from "./acting.ts"
import type { ClientParts } from "./clientParts.ts"
import { connectionOptions, isOpen, partition } from "./connecting.ts"

export const reconnecting = (parts: ClientParts): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { acting, world: { pace, plan } } = parts
    let members: ReadonlyArray<Member> = acting.members
    for (let generation = 0; members.length > 0 && generation <= plan.reconnects; generation++) {
      if (generation > 0) yield* Effect.sleep(100)
      pace.slowDown()
      members = yield* Effect.scoped(connectAndAct(parts, members, generation))
    }
  })

/** Returns the actors that lost the connection and have to continue on another one. */
const connectAndAct = (parts: ClientParts, members: ReadonlyArray<Member>, generation: number) =>
  Effect.gen(function*() {
    const { acting, checks, index, world: { history, pace } } = parts
    const connected = yield* Effect.exit(connect(parts, generation))
    if (Exit.isFailure(connected)) {
      history.refused.push({ connection: index, cause: connected.cause })
      return members
    }
    const connection = connected.value
    const started = yield* Effect.forEach(members, (member) => acting.start(member, generation, connection))
    const [consumers, others] = partition(started, ({ member }) => member.actor._tag === "Consumer")
    yield* Fiber.awaitAll(others.map(({ fiber }) => fiber))
    if (yield* isOpen(connection)) yield* checks.consumers(consumers, isOpen(connection))
    if (yield* isOpen(connection)) {
      pace.slowDown()
      yield* Fiber.interruptAll(consumers.map(({ fiber }) => fiber))
      yield* checks.channels(connection, isOpen(connection))
      return []
    }
    // The consumers end with their connection, without an interruption.
    yield* Fiber.awaitAll(consumers.map(({ fiber }) => fiber))
    return started.filter(({ hasEnded }) => !hasEnded()).map(({ member }) => member)
  })

const connect = ({ dialing, index, world: { plan } }: ClientParts, generation: number) => {
  dialing.network = networkOf(index, generation, plan)
  return AmqpConnection.make({ ...connectionOptions(index, plan), recovery: false }).pipe(
    Effect.provideService(Socket.Socket, dialing.socketOf(0))
  )
}

/** The first connection of the first client may be cut. */
const networkOf = (
  index: 0 | 1,
  generation: number,
  { cutAfterReceived, cutAfterSent }: ClientParts["world"]["plan"]
): NetworkOptions => index === 0 && generation === 0 ? { cutAfterReceived, cutAfterSent } : {}
