/**
 * The embedded broker of `@effect-amqp/core/testing` on a TCP port, for programs in other processes and other
 * languages.
 *
 * It is for tests and demonstrations: nothing is stored on disk, and everything is released with its scope.
 *
 * **Example** (A broker on port 5672 until the program is interrupted)
 *
 * ```ts
 * import { NodeAmqpBroker } from "@effect-amqp/node"
 * import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
 * import * as Layer from "effect/Layer"
 *
 * NodeRuntime.runMain(Layer.launch(NodeAmqpBroker.layer({ port: 5672 })))
 * ```
 *
 * @since 0.1.0
 */
import { InvalidArgument } from "@effect-amqp/core/AmqpError"
import { AmqpBroker } from "@effect-amqp/core/testing"
import * as NodeSocketServer from "@effect/platform-node/NodeSocketServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import type * as Scope from "effect/Scope"
import * as SocketServer from "effect/socket/SocketServer"

/**
 * Where to listen.
 *
 * @category models
 * @since 0.1.0
 */
export interface ListenOptions {
  /** An address of this machine. Default: `127.0.0.1`, which only programs on this machine can reach. */
  readonly host?: string | undefined
  /** From 0 to 65535; 0 is any free port. Default: 5672. */
  readonly port?: number | undefined
}

/**
 * Serves the broker on a port until the scope closes, and yields the address.
 *
 * Fails with a `SocketServerError` if it can't listen: for a port that is in use or out of range, or a host of another
 * machine. An unknown option is a defect, as with `AmqpBroker.Options`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const listen = Effect.fnUntraced(function*(
  options: ListenOptions = {}
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

/**
 * Provides a broker on a port. Fails as {@link listen} does.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: ListenOptions & AmqpBroker.Options = {}
): Layer.Layer<AmqpBroker.AmqpBroker, SocketServer.SocketServerError> => {
  // The broker refuses unknown keys.
  const { host, port, ...brokerOptions } = options
  return Layer.effectDiscard(listen({ host, port })).pipe(Layer.provideMerge(AmqpBroker.layerBroker(brokerOptions)))
}
