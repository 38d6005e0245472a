/**
 * Request and reply: a server that multiplies, and a client that sends several requests at once.
 *
 * Requests and replies are values of schemas. A refusal is a reply too, so that the client gets it instead of waiting in vain.
 */
import { AmqpChannel, AmqpMessage, AmqpQueue, AmqpRpc } from "@effect-amqp/core"
import { NodeAmqp } from "@effect-amqp/node"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"

const Request = Schema.Struct({ left: Schema.Finite, right: Schema.Finite })

const Reply = Schema.TaggedUnion({
  Product: { value: Schema.Finite },
  Refusal: { why: Schema.String }
})

const requests = AmqpQueue.classic("example.rpc.multiply")

/** The queue exists before the first request, and for as long as the example runs. */
const QueueLive = Layer.effectDiscard(Effect.acquireRelease(
  AmqpChannel.run(AmqpChannel.andThen(AmqpQueue.delete(requests), AmqpQueue.declare(requests))),
  () => Effect.ignore(AmqpChannel.run(AmqpQueue.delete(requests)))
))

// -----------------------------------------------------------------------------
// server
// -----------------------------------------------------------------------------

const decodeRequest = AmqpMessage.decode(Request)
const replyMessage = AmqpMessage.schema(Reply)

const multiply = ({ left, right }: typeof Request.Type): typeof Reply.Type => {
  const value = left * right
  return Number.isFinite(value) ? { _tag: "Product", value } : { _tag: "Refusal", why: "the product is too large" }
}

/** Handles requests until it is interrupted, up to ten concurrently. */
const server = AmqpRpc.serve(
  requests,
  (request) =>
    decodeRequest(request).pipe(
      Effect.map(multiply),
      Effect.catchTag("AmqpDecodeError", ({ description }) =>
        Effect.succeed<typeof Reply.Type>({ _tag: "Refusal", why: description })),
      Effect.tap((reply) =>
        Console.log(`server: replies to ${request.text} with a ${reply._tag}`)
      ),
      Effect.flatMap((reply) => replyMessage(reply))
    ),
  { concurrency: 10 }
)

// -----------------------------------------------------------------------------
// client
// -----------------------------------------------------------------------------

const decodeReply = AmqpMessage.decode(Reply)

const ask = Effect.fn("ask")(function*(question: AmqpMessage.AmqpMessage, queue = requests.name) {
  const { call } = yield* AmqpRpc.AmqpRpcClient
  const reply = yield* call(question, { exchange: "", routingKey: queue }).pipe(Effect.timeout("5 seconds"))
  return yield* decodeReply(reply)
})

const product = Effect.fn("product")(function*(left: number, right: number) {
  const reply = yield* ask(AmqpMessage.json({ left, right }))
  yield* Console.log(`client: ${left} times ${right} is ${reply._tag === "Product" ? reply.value : reply.why}`)
})

const client = Effect.gen(function*() {
  yield* Effect.all([product(6, 7), product(1.5, 4), product(1e200, 1e200)], { concurrency: "unbounded" })

  const reply = yield* ask(AmqpMessage.text("six by seven"))
  yield* Console.log(`client: a request that is not a question gets a ${reply._tag}`)

  // Requests are mandatory, so an unroutable one fails at once.
  yield* ask(AmqpMessage.json({ left: 1, right: 1 }), "example.rpc.missing").pipe(
    Effect.catchReason("AmqpPublishError", "Returned", () => Console.log("client: no server for example.rpc.missing"))
  )
})

// -----------------------------------------------------------------------------
// main
// -----------------------------------------------------------------------------

// The server runs until interrupted: it stops when the client is done, and the client stops if the server fails.
const main = Effect.raceFirst(client, server)

const AmqpLive = NodeAmqp.layerConfig({
  url: Config.Redacted("AMQP_URL").pipe(Config.withDefault(Redacted.make("amqp://guest:guest@127.0.0.1:5672"))),
  connectionName: Config.succeed("request and reply example")
})

main.pipe(
  Effect.provide(Layer.mergeAll(AmqpRpc.layerClient(), QueueLive).pipe(Layer.provideMerge(AmqpLive))),
  NodeRuntime.runMain
)
