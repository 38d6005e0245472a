/** `npm run churn`: what 10,000 recoveries leave in memory, and the turns of the event loop while many publishers and consumers come back. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { churn } from "./churn.ts"
import { overTcp } from "./places.ts"
import { comeBack } from "./turns.ts"

class ChurnFailed extends Data.TaggedError("ChurnFailed")<{ readonly message: string }> {}

/** In bytes, between the first sample and the last. */
const maxGrowth = 1024 * 1024
/** In milliseconds. */
const maxTurn = 50
/** How often all come back. */
const rounds = 10

const flags = {
  recoveries: Flag.Int("recoveries").pipe(
    Flag.withDescription("How often the connection is lost"),
    Flag.withDefault(10_000)
  ),
  count: Flag.Int("count").pipe(
    Flag.withDescription("How many publishers, and how many consumers, come back"),
    Flag.withDefault(1_000)
  )
}

const mebibytes = (bytes: number) => `${(bytes / 1024 / 1024).toFixed(2)} MiB`
const millis = (value: number) => `${value.toFixed(0)} ms`

const run = ({ count, recoveries }: { readonly count: number; readonly recoveries: number }) =>
  Effect.gen(function*() {
    const samples = yield* churn(overTcp, recoveries, 10)
    for (const { buffers, fibers, heap, recoveries, resources } of samples) {
      yield* Console.log(
        `${recoveries} recoveries: heap ${mebibytes(heap)}, buffers ${mebibytes(buffers)}, ${fibers} fibers, ` +
          `${resources} sockets and timers`
      )
    }
    const [first, last] = [samples[0], samples[samples.length - 1]]
    const growth = last.heap + last.buffers - first.heap - first.buffers
    yield* Console.log(`The memory has grown by ${mebibytes(growth)} since the first of these.`)
    const turns = yield* comeBack(count, rounds)
    for (const { cpu, recovery, wall } of turns) {
      yield* Console.log(
        `${count} publishers and ${count} consumers are back after ${millis(recovery)}; longest turn ${
          millis(wall)
        }, ` +
          `of which processor ${millis(cpu)}`
      )
    }
    // The first round compiles the code.
    const longest = Math.max(...turns.slice(1).map(({ wall }) => wall))
    if (growth > maxGrowth || last.fibers > first.fibers || last.resources > first.resources) {
      return yield* new ChurnFailed({ message: "Recoveries leave something behind" })
    }
    if (longest > maxTurn) return yield* new ChurnFailed({ message: `A turn took ${millis(longest)}` })
  })

const command = Command.make("churn", flags, run).pipe(
  Command.withDescription("Loses connections again and again, and shows what that leaves in memory")
)

Command.run(command, { version: "0.1.0" }).pipe(Effect.provide(NodeServices.layer), NodeRuntime.runMain)
