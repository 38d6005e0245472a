/** A relay from WebSockets to the broker of this run, as browsers need one. */
import * as AmqpUri from "@effect-amqp/core/AmqpUri"
import * as NodeSocket from "@effect/platform-node/NodeSocket"
import * as NodeSocketServer from "@effect/platform-node/NodeSocketServer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Socket from "effect/socket/Socket"
import { brokerUrl } from "./brokerUnderTest.ts"

const { host, port } = Result.getOrThrow(AmqpUri.parse(brokerUrl))

/** The size of the relay's messages, in bytes: it ignores frames, and cuts them anywhere. */
const messageBytes = 1021

const cut = (bytes: Uint8Array): ReadonlyArray<Uint8Array> =>
  Array.from(
    { length: Math.ceil(bytes.length / messageBytes) },
    (_, index) => bytes.subarray(index * messageBytes, (index + 1) * messageBytes)
  )

/** Forwards everything that one socket reads, until it ends. */
const pass = (from: Socket.Socket, to: Socket.Writer) =>
  Effect.flatMap(
    Socket.readerBytes(from),
    (pull) =>
      Effect.forever(Effect.flatMap(pull, (chunks) => Effect.forEach(chunks.flatMap(cut), to.write, { discard: true })))
  )

const relay = (client: Socket.Socket, brokerLost: Deferred.Deferred<void>): Effect.Effect<void> =>
  Effect.gen(function*() {
    const broker = yield* NodeSocket.makeNet({ host, port })
    const [toClient, toBroker] = [yield* client.writer, yield* broker.writer]
    yield* pass(client, toBroker).pipe(
      Effect.raceFirst(pass(broker, toClient)),
      Effect.raceFirst(Deferred.await(brokerLost))
    )
    yield* toClient.write(new Socket.CloseEvent(1011, "the broker is gone"))
  }).pipe(Effect.scoped, Effect.ignore)

/** Starts a relay until the scope closes. Returns its URL, and an effect that ends its connection to the broker. */
export const startRelay = Effect.gen(function*() {
  const brokerLost = yield* Deferred.make<void>()
  const server = yield* NodeSocketServer.makeWebSocket({ host: "127.0.0.1", port: 0 })
  yield* server.run((client) => relay(client, brokerLost)).pipe(Effect.forkScoped({ startImmediately: true }))
  return {
    url: `ws://127.0.0.1:${"port" in server.address ? server.address.port : 0}`,
    loseBroker: Effect.asVoid(Deferred.succeed(brokerLost, undefined))
  }
})
