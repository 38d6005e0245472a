/**
 * Telemetry: spans, trace contexts in messages, and durations.
 *
 * {@link layer} turns it on for everything that is built with it: publishers, RPC clients, and the handlers of
 * `AmqpConsumer.serve` and `AmqpRpc.serve`. Spans and metrics follow OpenTelemetry's semantic conventions for
 * messaging, and go to the program's `Tracer` and exporter of metrics, such as those of `effect/observability/Otlp`.
 *
 * The counters of connections (messages, confirms, bytes and others) are always on, as they cost next to nothing.
 * `docs/telemetry.md` lists all metrics.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Tracer from "effect/Tracer"
import * as AmqpMessage from "./AmqpMessage.ts"
import * as TraceContext from "./internal/telemetry/traceContext.ts"

/**
 * The telemetry that is recorded. A publisher, client or server that is made with an unknown option fails with an `InvalidArgument`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Whether publishes, calls and handlers have spans. Default: `true`. */
  readonly spans?: boolean | undefined
  /**
   * Whether messages of publishers and RPC clients get a header `traceparent` that identifies their span (W3C, "Trace
   * Context"). A message that already has one keeps it. Default: `true`.
   */
  readonly propagation?: boolean | undefined
  /**
   * How the span of a handled message relates to the one that the message identifies: as a child in the same trace
   * (`parent`), or in a new trace with a link to it (`link`). A request is always a child of its call. Default:
   * `parent`.
   */
  readonly relation?: "parent" | "link" | undefined
  /**
   * Whether the histograms `messaging.client.operation.duration` and `messaging.process.duration` are recorded.
   * Default: `true`.
   */
  readonly durations?: boolean | undefined
}

/**
 * The telemetry for publishers, RPC clients and servers that are made where this is provided. Default: `undefined`,
 * nothing.
 *
 * **Details**
 *
 * It is read once, when a publisher or client is made or a server starts. To turn off spans for some publishes use
 * `Effect.withTracerEnabled(false)`; their messages then have no `traceparent`.
 *
 * **Example** (Separate traces for the messages of one consumer)
 *
 * ```ts
 * import { AmqpConsumer, AmqpDelivery, AmqpTelemetry } from "@effect-amqp/core"
 * import * as Effect from "effect/Effect"
 *
 * const worker = AmqpConsumer.serve("orders", () => Effect.succeed(AmqpDelivery.ack)).pipe(
 *   Effect.provideService(AmqpTelemetry.Telemetry, { relation: "link" })
 * )
 * ```
 *
 * @category references
 * @since 0.1.0
 */
export const Telemetry: Context.Reference<Options | undefined> = Context.Reference<Options | undefined>(
  "@effect-amqp/core/AmqpTelemetry",
  { defaultValue: () => undefined }
)

/**
 * Turns telemetry on.
 *
 * **Example** (For a whole program, exported by OTLP)
 *
 * ```ts
 * import { AmqpPublisher, AmqpTelemetry } from "@effect-amqp/core"
 * import { NodeAmqp } from "@effect-amqp/node"
 * import * as Effect from "effect/Effect"
 * import * as FetchHttpClient from "effect/http/FetchHttpClient"
 * import * as Layer from "effect/Layer"
 * import * as Otlp from "effect/observability/Otlp"
 *
 * const AmqpLive = AmqpPublisher.layer().pipe(Layer.provideMerge(NodeAmqp.layer({ url: "amqp://localhost" })))
 *
 * const ObservabilityLive = Otlp.layerJson({
 *   baseUrl: "http://localhost:4318",
 *   resource: { serviceName: "orders" }
 * }).pipe(Layer.provide(FetchHttpClient.layer))
 *
 * const MainLive = AmqpLive.pipe(
 *   Layer.provideMerge(AmqpTelemetry.layer()),
 *   Layer.provideMerge(ObservabilityLive)
 * )
 *
 * declare const program: Effect.Effect<void, never, AmqpPublisher.AmqpPublisher>
 *
 * const main = Effect.provide(program, MainLive)
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<never> => Layer.succeed(Telemetry, options)

/**
 * Adds a header that identifies the current span, for messages that channel programs publish. Returns the message
 * unchanged if there is no current span. An existing header `traceparent` is kept.
 *
 * **Example** (A channel program within a span)
 *
 * ```ts
 * import { AmqpChannel, AmqpMessage, AmqpTelemetry } from "@effect-amqp/core"
 * import * as Effect from "effect/Effect"
 *
 * const program = AmqpChannel.gen(function*() {
 *   const message = yield* AmqpTelemetry.inject(AmqpMessage.text("hello"))
 *   yield* AmqpChannel.publish(message, { exchange: "", routingKey: "greetings" })
 * })
 *
 * const traced = Effect.withSpan(AmqpChannel.confirmed(program), "publish greetings", { kind: "producer" })
 * ```
 *
 * @category propagation
 * @since 0.1.0
 */
export const inject = (message: AmqpMessage.AmqpMessage): Effect.Effect<AmqpMessage.AmqpMessage> =>
  Effect.map(Effect.option(Effect.currentParentSpan), (span) =>
    Option.isNone(span)
      ? message
      : AmqpMessage.make(message.body, TraceContext.inject(message.properties, span.value)))

/**
 * The span that a message's header `traceparent` identifies, for deliveries of `AmqpConsumer.stream` and
 * `AmqpQueue.get`; `None` without a valid one.
 *
 * **Example** (Continuing the trace of each delivery of a stream)
 *
 * ```ts
 * import { AmqpConsumer, AmqpTelemetry } from "@effect-amqp/core"
 * import * as Effect from "effect/Effect"
 * import * as Option from "effect/Option"
 * import * as Stream from "effect/Stream"
 *
 * const program = AmqpConsumer.stream("orders").pipe(
 *   Stream.runForEach((delivery) =>
 *     Effect.andThen(Effect.log(delivery.text), delivery.ack).pipe(
 *       Effect.withSpan("process orders", {
 *         kind: "consumer",
 *         parent: Option.getOrUndefined(AmqpTelemetry.extract(delivery))
 *       })
 *     )
 *   )
 * )
 * ```
 *
 * @category propagation
 * @since 0.1.0
 */
export const extract = (message: AmqpMessage.Content): Option.Option<Tracer.ExternalSpan> => {
  try {
    return TraceContext.extract(message.properties.headers)
  } catch {
    // Properties that can't be read identify no span.
    return Option.none()
  }
}
