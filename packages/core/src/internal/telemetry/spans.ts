/**
 * Records spans and durations of operations on messages, as named by OpenTelemetry's semantic conventions for messaging.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as References from "effect/References"
import type * as Tracer from "effect/Tracer"
import type { Properties } from "../../AmqpMessage.ts"
import type { Options } from "../../AmqpTelemetry.ts"
import type { Route } from "../message/route.ts"
import type { SessionOptions } from "../options/sessionOptions.ts"
import * as Validation from "../options/validation.ts"
import { serverAttributes } from "./serverAttributes.ts"
import * as TraceContext from "./traceContext.ts"

/** The telemetry options, with all defaults. */
export interface Settings {
  readonly spans: boolean
  readonly durations: boolean
  readonly propagation: boolean
  readonly relation: "parent" | "link"
}

const settingKeys = Validation.keysOf<Options>({
  spans: true,
  propagation: true,
  relation: true,
  durations: true
})

/** The connection. Its transport is that of the current or last session, which may lead to another broker later. */
interface ConnectionInfo {
  readonly options: Pick<SessionOptions, "clientProperties">
  readonly transport: SessionOptions["transport"]
}

/** Makes the recorder of a publisher, client or server. `undefined` if telemetry is off. Throws an `InvalidArgument`. */
export const make = (options: Options | undefined, connection: ConnectionInfo): Spans | undefined => {
  if (options === undefined) return undefined
  Validation.knownKeys(options, settingKeys, "AmqpTelemetry options")
  const { relation = "parent" } = options
  if (relation !== "parent" && relation !== "link") {
    throw Validation.invalid("AmqpTelemetry options: relation: must be \"parent\" or \"link\"")
  }
  const flag = (name: "durations" | "propagation" | "spans") =>
    Validation.flag(`AmqpTelemetry options: ${name}`, options[name], true)
  return new Spans(
    { durations: flag("durations"), propagation: flag("propagation"), relation, spans: flag("spans") },
    connection
  )
}

/** An operation on messages. */
export interface Operation {
  /** `messaging.operation.name`, and the first word of the span's name. */
  readonly name: string
  readonly type: "send" | "process"
  readonly kind: Tracer.SpanKind
}

export const publish: Operation = { name: "publish", type: "send", kind: "producer" }
export const process: Operation = { name: "process", type: "process", kind: "consumer" }
export const call: Operation = { name: "call", type: "send", kind: "client" }
export const serve: Operation = { name: "serve", type: "process", kind: "server" }

/** The operation that a consumer with a handler records. An RPC server is such a consumer, with another operation. */
export const ServedOperation = Context.Reference<Operation>("@effect-amqp/core/ServedOperation", {
  defaultValue: () => process
})

interface Sent {
  readonly body: Uint8Array
  readonly properties: Properties
}

interface Received extends Sent {
  readonly exchange: string
  readonly routingKey: string
  readonly deliveryTag: number
}

type Attributes = Record<string, unknown>

/** What depends on the broker that the connection leads to. */
interface Server {
  readonly transport: ConnectionInfo["transport"]
  /** Attributes of every metric. */
  readonly common: Metric.Metric.AttributeSet
  /** Attributes of every span. */
  readonly spanCommon: Attributes
  readonly histograms: Map<string, Metric.Histogram<number>>
}

const serverOf = ({ options: { clientProperties }, transport }: ConnectionInfo): Server => {
  const common = serverAttributes({ clientProperties, transport })
  const { "server.port": port } = common
  return {
    transport,
    common,
    spanCommon: port === undefined ? common : { ...common, "server.port": Number(port) },
    histograms: new Map()
  }
}

/** A span: its attributes, its parent and its links. */
interface Description extends Pick<Tracer.SpanOptionsNoTrace, "root" | "parent" | "links"> {
  /** The second part of its name. */
  readonly target?: string | undefined
  readonly attributes: Attributes
}

/** In seconds, as the conventions recommend. */
const boundaries = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]

export class Spans {
  private readonly settings: Settings
  private readonly connection: ConnectionInfo
  private server: Server

  constructor(settings: Settings, connection: ConnectionInfo) {
    this.settings = settings
    this.connection = connection
    this.server = serverOf(connection)
  }

  private get currentServer(): Server {
    return this.server.transport === this.connection.transport ? this.server : this.server = serverOf(this.connection)
  }

  /** Sends a message. `use` gets the message with the trace context of the span. */
  send<A, E, R>(
    operation: Operation,
    message: Sent,
    route: Route,
    use: (message: Sent) => Effect.Effect<A, E, R>
  ): Effect.Effect<A, E, R> {
    const description = (): Description => {
      const origin = TraceContext.extract(message.properties.headers)
      return {
        target: nameOf(route),
        attributes: { ...destinationOf(route), ...messageAttributes(message) },
        // If the message has a trace context already, that stays, and the span links to it.
        links: Option.isSome(origin) ? [linkTo(origin.value)] : []
      }
    }
    return this.inSpan(
      operation,
      description,
      (span) => this.measured(operation, span, use(this.withContext(message, span)))
    )
  }

  /** Sends several messages as one operation. `use` gets a function that adds the trace context to a message. */
  sendMany<A, E, R>(
    operation: Operation,
    route: Route | undefined,
    use: (prepare: (message: Sent) => Sent) => Effect.Effect<A, E, R>
  ): Effect.Effect<A, E, R> {
    const description = (): Description =>
      route === undefined ? { attributes: {} } : { target: nameOf(route), attributes: destinationOf(route) }
    return this.inSpan(operation, description, (span) => {
      let count = 0
      const prepare = (message: Sent): Sent => {
        count++
        return this.withContext(message, span)
      }
      // Set before the span ends.
      const counted = Effect.onExit(
        use(prepare),
        () => Effect.sync(() => span?.attribute("messaging.batch.message_count", count))
      )
      return this.measured(operation, span, counted)
    })
  }

  /**
   * Handles a message. The span ends with the handler. It remains the current span while `settle` carries out the decision, so logs belong to
   * it.
   */
  handle<A, E, R, B, E2, R2>(
    operation: Operation,
    delivery: Received,
    queue: string | undefined,
    handler: Effect.Effect<A, E, R>,
    settle: (handled: Effect.Effect<A, E, R>) => Effect.Effect<B, E2, R2>
  ): Effect.Effect<B, E2, R2> {
    const description = (): Description => {
      const message = readable(delivery)
      return {
        ...this.originOf(operation, message.properties),
        target: queue === undefined || isTemporary(queue) ? nameOf(delivery) : queue,
        attributes: {
          ...destinationOf(delivery, queue),
          ...messageAttributes(message),
          "messaging.rabbitmq.message.delivery_tag": delivery.deliveryTag
        }
      }
    }
    return this.inSpan(operation, description, (span) => {
      const handled = settle(this.measured(operation, span, handler))
      return span === undefined ? handled : Effect.withParentSpan(handled, span, { captureStackTrace: false })
    })
  }

  /** The message with the trace context of the span. */
  private withContext(message: Sent, span: Tracer.Span | undefined): Sent {
    if (span === undefined || !this.settings.propagation) return message
    return { body: message.body, properties: TraceContext.inject(message.properties, span) }
  }

  /** The parent or link of the span of a handled message. If the message has no trace context, the span starts a new trace. */
  private originOf(operation: Operation, { headers }: Properties): Pick<Description, "root" | "parent" | "links"> {
    const origin = TraceContext.extract(headers)
    if (Option.isNone(origin)) return { root: true }
    // The caller waits for the reply, so the call and its handling are one trace.
    if (operation.kind === "server" || this.settings.relation === "parent") return { parent: origin.value }
    return { root: true, links: [linkTo(origin.value)] }
  }

  /** Runs `use` within a span, which is described only if spans are recorded. */
  private inSpan<A, E, R>(
    { kind, name, type }: Operation,
    description: () => Description,
    use: (span: Tracer.Span | undefined) => Effect.Effect<A, E, R>
  ): Effect.Effect<A, E, R> {
    if (!this.settings.spans) return use(undefined)
    const { target, ...options } = description()
    const attributes = {
      ...this.currentServer.spanCommon,
      "messaging.operation.name": name,
      "messaging.operation.type": type,
      ...options.attributes
    }
    return Effect.useSpan(target === undefined ? name : `${name} ${target}`, { ...options, kind, attributes }, use)
  }

  /** Runs an operation, records its duration and its error, and ends its span. */
  private measured<A, E, R>(
    operation: Operation,
    span: Tracer.Span | undefined,
    self: Effect.Effect<A, E, R>
  ): Effect.Effect<A, E, R> {
    const { durations } = this.settings
    return Effect.withFiber((fiber) => {
      const clock = fiber.getRef(Clock.Clock)
      const start = clock.monotonicTimeNanosUnsafe()
      return Effect.onExit(self, (exit) =>
        Effect.sync(() => {
          const error = Exit.isFailure(exit) ? errorType(exit.cause) : undefined
          const nanos = clock.monotonicTimeNanosUnsafe() - start
          if (error !== undefined) span?.attribute("error.type", error)
          if (durations) this.record(operation, error, nanos, fiber)
          span?.end(fiber.getRef(References.TracerTimingEnabled) ? clock.currentTimeNanosUnsafe() : 0n, exit)
        }))
    })
  }

  private record(
    operation: Operation,
    error: string | undefined,
    nanos: bigint,
    { context }: Fiber.Fiber<unknown, unknown>
  ): void {
    const key = `${operation.name} ${error}`
    const { common, histograms } = this.currentServer
    const histogram = histograms.get(key) ?? durationOf(operation, error, common)
    histograms.set(key, histogram)
    histogram.updateUnsafe(Number(nanos) / 1e9, context)
  }
}

const durationOf = (
  { name, type }: Operation,
  error: string | undefined,
  common: Metric.Metric.AttributeSet
): Metric.Histogram<number> =>
  Metric.histogram(type === "send" ? "messaging.client.operation.duration" : "messaging.process.duration", {
    description: type === "send" ? "How long publishes and calls take" : "How long handlers take",
    attributes: {
      ...common,
      unit: "seconds",
      "messaging.operation.name": name,
      "messaging.operation.type": type,
      ...(error === undefined ? {} : { "error.type": error })
    },
    boundaries
  })

const linkTo = (span: Tracer.AnySpan): Tracer.SpanLink => ({ span, attributes: {} })

// -----------------------------------------------------------------------------
// names and attributes
// -----------------------------------------------------------------------------

/** Whether the broker generated a name: it means nothing to a reader, and each one is different. */
const isTemporary = (name: string): boolean => name.startsWith("amq.gen-") || name.startsWith("amq.rabbitmq.reply-to")

/** The destination in the name of a span. The exchange without the routing key, as there may be many keys. */
const nameOf = ({ exchange, routingKey }: Route): string | undefined => {
  const name = exchange === "" ? routingKey : exchange
  return name === "" || isTemporary(name) ? undefined : name
}

const destinationOf = ({ exchange, routingKey }: Route, queue = ""): Attributes => {
  const isNamed = (name: string) => name !== "" && !isTemporary(name)
  // A queue is often bound by its own name, which should appear once.
  const names = [exchange, ...new Set([routingKey, queue])].filter(isNamed)
  return {
    "messaging.destination.name": names.length === 0 ? "amq.default" : names.join(":"),
    ...(isNamed(routingKey) ? { "messaging.rabbitmq.destination.routing_key": routingKey } : {}),
    ...(isTemporary(routingKey) || isTemporary(queue) ? { "messaging.destination.temporary": true } : {})
  }
}

const messageAttributes = ({ body, properties: { correlationId, messageId } }: Sent): Attributes => ({
  "messaging.message.body.size": body.length,
  ...(messageId === undefined ? {} : { "messaging.message.id": messageId }),
  ...(correlationId === undefined ? {} : { "messaging.message.conversation_id": correlationId })
})

/** The message, without its properties if these are malformed. */
const readable = (message: Received): Sent => {
  try {
    return { body: message.body, properties: message.properties }
  } catch {
    return { body: message.body, properties: {} }
  }
}

const tagOf = (value: unknown): string | undefined =>
  typeof value === "object" && value !== null && "_tag" in value && typeof value._tag === "string"
    ? value._tag
    : undefined

/** The kind of a failure: the tag of the error's reason or of the error, or the name of its class. */
const errorType = (cause: Cause.Cause<unknown>): string => {
  if (Cause.hasInterruptsOnly(cause)) return "interrupted"
  const error = Cause.squash(cause)
  const reason = typeof error === "object" && error !== null && "reason" in error ? error.reason : undefined
  return tagOf(reason) ?? tagOf(error) ?? (error instanceof Error ? error.name : "_OTHER")
}
