/**
 * A connection from which RabbitMQ reads nothing more, as it publishes to a queue that takes nothing: a state that no AMQP and
 * no embedded broker leads to.
 */
import * as Effect from "effect/Effect"
import { inject } from "vitest"
import { binary, evaluateOn, named } from "./rabbitmqAdministration.ts"

const evaluate = (...expressions: ReadonlyArray<string>): Effect.Effect<void> =>
  Effect.suspend(() => {
    const broker = inject("administrableBroker")
    if (broker === undefined) throw new Error("no RabbitMQ that rabbitmqctl on this machine could administer")
    return Effect.asVoid(evaluateOn(broker, ...expressions))
  })

/** The process of a queue in a test's own virtual host. */
const queueProcess = (virtualHost: string, queue: string): string =>
  `{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(${binary(virtualHost)}, queue, ${binary(queue)})),
   Queue = amqqueue:get_pid(Q)`

/** Has a queue in a test's own virtual host take nothing and answer nothing, until `closeConnectionJammedBy`. */
export const suspendQueue = (virtualHost: string, queue: string): Effect.Effect<void> =>
  evaluate(queueProcess(virtualHost, queue), "sys:suspend(Queue)")

/** Waits until the broker reads nothing more from a connection, as it publishes faster than queues take the messages. */
export const awaitJam = (connectionName: string): Effect.Effect<void> =>
  evaluate(
    named(connectionName),
    `Wait = fun Wait(0) -> error(not_jammed);
        Wait(N) -> [[{state, State}]] = [rabbit_reader:info(Pid, [state]) || Pid <- Named],
          case State of flow -> ok; _ -> timer:sleep(10), Wait(N - 1) end
      end`,
    "Wait(500)"
  )

/** Closes a connection as an operator does; when it is gone, the queue goes on. */
export const closeConnectionJammedBy = (
  virtualHost: string,
  queue: string,
  connectionName: string,
  reason: string
): Effect.Effect<void> =>
  evaluate(
    queueProcess(virtualHost, queue),
    named(connectionName),
    "[Monitored] = [erlang:monitor(process, Pid) || Pid <- Named]",
    `[rabbit_networking:close_connection(Pid, "${reason}") || Pid <- Named]`,
    `receive {'DOWN', Monitored, process, _, _} -> ok after 5000 -> ok end`,
    "sys:resume(Queue)"
  )
