/**
 * Where a connection is lost again and again: between the client and the embedded broker, in this process or over TCP.
 */
import type * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import type { AmqpConnectionError } from "@effect-amqp/core/AmqpError"
import type { AmqpUriError } from "@effect-amqp/core/AmqpUri"
import { AmqpBroker } from "@effect-amqp/core/testing"
import { NodeAmqp } from "@effect-amqp/node"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { fork } from "node:child_process"
import type { Report, Request } from "./brokerProcess.ts"

type Connection = AmqpConnection.AmqpConnection["Service"]

/** A connection to the embedded broker. */
interface Setting {
  readonly connection: Connection
  /** Cuts the connection, and waits until the client has noticed it. */
  readonly cut: Effect.Effect<void>
}

export type Place = Effect.Effect<Setting, AmqpConnectionError | AmqpUriError, Scope.Scope>

/** Dials again without a pause, however short the session was. */
const atOnce = { recovery: { stableAfter: 0 } } as const

const awaitLoss = ({ stateChanges }: Connection): Effect.Effect<void> =>
  Stream.runDrain(Stream.takeUntil(stateChanges, ({ _tag }) => _tag !== "Open"))

/** In this process, whose memory is that of the broker too. */
export const inMemory: Place = Effect.gen(function*() {
  const broker = yield* AmqpBroker.make()
  const connection = yield* broker.connect(atOnce)
  const cut = Effect.flatMap(broker.connections, Effect.forEach((each) => each.cut, { discard: true }))
  return { connection, cut: Effect.andThen(cut, awaitLoss(connection)) }
})

/** What the broker counts. */
interface Counts {
  readonly channels: number
  readonly consumers: number
}

const startBroker = Effect.acquireRelease(
  Effect.promise(async () => {
    const child = fork(new URL("./brokerProcess.ts", import.meta.url))
    const next = () => new Promise<Report>((resolve) => child.once("message", resolve))
    const tell = (request: Request): void => void child.send(request)
    const first = await next()
    const count: Effect.Effect<Counts> = Effect.promise(async () => {
      const reply = next()
      tell("count")
      const report = await reply
      return "channels" in report ? report : { channels: 0, consumers: 0 }
    })
    return { child, url: `amqp://127.0.0.1:${"port" in first ? first.port : 0}`, tell, count }
  }),
  ({ child }) => Effect.sync(() => void child.kill())
)

/** Over TCP, to a broker in another process. */
export const overTcp = Effect.gen(function*() {
  const { count, tell, url } = yield* startBroker
  const connection = yield* NodeAmqp.make({ url, ...atOnce })
  return { connection, cut: Effect.andThen(Effect.sync(() => tell("cut")), awaitLoss(connection)), count }
})
