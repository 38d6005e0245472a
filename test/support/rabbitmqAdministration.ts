/**
 * Administration of a RabbitMQ by `rabbitmqctl`.
 *
 * Test files run concurrently on the same broker, which may be the user's. So each operation is confined to a virtual host, a user
 * or a connection of the test, except where the comments of `Administration` differ.
 */
import * as Effect from "effect/Effect"
import type { Administration, DeclaredEntity, OpenChannel } from "./administration.ts"
import { rabbitmqctlFor } from "./command.ts"
import type { AdministrableBroker } from "./provided.ts"

/** A string in Erlang's syntax, as bytes, so that no character needs escaping. */
export const binary = (text: string): string => `<<${new TextEncoder().encode(text).join(",")}>>`

/** Binds `Named` to the processes of the connections with this name. A connection has no properties before its handshake. */
export const named = (connectionName: string): string =>
  `Named = [proplists:get_value(pid, C) ||
     C <- rabbit_networking:connection_info_all([pid, client_properties]),
     Properties <- [proplists:get_value(client_properties, C)],
     is_list(Properties),
     lists:member({<<"connection_name">>, longstr, ${binary(connectionName)}}, Properties)]`

/** Evaluates Erlang expressions in order, and returns the output. */
export const evaluateOn = (
  broker: AdministrableBroker,
  ...expressions: ReadonlyArray<string>
): Effect.Effect<string> => Effect.promise(() => rabbitmqctlFor(broker, "eval", `${expressions.join(",\n")}.`))

export const administer = (broker: AdministrableBroker): Administration => {
  const url = new URL(broker.url)
  const username = decodeURIComponent(url.username) || "guest"
  const home = decodeURIComponent(url.pathname.slice(1)) || "/"

  const control = (...args: ReadonlyArray<string>) =>
    Effect.asVoid(Effect.promise(() => rabbitmqctlFor(broker, ...args)))
  const evaluate = (...expressions: ReadonlyArray<string>) => evaluateOn(broker, ...expressions)
  const permissions = (user: string, virtualHost: string, patterns: readonly [string, string, string]) =>
    `rabbit_auth_backend_internal:set_permissions(
       ${[user, virtualHost, ...patterns, "test"].map(binary).join(", ")})`

  return {
    url: broker.url,

    addVirtualHost: (name) =>
      Effect.asVoid(evaluate(
        `rabbit_vhost:add(${binary(name)}, <<"test">>)`,
        permissions(username, name, [".*", ".*", ".*"])
      )),
    deleteVirtualHost: (name) => control("delete_vhost", name),
    addUser: (name, password, may) =>
      Effect.asVoid(evaluate(
        `rabbit_auth_backend_internal:add_user(${binary(name)}, ${binary(password)}, <<"test">>)`,
        permissions(name, home, may === "everything" ? [".*", ".*", ".*"] : ["^$", "^$", ".*"])
      )),
    changePassword: (name, password) =>
      Effect.asVoid(
        evaluate(`rabbit_auth_backend_internal:change_password(${binary(name)}, ${binary(password)}, <<"test">>)`)
      ),
    deleteUser: (name) => control("delete_user", name),

    entities: (names) =>
      Effect.map(
        evaluate(
          `VHost = ${binary(home)}`,
          `Names = [${names.map(binary).join(", ")}]`,
          `Queues = [{Name, [
             {type, amqqueue:get_type(Q)},
             {durable, amqqueue:is_durable(Q)},
             {autoDelete, amqqueue:is_auto_delete(Q)},
             {exclusive, amqqueue:get_exclusive_owner(Q) =/= none},
             {arguments, rabbit_misc:amqp_table(amqqueue:get_arguments(Q))}]} ||
           Name <- Names,
           {ok, Q} <- [rabbit_amqqueue:lookup(rabbit_misc:r(VHost, queue, Name))]]`,
          `Exchanges = [{Name, [
             {type, proplists:get_value(type, X)},
             {durable, proplists:get_value(durable, X)},
             {autoDelete, proplists:get_value(auto_delete, X)},
             {internal, proplists:get_value(internal, X)},
             {arguments, rabbit_misc:amqp_table(proplists:get_value(arguments, X))}]} ||
           Name <- Names,
           {ok, E} <- [rabbit_exchange:lookup(rabbit_misc:r(VHost, exchange, Name))],
           X <- [rabbit_exchange:info(E, [type, durable, auto_delete, internal, arguments])]]`,
          `io:format("~ts~n", [rabbit_json:encode(maps:from_list(
             [{Name, maps:from_list(Properties)} || {Name, Properties} <- Queues ++ Exchanges]))])`
        ),
        (output) => {
          const [json] = output.split("\n")
          const entities = JSON.parse(json) as Readonly<Record<string, DeclaredEntity>> // as the expression above builds it
          return Object.fromEntries(
            Object.entries(entities).map(([name, entity]) => [name, { ...entity, type: plainType(entity.type) }])
          )
        }
      ),

    connectionsNamed: (connectionName) => Effect.map(evaluate(named(connectionName), "length(Named)"), Number),
    clientPropertiesOf: (connectionName) =>
      evaluate(
        named(connectionName),
        "[{Pid, rabbit_networking:connection_info(Pid, [client_properties])} || Pid <- Named]"
      ),
    channelsOf: (connectionName) =>
      Effect.map(
        evaluate(
          named(connectionName),
          `[{channel, proplists:get_value(number, C), proplists:get_value(confirm, C),
               proplists:get_value(transactional, C)} ||
             C <- rabbit_channel:info_all([connection, number, confirm, transactional]),
             lists:member(proplists:get_value(connection, C), Named)]`
        ),
        (output) =>
          [...output.matchAll(/\{channel,(\d+),(true|false),(true|false)\}/g)]
            .map(([, number, confirm, transaction]): OpenChannel => ({
              number: Number(number),
              mode: confirm === "true" ? "confirm" : transaction === "true" ? "transaction" : "plain"
            }))
            .toSorted((a, b) => a.number - b.number)
      ),
    closeConnection: (connectionName, reason) =>
      Effect.asVoid(
        evaluate(named(connectionName), `[rabbit_networking:close_connection(Pid, "${reason}") || Pid <- Named]`)
      ),
    cutConnection: (connectionName) =>
      Effect.asVoid(evaluate(named(connectionName), "[exit(Pid, kill) || Pid <- Named]")),

    exhaustMemory: control("set_vm_memory_high_watermark", "0.00001"),
    freeMemory: control("set_vm_memory_high_watermark", "0.4")
  }
}

/** RabbitMQ names a queue type by its module. */
const plainType = (type: string): string => /^rabbit_(\w+)_queue$/.exec(type)?.[1] ?? type
