/**
 * Decodes the line that the process of a client prints. `task.ts` has the type without a codec.
 */
import * as Schema from "effect/Schema"
import type { Measurement } from "./task.ts"

export const MeasurementFields = {
  nanoseconds: Schema.Number,
  cpuMicroseconds: Schema.Number,
  peakRssBytes: Schema.Number,
  latencies: Schema.optionalKey(Schema.Struct({
    p50: Schema.Number,
    p99: Schema.Number,
    p999: Schema.Number,
    max: Schema.Number
  })),
  eventLoopDelay: Schema.optionalKey(Schema.Number),
  beside: Schema.optionalKey(Schema.Number),
  settledRssBytes: Schema.optionalKey(Schema.Number)
}

export const MeasurementJson: Schema.ConstraintDecoder<Measurement> = Schema.fromJsonString(
  Schema.Struct(MeasurementFields)
)
