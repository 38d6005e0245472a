/** `npm run brokers`: runs another version of RabbitMQ, or a cluster, for tests. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { runCommand } from "./brokers/runCommand.ts"
import { environmentFor, exportsFor } from "./brokers/running.ts"
import type { RunningBrokers } from "./brokers/running.ts"
import { startBrokers } from "./brokers/start.ts"
import { versions } from "./brokers/versions.ts"

class BrokersFailed extends Data.TaggedError("BrokersFailed")<{ readonly message: string }> {}

const integerFlag = (flag: string, minimum: number, maximum: number) =>
  Flag.Int(flag).pipe(
    Flag.withSchema(
      Schema.Number.pipe(
        Schema.check(
          Schema.isBetween({ minimum, maximum }, { message: `Expected an integer from ${minimum} to ${maximum}` })
        )
      )
    )
  )

const config = {
  version: Argument.Literals("version", versions).pipe(
    Argument.withDescription(`Version of RabbitMQ: ${versions.join(", ")}`)
  ),
  command: Argument.String("command").pipe(
    Argument.withDescription("Command to run with these brokers, after --; they are stopped when it ends"),
    Argument.variadic()
  ),
  nodes: integerFlag("nodes", 1, 7).pipe(
    Flag.withDescription("How many nodes form a cluster (default: 1)"),
    Flag.withDefault(1)
  ),
  port: integerFlag("port", 1, 65_535).pipe(
    Flag.withDescription("Port of the first node; others have the next ones (default: free ones)"),
    Flag.optional
  )
}

const log = (line: string): void => console.error(line)

const untilAllHaveEnded = (brokers: RunningBrokers) =>
  Effect.promise(brokers.isRunning).pipe(
    Effect.repeat({ while: (running) => running, schedule: Schedule.spaced("2 seconds") })
  )

const brokers = Command.make(
  "brokers",
  config,
  Effect.fnUntraced(function*({ command, nodes, port, version }) {
    const running = yield* Effect.acquireRelease(
      Effect.tryPromise({
        try: () => startBrokers(version, { nodes, port: Option.getOrUndefined(port), log }),
        catch: (error) => new BrokersFailed({ message: error instanceof Error ? error.message : String(error) })
      }),
      ({ stop }) => Effect.promise(stop),
      { interruptible: true }
    )
    const what = nodes === 1 ? `RabbitMQ ${running.version} runs` : `${nodes} nodes of RabbitMQ ${running.version} run`
    if (command.length > 0) {
      yield* Console.error(`${what} at ${running.urls.join(", ")}`)
      process.exitCode = yield* runCommand(command, environmentFor(running))
      return
    }
    yield* Console.error(`${what} until Ctrl-C. To use ${nodes === 1 ? "it" : "them"} in another shell:`)
    yield* Console.log(exportsFor(running))
    yield* untilAllHaveEnded(running)
    return yield* new BrokersFailed({ message: "RabbitMQ has ended." })
  }, Effect.scoped)
).pipe(
  Command.withDescription("Runs a version of RabbitMQ, or a cluster of it, for tests"),
  Command.withExamples([
    { command: "npm run brokers -- 4.0", description: "Run RabbitMQ 4.0 until Ctrl-C, and print what to export" },
    {
      command: "npm run brokers -- 4.3 -- npm test -- --project integration",
      description: "Run the integration tests on RabbitMQ 4.3"
    },
    { command: "npm run brokers -- 3.10 --nodes 3", description: "Run a cluster of three nodes" }
  ])
)

brokers.pipe(
  Command.run({ version: "0.0.0" }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
