/**
 * A connection that RabbitMQ stops reading, because it publishes to a suspended queue: a state that neither AMQP nor the embedded
 * broker can bring about.
 */
import * as Effect from "effect/Effect"
import { inject } from "vitest"
import { binary, evaluateOn, named } from "./rabbitmqAdministration.ts"

const evaluate = (...expressions: ReadonlyArray<string>): Effect.Effect<void> =>
  Effect.suspend(() => {
    const broker = inject("administrableBroker")
    if (broker === undefined) throw new Error("no RabbitMQ that rabbitmqctl on this machine can administer")
    return Effect.asVoid(evaluateOn(broker, ...expressions))
  })

/** The process of a queue in a test's own virtual host. */
const queueProcess = (virtualHost: string, queue: string): string =>
  `{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(${binary(virtualHost)}, queue, ${binary(queue)})),
   Queue = amqqueue:get_pid(Q)`

/** Suspends the process of a queue in a test's own virtual host, until `closeConnectionAndResume`. */
export const suspendQueue = (virtualHost: string, queue: string): Effect.Effect<void> =>
  evaluate(queueProcess(virtualHost, queue), "sys:suspend(Queue)")

/** Waits until the broker has a connection in flow control, and no longer reads from it. */
export const awaitFlowControl = (connectionName: string): Effect.Effect<void> =>
  evaluate(
    named(connectionName),
    `Wait = fun Wait(0) -> error(not_in_flow_control);
        Wait(N) -> [[{state, State}]] = [rabbit_reader:info(Pid, [state]) || Pid <- Named],
          case State of flow -> ok; _ -> timer:sleep(10), Wait(N - 1) end
      end`,
    "Wait(500)"
  )

/** Closes a connection as an operator does, and resumes the queue once the connection has ended. */
export const closeConnectionAndResume = (
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
