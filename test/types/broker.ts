/**
 * The options of the embedded broker exclude a broker that does not exist, or that no client could log in to.
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
// @ts-expect-error a broker needs a mechanism for logging in
AmqpBroker.make({ mechanisms: [] })
// @ts-expect-error the broker does not support the mechanism
AmqpBroker.make({ mechanisms: ["EXTERNAL"] })
AmqpBroker.make({ version: "4.3" })
// @ts-expect-error the broker does not emulate this version of RabbitMQ
AmqpBroker.make({ version: "3.9" })
// @ts-expect-error a version is a series, not a release
NodeAmqpBroker.layer({ version: "4.0.5" })
// @ts-expect-error a password must be redacted
AmqpBroker.layer({ users: { anna: { password: "secret" } } })

typeOf(NodeAmqpBroker.layer({ port: 0, frameMax: 8192 })).is<
  Layer.Layer<AmqpBroker.AmqpBroker, SocketServer.SocketServerError>
>()
// @ts-expect-error network faults are not simulated over TCP
NodeAmqpBroker.layer({ network: { latency: "1 second" } })

const listening = NodeAmqpBroker.listen({ port: 0 })
// @ts-expect-error listening requires a broker
void Effect.runPromise(Effect.scoped(listening))
