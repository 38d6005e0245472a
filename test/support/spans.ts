/**
 * A tracer that records its spans, for tests.
 */
import { assert } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"

/** What a test sees of a span. */
export interface Seen {
  readonly name: string
  readonly kind: Tracer.SpanKind
  readonly traceId: string
  readonly spanId: string
  /** The id of the parent, if it has one. */
  readonly parent: string | undefined
  /** The ids of the spans that it links to. */
  readonly links: ReadonlyArray<string>
  readonly attributes: Readonly<Record<string, unknown>>
  /** `running`, `ok`, or the message of its error. */
  readonly end: string
}

const seen = (span: Tracer.NativeSpan): Seen => ({
  name: span.name,
  kind: span.kind,
  traceId: span.traceId,
  spanId: span.spanId,
  parent: Option.getOrUndefined(span.parent)?.spanId,
  links: span.links.map((link) => link.span.spanId),
  attributes: Object.fromEntries(span.attributes),
  end: span.status._tag === "Started"
    ? "running"
    : span.status.exit._tag === "Success"
    ? "ok"
    : Cause.prettyErrors(span.status.exit.cause).map(({ message }) => message).join("; ")
})

/** A tracer, and its spans in the order of their start. */
export const recording = () => {
  const spans: Array<Tracer.NativeSpan> = []
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  return {
    traced: Effect.withTracer(tracer),
    get spans(): ReadonlyArray<Seen> {
      return spans.map(seen)
    },
    /** The only span of this name. */
    only(name: string): Seen {
      const [found, ...others] = spans.filter((span) => span.name === name)
      if (found === undefined || others.length > 0) {
        return assert.fail(`spans: ${spans.map((span) => span.name).join(", ")}`)
      }
      return seen(found)
    }
  }
}
