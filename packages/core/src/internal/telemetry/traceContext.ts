/**
 * The trace context in the headers of a message (W3C, "Trace Context").
 */
import * as Context from "effect/Context"
import * as Headers from "effect/http/Headers"
import * as HttpTraceContext from "effect/http/HttpTraceContext"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"
import type { Properties } from "../../AmqpMessage.ts"
import { isTable } from "../../protocol/fieldTable.ts"
import type { FieldTable } from "../../protocol/fieldTable.ts"
import { record } from "../options/validation.ts"

/** The header that identifies a trace and a span of it. */
const headerName = "traceparent"

/** The properties with a header that identifies the span. They are unchanged if they have the header, or if the span is not propagated. */
export const inject = (properties: Properties, span: Tracer.AnySpan): Properties => {
  const { headers = {} } = properties
  // Headers that are not a table are refused when the message is encoded.
  if (!isTable(headers) || Context.get(span.annotations, Tracer.DisablePropagation)) return properties
  const given = record("headers", headers)
  return headerName in given ? properties : { ...properties, headers: { ...given, [headerName]: traceparent(span) } }
}

const traceparent = ({ sampled, spanId, traceId }: Tracer.AnySpan): string =>
  `00-${traceId.padStart(32, "0")}-${spanId}-${sampled ? "01" : "00"}`

/** The span that headers identify. `None` if they have no valid trace context. */
export const extract = (headers: FieldTable | undefined): Option.Option<Tracer.ExternalSpan> => {
  const value = headers?.[headerName]
  return typeof value === "string"
    ? HttpTraceContext.w3c(Headers.fromRecordUnsafe({ [headerName]: value }))
    : Option.none()
}
