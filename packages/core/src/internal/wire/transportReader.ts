/** The readers of sockets that have a transport. */
import type * as Socket from "effect/socket/Socket"
import type { TransportReader } from "../../AmqpTransport.ts"

export const TypeId = "~@effect-amqp/core/AmqpTransport"

export const isTransportReader = (reader: Socket.Reader): reader is TransportReader => TypeId in reader
