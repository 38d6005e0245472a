/** Serves the embedded broker on a TCP port. */
import { InvalidArgument } from "@effect-amqp/core/AmqpError"
import { AmqpBroker } from "@effect-amqp/core/testing"
import * as NodeSocketServer from "@effect/platform-node/NodeSocketServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import type * as Scope from "effect/Scope"
import * as SocketServer from "effect/socket/SocketServer"
import type { ListenOptions } from "../NodeAmqpBroker.ts"

export const listen = Effect.fnUntraced(function*(
  options: ListenOptions
): Effect.fn.Return<
  { readonly host: string; readonly port: number },
  SocketServer.SocketServerError,
  AmqpBroker.AmqpBroker | Scope.Scope
> {
  const broker = yield* AmqpBroker.AmqpBroker
  for (const key in options) {
    if (key !== "host" && key !== "port") throw InvalidArgument.unknownKey("listen options", key, ["host", "port"])
  }
  const { host = "127.0.0.1", port = 5672 } = options
  if (!(Number.isInteger(port) && port >= 0 && port <= 65535)) {
    const cause = new RangeError("a port is a whole number from 0 to 65535")
    return yield* new SocketServer.SocketServerError({ reason: new SocketServer.SocketServerOpenError({ cause }) })
  }
  const server = yield* NodeSocketServer.make({ host, port, noDelay: true })
  yield* server.run((socket) => Effect.scoped(broker.serve(socket))).pipe(Effect.forkScoped({ startImmediately: true }))
  const { address } = server
  if (!NetAddress.isInetAddress(address)) return yield* Effect.die(new Error("a TCP server has an IP address"))
  return { host: NetAddress.formatIp(address.address), port: address.port }
})

export const layer = (
  options: ListenOptions & AmqpBroker.Options
): Layer.Layer<AmqpBroker.AmqpBroker, SocketServer.SocketServerError> => {
  // The broker refuses unknown keys.
  const { host, port, ...brokerOptions } = options
  return Layer.effectDiscard(listen({ host, port })).pipe(Layer.provideMerge(AmqpBroker.layerBroker(brokerOptions)))
}
