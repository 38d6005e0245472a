/**
 * Starts the stand-in in a process of its own, until the scope closes.
 */
import * as Effect from "effect/Effect"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Stream from "effect/Stream"
import { fileURLToPath } from "node:url"
import type { Broker } from "../broker.ts"
import { BrokerError, connect } from "../broker.ts"
import { cpuQueue } from "./queues.ts"

const mainFile = fileURLToPath(new URL("./main.ts", import.meta.url))

export interface StandIn {
  readonly broker: Broker
  /** The CPU time that the process has used, in microseconds. */
  readonly cpuMicroseconds: Effect.Effect<number, BrokerError>
}

export const startStandIn = Effect.gen(function*() {
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  const child = yield* spawner.spawn(ChildProcess.make(process.execPath, [mainFile], { stderr: "inherit" }))
  const port = yield* Stream.decodeText(child.stdout).pipe(Stream.splitLines, Stream.take(1), Stream.mkString)
  if (!/^\d+$/.test(port)) {
    return yield* new BrokerError({ message: "The stand-in did not start" })
  }
  const broker = yield* connect(`amqp://guest:guest@127.0.0.1:${port}`)
  const standIn: StandIn = { broker, cpuMicroseconds: broker.messageCount(cpuQueue) }
  return standIn
})
