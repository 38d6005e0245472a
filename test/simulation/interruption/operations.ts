/**
 * The operations that are interrupted. To add one, add a row with the exported names that it covers.
 */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpExchange from "@effect-amqp/core/AmqpExchange"
import * as AmqpFailurePolicy from "@effect-amqp/core/AmqpFailurePolicy"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as AmqpRpc from "@effect-amqp/core/AmqpRpc"
import * as AmqpTopology from "@effect-amqp/core/AmqpTopology"
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Socket from "effect/socket/Socket"
import * as Stream from "effect/Stream"
import { passing, passingExchange, publishedText, source, work } from "./sweep.ts"
import type { Environment, Operation } from "./sweep.ts"

/** A text of several frames. */
const largeText = publishedText + "x".repeat(300_000)

const toWork = AmqpQueue.route(work)

const messages = ["1", "2", largeText].map((text) =>
  AmqpMessage.text(text.startsWith(publishedText) ? text : publishedText + text)
)

/** Waits before it settles, so that it is interrupted meanwhile too. */
const settleAs = (settlement: AmqpDelivery.Settlement) => () => Effect.as(Effect.sleep("1 milli"), settlement)

const binding = { exchange: source, routingKey: "a.*" }

const topology = AmqpTopology.make(passing, passingExchange)

type Program = AmqpChannel.AmqpChannel<unknown, unknown>

/** Channel programs by the operation that they run; `true` for those that may take messages. */
const programs: ReadonlyArray<readonly [name: string, program: Program, mayTake?: boolean]> = [
  ["AmqpQueue.declare", AmqpQueue.declare(passing)],
  ["AmqpQueue.declarePassive", AmqpQueue.declarePassive(work)],
  ["AmqpQueue.bind", AmqpQueue.bind(work, binding)],
  ["AmqpQueue.unbind", AmqpQueue.unbind(work, binding)],
  ["AmqpQueue.purge", AmqpQueue.purge(work), true],
  ["AmqpQueue.delete", AmqpQueue.delete(passing)],
  ["AmqpQueue.get", AmqpQueue.get(work, settleAs(AmqpDelivery.requeue))],
  ["AmqpQueue.getAutoAck", AmqpQueue.getAutoAck(work), true],
  ["AmqpQueue.getAll", AmqpQueue.getAll(work, settleAs(AmqpDelivery.requeue), { limit: 2 })],
  ["AmqpExchange.declare", AmqpExchange.declare(passingExchange)],
  ["AmqpExchange.declarePassive", AmqpExchange.declarePassive(source)],
  ["AmqpExchange.bind", AmqpExchange.bind("amq.topic", { source, routingKey: "a.*" })],
  ["AmqpExchange.unbind", AmqpExchange.unbind("amq.topic", { source, routingKey: "a.*" })],
  ["AmqpExchange.delete", AmqpExchange.delete(passingExchange)],
  ["AmqpChannel.publish", AmqpChannel.forEach(messages, (message) => AmqpChannel.publish(message, toWork))],
  ["AmqpChannel.qos", AmqpChannel.qos({ prefetchCount: 5 })],
  ["AmqpChannel.recover", AmqpChannel.recover],
  [
    "AmqpChannel.timeout",
    AmqpChannel.timeout(AmqpQueue.get(work, () => Effect.never), "3 millis").pipe(
      AmqpChannel.catchTag("TimeoutError", () => AmqpQueue.declarePassive(work))
    )
  ],
  ["AmqpChannel.ensuring", AmqpChannel.ensuring(AmqpQueue.declarePassive(work), Effect.sleep("1 milli"))],
  ["AmqpTopology.declare", AmqpTopology.declare(topology)],
  ["AmqpTopology.delete", AmqpTopology.delete(AmqpTopology.make(AmqpQueue.classic("passing"), passingExchange))]
]

const runners = {
  run: (program: Program) => AmqpChannel.run(program),
  confirmed: (program: Program) => AmqpChannel.confirmed(program),
  transaction: (program: Program) => AmqpChannel.transaction(program)
}

const inProgram = (runner: keyof typeof runners): ReadonlyArray<Operation> =>
  programs.map(([name, program, mayTake = false]) => ({
    name: `AmqpChannel.${runner} of ${name}`,
    covers: [`AmqpChannel.${runner}`, name],
    run: () => runners[runner](program),
    mayTake
  }))

const handler = settleAs(AmqpDelivery.ack)

const failing = () => Effect.andThen(Effect.sleep("1 milli"), Effect.fail("this message"))

/** A separate queue, so that the server of one run gets no requests of another. */
const calls = AmqpQueue.classic("calls", { autoDelete: true })

const socket = ({ broker }: Environment) => broker.makeSocket({ latency: "1 milli" })

/** A host that refuses connections, and the broker. */
const endpoints = (environment: Environment) =>
  Effect.map(socket(environment), (socket): NonEmptyReadonlyArray<AmqpConnection.Endpoint> => [
    { name: "refusing", socket: Socket.make({ reader: Effect.fail(refused), writer: socket.writer }) },
    { name: "accepting", socket }
  ])

const refused = new Socket.SocketError({
  reason: new Socket.SocketOpenError({ kind: "Unknown", cause: new Error("refused") })
})

const operations: ReadonlyArray<Operation> = [
  {
    name: "a connection",
    covers: ["AmqpConnection.make"],
    run: (environment) => Effect.provideServiceEffect(AmqpConnection.make(), Socket.Socket, socket(environment))
  },
  {
    name: "a connection to the second of two endpoints",
    covers: ["AmqpConnection.makeFrom", "AmqpConnection.layerFrom"],
    run: (environment) =>
      Effect.flatMap(
        endpoints(environment),
        (endpoints) => Layer.build(AmqpConnection.layerFrom(endpoints, { endpointOrder: "ordered" }))
      )
  },
  {
    name: "an ordered replacement of a connection",
    covers: ["AmqpConnection.reconnect"],
    run: (environment) =>
      Effect.flatMap(
        Effect.provideServiceEffect(AmqpConnection.make(), Socket.Socket, socket(environment)),
        ({ reconnect }) => reconnect
      )
  },
  {
    name: "the layer of a connection",
    covers: ["AmqpConnection.layer"],
    run: (environment) =>
      Layer.build(AmqpConnection.layer()).pipe(Effect.provideServiceEffect(Socket.Socket, socket(environment)))
  },
  {
    name: "a new secret",
    covers: ["AmqpConnection.updateSecret"],
    run: () =>
      Effect.flatMap(AmqpConnection.AmqpConnection, ({ updateSecret }) => updateSecret(Redacted.make("guest"), "sweep"))
  },
  {
    name: "the changes of a connection's state",
    covers: ["AmqpConnection.stateChanges"],
    run: () => Effect.flatMap(AmqpConnection.AmqpConnection, ({ stateChanges }) => Stream.runDrain(stateChanges)),
    isEndless: true
  },
  {
    name: "waiting for a connection to close",
    covers: ["AmqpConnection.awaitClosed"],
    run: () => Effect.flatMap(AmqpConnection.AmqpConnection, ({ awaitClosed }) => awaitClosed),
    isEndless: true
  },
  ...inProgram("run"),
  ...inProgram("confirmed"),
  ...inProgram("transaction"),
  {
    name: "a move",
    covers: ["AmqpQueue.move"],
    run: () => Effect.andThen(AmqpChannel.run(AmqpQueue.declare(passing)), AmqpQueue.move(work, passing)),
    mayTake: true
  },
  {
    name: "a move that requeues its messages",
    covers: ["AmqpQueue.move"],
    run: () =>
      Effect.andThen(
        AmqpChannel.run(AmqpQueue.declare(passing)),
        AmqpQueue.move(work, passing, { filter: () => false, prefetch: 1 })
      )
  },
  {
    name: "a publisher",
    covers: ["AmqpPublisher.make"],
    run: () => AmqpPublisher.make({ confirmTimeout: "1 second", sendTimeout: "1 second" })
  },
  { name: "the layer of a publisher", covers: ["AmqpPublisher.layer"], run: () => Layer.build(AmqpPublisher.layer()) },
  {
    name: "a publish",
    covers: ["AmqpPublisher.publish"],
    run: ({ publisher }) => publisher.publish(AmqpMessage.text(largeText), { ...toWork, mandatory: true })
  },
  {
    name: "a publish that is retried",
    covers: ["AmqpPublisher.publish"],
    run: () =>
      Effect.gen(function*() {
        const retry = Schedule.spaced("1 milli").pipe(Schedule.upTo({ times: 2 }))
        const publisher = yield* AmqpPublisher.make({ maxInFlight: 1, retry })
        yield* Effect.ignore(publisher.publish(AmqpMessage.text("refused"), AmqpQueue.route("nowhere")))
      })
  },
  {
    name: "waiting publishes",
    covers: ["AmqpPublisher.publish"],
    run: () =>
      Effect.gen(function*() {
        const publisher = yield* AmqpPublisher.make({ maxInFlight: 1 })
        yield* Effect.forEach(messages, (message) => publisher.publish(message, toWork), { concurrency: "unbounded" })
      })
  },
  {
    name: "a batch",
    covers: ["AmqpPublisher.publishAll"],
    run: ({ publisher }) => publisher.publishAll(messages, toWork)
  },
  {
    name: "a consumer",
    covers: ["AmqpConsumer.make"],
    run: () => AmqpConsumer.make(work)
  },
  {
    name: "a consumer that is cancelled",
    covers: ["AmqpConsumer.cancel"],
    run: () => Effect.flatMap(AmqpConsumer.make(work), ({ cancel }) => cancel)
  },
  {
    name: "a consumer with another prefetch",
    covers: ["AmqpConsumer.setPrefetch"],
    run: () => Effect.flatMap(AmqpConsumer.make(work, { prefetch: 1 }), ({ setPrefetch }) => setPrefetch(2))
  },
  {
    name: "the names of a consumer's queues",
    covers: ["AmqpConsumer.queues"],
    run: () => Effect.flatMap(AmqpConsumer.make(AmqpQueue.serverNamed()), ({ queues }) => queues)
  },
  {
    name: "a stream of deliveries",
    covers: ["AmqpConsumer.stream", "AmqpDelivery.ack", "AmqpDelivery.nack", "AmqpDelivery.reject"],
    run: () =>
      AmqpConsumer.stream(work, { prefetch: 2 }).pipe(
        Stream.runForEach((delivery) =>
          delivery.text === "first"
            ? delivery.ack
            : delivery.redelivered
            ? Effect.never
            : delivery.nack({ requeue: true })
        )
      ),
    isEndless: true,
    mayTake: true
  },
  {
    name: "a stream without acknowledgements",
    covers: ["AmqpConsumer.stream"],
    run: () => AmqpConsumer.stream(work, { autoAck: true }).pipe(Stream.take(3), Stream.runDrain),
    mayTake: true
  },
  {
    name: "a stream that ends with unsettled deliveries",
    covers: ["AmqpConsumer.stream"],
    run: () => AmqpConsumer.stream(work).pipe(Stream.take(2), Stream.runDrain)
  },
  {
    name: "serving one by one",
    covers: ["AmqpConsumer.serve"],
    run: () => AmqpConsumer.serve(work, handler),
    isEndless: true,
    mayTake: true
  },
  {
    name: "serving concurrently",
    covers: ["AmqpConsumer.serve"],
    run: () => AmqpConsumer.serve(work, handler, { concurrency: 2 }),
    isEndless: true,
    mayTake: true
  },
  {
    name: "serving with handlers that never end",
    covers: ["AmqpConsumer.serve"],
    run: () => AmqpConsumer.serve(work, () => Effect.never, { concurrency: 2, drainTimeout: "1 second" }),
    isEndless: true
  },
  {
    name: "serving from a scope",
    covers: ["AmqpConsumer.startServing"],
    run: () => Effect.andThen(AmqpConsumer.startServing(work, handler), Effect.sleep("5 millis")),
    mayTake: true
  },
  {
    name: "serving in transactions",
    covers: ["AmqpConsumer.serveTransaction"],
    run: () =>
      AmqpConsumer.serveTransaction(
        work,
        ({ text }) =>
          AmqpChannel.as(AmqpChannel.publish(AmqpMessage.text(text), AmqpQueue.route("elsewhere")), AmqpDelivery.ack)
      ),
    isEndless: true,
    mayTake: true
  },
  {
    name: "serving in transactions from a scope",
    covers: ["AmqpConsumer.startServingTransaction"],
    run: () =>
      Effect.andThen(
        AmqpConsumer.startServingTransaction(work, () => AmqpChannel.succeed(AmqpDelivery.ack)),
        Effect.sleep("5 millis")
      ),
    mayTake: true
  },
  {
    name: "serving with retries in place",
    covers: ["AmqpFailurePolicy.retryInPlace", "AmqpFailurePolicy.standard", "AmqpFailurePolicy.skip"],
    run: () =>
      AmqpConsumer.serve(work, failing, {
        concurrency: 2,
        onFailure: AmqpFailurePolicy.retryInPlace({ pauses: [1, 1], otherwise: AmqpFailurePolicy.skip })
      }),
    isEndless: true,
    mayTake: true
  },
  {
    name: "serving and giving up without a dead-letter exchange",
    covers: ["AmqpFailurePolicy.deadLetter", "AmqpFailurePolicy.deadLetterWith"],
    run: () =>
      AmqpConsumer.serve(work, failing, { onFailure: AmqpFailurePolicy.deadLetterWith({ holdFor: "2 millis" }) }),
    isEndless: true
  },
  {
    name: "serving until the first failure",
    covers: ["AmqpFailurePolicy.stop"],
    run: () => Effect.ignore(AmqpConsumer.serve(work, failing, { onFailure: AmqpFailurePolicy.stop }))
  },
  {
    name: "the layer of a consumer",
    covers: ["AmqpConsumer.layerServe"],
    run: () => Layer.build(AmqpConsumer.layerServe(work, handler)),
    mayTake: true
  },
  {
    name: "serving with delayed retries",
    covers: ["AmqpFailurePolicy.retry"],
    run: () =>
      AmqpConsumer.serve(work, failing, { onFailure: AmqpFailurePolicy.retry({ delays: ["1 hour"] }) }).pipe(
        Effect.provide(AmqpPublisher.layer())
      ),
    isEndless: true,
    mayTake: true
  },
  {
    name: "serving and forwarding",
    covers: ["AmqpFailurePolicy.forward", "AmqpFailurePolicy.reject"],
    run: () =>
      AmqpConsumer.serve(work, failing, {
        onFailure: AmqpFailurePolicy.forward({ exchange: "", routingKey: "nowhere" })
      })
        .pipe(
          Effect.provide(AmqpPublisher.layer())
        ),
    isEndless: true,
    mayTake: true
  },
  { name: "an RPC client", covers: ["AmqpRpc.makeClient"], run: () => AmqpRpc.makeClient() },
  {
    name: "the layer of an RPC client",
    covers: ["AmqpRpc.layerClient"],
    run: () => Layer.build(AmqpRpc.layerClient())
  },
  {
    name: "an RPC call",
    covers: ["AmqpRpc.call", "AmqpRpc.serve"],
    run: () =>
      Effect.gen(function*() {
        yield* AmqpChannel.run(AmqpQueue.declare(calls))
        yield* Effect.forkScoped(AmqpRpc.serve(calls, ({ text }) => Effect.succeed(AmqpMessage.text(text))))
        const client = yield* AmqpRpc.makeClient()
        yield* client.call(AmqpMessage.text("request"), AmqpQueue.route(calls))
      })
  },
  {
    name: "an RPC server",
    covers: ["AmqpRpc.serve"],
    run: () => AmqpRpc.serve(work, ({ text }) => Effect.succeed(AmqpMessage.text(text))),
    isEndless: true,
    mayTake: true
  },
  {
    name: "the layer of a topology",
    covers: ["AmqpTopology.layer"],
    run: () => Layer.build(AmqpTopology.layer(topology))
  }
]

export { operations }
