/**
 * An embedded broker that nobody could log in to, or that does not exist, can't be asked for.
 */
import { AmqpBroker } from "@effect-amqp/core/testing"
import { NodeAmqpBroker } from "@effect-amqp/node"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as SocketServer from "effect/socket/SocketServer"
import { typeOf } from "./support.ts"

typeOf(AmqpBroker.make({ mechanisms: ["PLAIN"] })).is<
  Effect.Effect<AmqpBroker.AmqpBroker["Service"], never, Scope.Scope>
>()
// @ts-expect-error without a mechanism nobody could log in
AmqpBroker.make({ mechanisms: [] })
// @ts-expect-error a mechanism that the broker does not know
AmqpBroker.make({ mechanisms: ["EXTERNAL"] })
AmqpBroker.make({ version: "4.3" })
// @ts-expect-error a version of RabbitMQ that the broker does not know
AmqpBroker.make({ version: "3.9" })
// @ts-expect-error a series and not a release
NodeAmqpBroker.layer({ version: "4.0.5" })
// @ts-expect-error a password is redacted
AmqpBroker.layer({ users: { anna: { password: "secret" } } })

typeOf(NodeAmqpBroker.layer({ port: 0, frameMax: 8192 })).is<
  Layer.Layer<AmqpBroker.AmqpBroker, SocketServer.SocketServerError>
>()
// @ts-expect-error over TCP the network is real, and has no faults of its own making
NodeAmqpBroker.layer({ network: { latency: "1 second" } })

const listening = NodeAmqpBroker.listen({ port: 0 })
// @ts-expect-error a port is nothing without a broker behind it
void Effect.runPromise(Effect.scoped(listening))
