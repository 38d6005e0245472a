/** A relay from WebSockets to the broker of this run, as one stands before a broker that browsers use. */
import * as AmqpUri from "@effect-amqp/core/AmqpUri"
import * as NodeSocket from "@effect/platform-node/NodeSocket"
import * as NodeSocketServer from "@effect/platform-node/NodeSocketServer"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Socket from "effect/socket/Socket"
import { brokerUrl } from "./brokerUnderTest.ts"

const { host, port } = Result.getOrThrow(AmqpUri.parse(brokerUrl))

/** Passes on all that one socket reads, until it ends. */
const pass = (from: Socket.Reader, to: Socket.Writer): Effect.Effect<never, Socket.SocketError> =>
  Effect.forever(Effect.flatMap(from.pull, to.writeAll))

const relay = (client: Socket.Socket): Effect.Effect<void> =>
  Effect.gen(function*() {
    const broker = yield* NodeSocket.makeNet({ host, port })
    const [fromClient, fromBroker] = [yield* client.reader, yield* broker.reader]
    const [toClient, toBroker] = [yield* client.writer, yield* broker.writer]
    yield* Effect.raceFirst(pass(fromClient, toBroker), pass(fromBroker, toClient))
  }).pipe(Effect.scoped, Effect.ignore)

/** Starts a relay for as long as the scope lives, and answers its URL. */
export const startRelay = Effect.gen(function*() {
  const server = yield* NodeSocketServer.makeWebSocket({ host: "127.0.0.1", port: 0 })
  yield* server.run(relay).pipe(Effect.forkScoped({ startImmediately: true }))
  return `ws://127.0.0.1:${"port" in server.address ? server.address.port : 0}`
})
