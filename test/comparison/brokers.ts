/** The brokers of a comparison: one at a URL, and an embedded one on a local port. */
import { AmqpBroker } from "@effect-amqp/core/testing"
import * as NodeAmqpBroker from "@effect-amqp/node/NodeAmqpBroker"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { Brokers } from "./compare.ts"
import { WireClient } from "./wireClient.ts"
import type { Endpoint } from "./wireClient.ts"

export class NoBroker extends Data.TaggedError("NoBroker")<{ readonly message: string }> {}

/** Both brokers, with their names in a report. */
export interface NamedBrokers extends Brokers {
  readonly names: { readonly reference: string; readonly embedded: string }
}

/** Returns `undefined` unless it is a URL for AMQP over TCP. */
export const endpointOf = (url: string): Endpoint | undefined => {
  if (!URL.canParse(url)) return undefined
  const { hostname, password, pathname, port, protocol, username } = new URL(url)
  if (protocol !== "amqp:") return undefined
  return {
    host: hostname.replaceAll(/^\[|\]$/g, "") || "127.0.0.1",
    port: Number(port) || 5672,
    username: decodeURIComponent(username) || "guest",
    password: decodeURIComponent(password) || "guest",
    virtualHost: decodeURIComponent(pathname.slice(1)) || "/"
  }
}

/** The timeout for opening a connection to the broker at the URL. */
const openMillis = 10_000

/** Connects once, and returns the product and version of the broker. */
const productOf = (endpoint: Endpoint): Effect.Effect<string, NoBroker> =>
  Effect.suspend(() => {
    let client: WireClient | undefined
    return Effect.callback<string, NoBroker>((resume) => {
      const fail = (why: string): void =>
        resume(new NoBroker({ message: `No broker at ${endpoint.host}:${endpoint.port} to compare with: ${why}` }))
      client = new WireClient("main", endpoint, {
        onArrival: ({ method }) =>
          fail(`it sent ${method.name} ${method.text("replyCode")} ${method.text("replyText")}`),
        onEnd: (how) => fail(how),
        onOpen: (product) => resume(Effect.succeed(product))
      })
    }).pipe(
      Effect.timeoutOrElse({
        duration: openMillis,
        orElse: () => new NoBroker({ message: `The broker did not open a connection within ${openMillis} ms` })
      }),
      Effect.ensuring(Effect.sync(() => client?.cut()))
    )
  })

/** An embedded broker on a local port, until the scope closes. */
export interface EmbeddedBroker {
  readonly endpoint: Endpoint
  readonly broker: AmqpBroker.AmqpBroker["Service"]
}

/** Starts an embedded broker with the user and the virtual host of another broker. */
export const startEmbedded = Effect.fnUntraced(function*(
  { password, username, virtualHost }: Endpoint,
  options: AmqpBroker.Options = {}
): Effect.fn.Return<EmbeddedBroker, never, Scope.Scope> {
  const context = yield* Layer.build(AmqpBroker.layerBroker({
    users: { [username]: { password: Redacted.make(password) } },
    virtualHosts: [virtualHost],
    ...options
  }))
  const { host, port } = yield* Effect.orDie(Effect.provide(NodeAmqpBroker.listen({ port: 0 }), context))
  return {
    endpoint: { host, port, username, password, virtualHost },
    broker: Context.get(context, AmqpBroker.AmqpBroker)
  }
})

/** Connects to the broker at the URL, and starts an embedded one of the same version. */
export const startBrokers = Effect.fnUntraced(function*(
  url: string
): Effect.fn.Return<NamedBrokers, NoBroker, Scope.Scope> {
  const reference = endpointOf(url)
  if (reference === undefined) {
    return yield* new NoBroker({ message: "The URL must be like amqp://user:password@host:port/virtual-host" })
  }
  const product = yield* productOf(reference)
  const version = versionOf(product)
  const { endpoint } = yield* startEmbedded(reference, { version })
  return { reference, embedded: endpoint, names: { reference: product, embedded: `The embedded broker as ${version}` } }
})

/** The version of the embedded broker that is closest to a product such as `RabbitMQ 4.0.5`. */
export const versionOf = (product: string): AmqpBroker.Version => {
  const [, major = "0", minor = "0"] = /(\d+)\.(\d+)/.exec(product) ?? []
  if (Number(major) < 4) return "3.10"
  return Number(major) === 4 && Number(minor) < 3 ? "4.0" : "4.3"
}
