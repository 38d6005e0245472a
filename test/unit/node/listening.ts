/** Servers of the tests, for clients whose sockets are under test. */
import * as AmqpUri from "@effect-amqp/core/AmqpUri"
import * as NodeAmqp from "@effect-amqp/node/NodeAmqp"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type * as net from "node:net"

export interface Listening {
  readonly port: number
  readonly connections: ReadonlyArray<net.Socket>
}

/** A server on a free port of this machine, until the scope closes. By default it reads nothing by itself. */
export const listening = (
  start: (onConnection: (socket: net.Socket) => void) => net.Server,
  onConnection: (socket: net.Socket) => void = () => {}
): Effect.Effect<Listening, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const connections: Array<net.Socket> = []
      const server = start((socket) => {
        connections.push(socket)
        socket.on("error", () => {})
        onConnection(socket)
      })
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
      return { server, connections, port: (server.address() as net.AddressInfo).port } // a TCP server has no other kind
    }),
    ({ connections, server }) =>
      Effect.promise(() => {
        for (const socket of connections) socket.destroy()
        return new Promise((resolve) => server.close(resolve))
      })
  )

/** For `listening`: sends back what arrives. */
export const echoing = (socket: net.Socket): void => void socket.pipe(socket)

/** A socket to a port of this machine; the certificate is not verified. */
export const socketTo = (port: number, scheme = "amqp") =>
  NodeAmqp.makeSocket(
    Result.getOrThrow(AmqpUri.parse(`${scheme}://127.0.0.1:${port}${scheme === "amqp" ? "" : "?verify=verify_none"}`))
  )

/** Waits until this holds. */
export const until = (condition: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => condition() ? Effect.void : Effect.delay(until(condition), "5 millis"))
