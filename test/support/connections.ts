/**
 * What the administrable broker knows of single connections, found by the unique names that tests give them. Each call here is
 * one of `rabbitmqctl`.
 */
import * as Effect from "effect/Effect"
import { rabbitmqctl } from "./rabbitmqctl.ts"

const named = (connectionName: string): string =>
  `Named = [proplists:get_value(pid, C) ||
     C <- rabbit_networking:connection_info_all([pid, client_properties]),
     lists:member({<<"connection_name">>, longstr, <<"${connectionName}">>}, proplists:get_value(client_properties, C))]`

const evaluate = (...expressions: ReadonlyArray<string>): Effect.Effect<string> =>
  Effect.promise(() => rabbitmqctl("eval", `${expressions.join(",\n")}.`))

/** The numbers of the channels that a connection has open, in order. */
export const channelNumbersOf = (connectionName: string): Effect.Effect<ReadonlyArray<number>> =>
  Effect.map(
    evaluate(
      named(connectionName),
      `[{channel, proplists:get_value(number, C)} ||
         C <- rabbit_channel:info_all([connection, number]), lists:member(proplists:get_value(connection, C), Named)]`
    ),
    (output) => [...output.matchAll(/\{channel,(\d+)\}/g)].map(([, digits]) => Number(digits)).toSorted((a, b) => a - b)
  )

/** The modes of the channels that a connection has open, in the order of their numbers. */
export const channelModesOf = (
  connectionName: string
): Effect.Effect<ReadonlyArray<"plain" | "confirm" | "transaction">> =>
  Effect.map(
    evaluate(
      named(connectionName),
      `[{channel, proplists:get_value(confirm, C), proplists:get_value(transactional, C)} ||
         C <- lists:sort(fun(A, B) -> proplists:get_value(number, A) =< proplists:get_value(number, B) end,
           rabbit_channel:info_all([connection, number, confirm, transactional])),
         lists:member(proplists:get_value(connection, C), Named)]`
    ),
    (output) =>
      [...output.matchAll(/\{channel,(true|false),(true|false)\}/g)].map(([, confirm, transaction]) =>
        confirm === "true" ? "confirm" : transaction === "true" ? "transaction" : "plain"
      )
  )

/** How many connections have this name. */
export const connectionsNamed = (connectionName: string): Effect.Effect<number> =>
  Effect.map(evaluate(named(connectionName), "length(Named)"), Number)

/** Closes a connection as an operator does, who gives a reason. */
export const closeConnection = (connectionName: string, reason: string): Effect.Effect<void> =>
  Effect.asVoid(
    evaluate(named(connectionName), `[rabbit_networking:close_connection(Pid, "${reason}") || Pid <- Named]`)
  )

/** Has a connection's socket close without a word. */
export const cutConnection = (connectionName: string): Effect.Effect<void> =>
  Effect.asVoid(evaluate(named(connectionName), "[exit(Pid, kill) || Pid <- Named]"))

/** The process of a queue in a test's own virtual host. */
const queueProcess = (virtualHost: string, queue: string): string =>
  `{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"${virtualHost}">>, queue, <<"${queue}">>)),
   Queue = amqqueue:get_pid(Q)`

/** Has a queue in a test's own virtual host take nothing and answer nothing, until `closeConnectionJammedBy`. */
export const suspendQueue = (virtualHost: string, queue: string): Effect.Effect<void> =>
  Effect.asVoid(evaluate(queueProcess(virtualHost, queue), "sys:suspend(Queue)"))

/** Waits until the broker reads nothing more from a connection, as it publishes faster than queues take the messages. */
export const awaitJam = (connectionName: string): Effect.Effect<void> =>
  Effect.asVoid(evaluate(
    named(connectionName),
    `Wait = fun Wait(0) -> error(not_jammed);
        Wait(N) -> [[{state, State}]] = [rabbit_reader:info(Pid, [state]) || Pid <- Named],
          case State of flow -> ok; _ -> timer:sleep(10), Wait(N - 1) end
      end`,
    "Wait(500)"
  ))

/** Closes a connection as an operator does; when it is gone, the queue goes on. */
export const closeConnectionJammedBy = (
  virtualHost: string,
  queue: string,
  connectionName: string,
  reason: string
): Effect.Effect<void> =>
  Effect.asVoid(evaluate(
    queueProcess(virtualHost, queue),
    named(connectionName),
    "[Monitored] = [erlang:monitor(process, Pid) || Pid <- Named]",
    `[rabbit_networking:close_connection(Pid, "${reason}") || Pid <- Named]`,
    `receive {'DOWN', Monitored, process, _, _} -> ok after 5000 -> ok end`,
    "sys:resume(Queue)"
  ))
