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
import type { AmqpBroker } from "@effect-amqp/core/testing"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as SocketServer from "effect/socket/SocketServer"

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
export const listen = (
  options: ListenOptions = {}
): Effect.Effect<
  { readonly host: string; readonly port: number },
  SocketServer.SocketServerError,
  AmqpBroker.AmqpBroker | Scope.Scope
> => Effect.flatMap(implementation, ({ listen }) => listen(options))

/** Loaded when it is used: the broker and its server are half of all modules, and production needs neither. */
const implementation = Effect.promise(() => import("./internal/listen.ts"))

/**
 * Provides a broker on a port. Fails as {@link listen} does.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: ListenOptions & AmqpBroker.Options = {}
): Layer.Layer<AmqpBroker.AmqpBroker, SocketServer.SocketServerError> =>
  Layer.unwrap(Effect.map(implementation, ({ layer }) => layer(options)))
