/**
 * What the administrable broker holds of the queues and exchanges that tests declare, in its own words.
 */
import * as Effect from "effect/Effect"
import { administrableBroker, rabbitmqctl } from "./rabbitmqctl.ts"

/** A queue or an exchange as the broker keeps it. What does not apply is absent. */
export interface DeclaredEntity {
  readonly type: string
  readonly durable: boolean
  readonly autoDelete: boolean
  readonly exclusive?: boolean
  readonly internal?: boolean
  readonly arguments: Readonly<Record<string, unknown>>
}

/** A text as Erlang writes it; names that tests make up have no character that would mean anything. */
const binary = (text: string): string => `<<"${text}">>`

const virtualHost = (): string => decodeURIComponent(new URL(administrableBroker().url).pathname.slice(1)) || "/"

/**
 * What is there of these names, queues and exchanges alike, in the virtual host of the administrable broker's URL. Costs one call
 * of `rabbitmqctl`.
 */
export const declaredEntities = (
  names: ReadonlyArray<string>
): Effect.Effect<Readonly<Record<string, DeclaredEntity>>> =>
  Effect.promise(async () => {
    const output = await rabbitmqctl(
      "eval",
      `VHost = ${binary(virtualHost())},
       Queues = [{Name, [
           {type, amqqueue:get_type(Q)},
           {durable, amqqueue:is_durable(Q)},
           {autoDelete, amqqueue:is_auto_delete(Q)},
           {exclusive, amqqueue:get_exclusive_owner(Q) =/= none},
           {arguments, rabbit_misc:amqp_table(amqqueue:get_arguments(Q))}]} ||
         Name <- [${names.map(binary).join(", ")}],
         {ok, Q} <- [rabbit_amqqueue:lookup(rabbit_misc:r(VHost, queue, Name))]],
       Exchanges = [{Name, [
           {type, proplists:get_value(type, X)},
           {durable, proplists:get_value(durable, X)},
           {autoDelete, proplists:get_value(auto_delete, X)},
           {internal, proplists:get_value(internal, X)},
           {arguments, rabbit_misc:amqp_table(proplists:get_value(arguments, X))}]} ||
         Name <- [${names.map(binary).join(", ")}],
         {ok, E} <- [rabbit_exchange:lookup(rabbit_misc:r(VHost, exchange, Name))],
         X <- [rabbit_exchange:info(E, [type, durable, auto_delete, internal, arguments])]],
       io:format("~ts~n", [rabbit_json:encode(maps:from_list(
         [{Name, maps:from_list(Properties)} || {Name, Properties} <- Queues ++ Exchanges]))]).`
    )
    const [json] = output.split("\n")
    return JSON.parse(json) as Readonly<Record<string, DeclaredEntity>> // what the expression above makes
  })
