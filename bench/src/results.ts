/**
 * What a benchmark has measured, as `--json` writes it and `--from` reads it.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import { clientNames } from "./clients.ts"
import { MeasurementFields } from "./measurement.ts"

const Run = Schema.Struct({
  scenario: Schema.String,
  client: Schema.Literals(clientNames),
  round: Schema.Int,
  size: Schema.Int,
  warmUp: Schema.Int,
  count: Schema.Int,
  ...MeasurementFields,
  standInCpuMicrosecondsPerOperation: Schema.optionalKey(Schema.Number)
})

/** One process: its client, its scenario and its measurement. */
export type Run = typeof Run.Type

export const Environment = Schema.Struct({
  date: Schema.String,
  node: Schema.String,
  platform: Schema.String,
  cpu: Schema.String,
  cores: Schema.Int,
  /** Those that were measured with: RabbitMQ, the stand-in, or both. */
  broker: Schema.String,
  /** Installed versions by the name of the npm package or program. */
  packages: Schema.Record(Schema.String, Schema.String)
})

const Results = Schema.Struct({
  environment: Environment,
  /** Bytes in a message's body, in scenarios without a size of their own. */
  size: Schema.Int,
  rounds: Schema.Int,
  runs: Schema.Array(Run)
})

export type Results = typeof Results.Type

const ResultsJson = Schema.fromJsonString(Results)

/** Reads a file that `--json` wrote. */
export const readResults = Effect.fnUntraced(function*(file: string) {
  const fileSystem = yield* FileSystem.FileSystem
  return yield* fileSystem.readFileString(file).pipe(
    Effect.flatMap((text) => Schema.decodeEffect(ResultsJson)(text)),
    Effect.mapError((cause) => new Error(`Cannot read ${file}: ${cause.message}`))
  )
})
