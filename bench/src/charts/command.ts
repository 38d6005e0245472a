/**
 * `npm run bench -- charts --from figures.json`: draws what `--json` wrote.
 */
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { fileURLToPath } from "node:url"
import { defaultFamily, familyNames, scenarioNamed } from "../scenarios.ts"
import type { ChartInput } from "./input.ts"
import { readInput } from "./input.ts"

const defaultFolder = fileURLToPath(new URL("../../charts", import.meta.url))

const draw = Effect.fnUntraced(function*(input: ChartInput) {
  // not loaded by other commands: the library takes a tenth of a second
  const [{ familyChart }, { overviewChart }] = yield* Effect.promise(() =>
    Promise.all([import("./family.ts"), import("./overview.ts")])
  )
  const families = familyNames.filter((family) =>
    input.summaries.some(({ scenario }) => scenarioNamed(scenario).family === family)
  )
  return [
    ...families.map((family) => ({ name: family, svg: familyChart(input, family) })),
    ...(families.includes(defaultFamily) ? [{ name: "overview", svg: overviewChart(input) }] : [])
  ]
})

export const charts = Command.make(
  "charts",
  {
    from: Flag.String("from").pipe(
      Flag.withMetavar("FILE"),
      Flag.withDescription("What --json wrote")
    ),
    to: Flag.String("to").pipe(
      Flag.withMetavar("FOLDER"),
      Flag.withDescription("Where the SVG files go (default: bench/charts)"),
      Flag.withDefault(defaultFolder)
    )
  },
  Effect.fnUntraced(function*({ from, to }) {
    const fileSystem = yield* FileSystem.FileSystem
    const drawn = yield* draw(yield* readInput(from))
    yield* fileSystem.makeDirectory(to, { recursive: true })
    for (const { name, svg } of drawn) {
      const file = `${to}/${name}.svg`
      yield* fileSystem.writeFileString(file, svg)
      yield* Console.log(file)
    }
  }, Effect.mapError((cause) => new CliError.UserError({ cause })))
).pipe(Command.withDescription("Draws the figures of a file that --json wrote"))
