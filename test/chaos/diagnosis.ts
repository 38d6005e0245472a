/** What is known at the moment when a client does not recover: afterwards nothing of it is left to look at. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import type { Site } from "./site.ts"

/** How many lines of the clients' logs, and of the brokers', are shown. */
const keptLines = 300

/** The last lines that the clients have logged, with the attempts to connect. */
export class ClientLogs {
  readonly lines: Array<string> = []

  /** Collects the logs of an effect, instead of printing them. */
  readonly layer: Layer.Layer<never> = Layer.merge(
    Logger.layer([
      Logger.map(Logger.formatLogFmt, (line) => {
        if (this.lines.push(line) > keptLines) this.lines.shift()
      })
    ]),
    Layer.succeed(References.MinimumLogLevel, "Debug")
  )
}

/** How long a node may take to answer: queues without a leader answer late. */
const answerMillis = 20_000

const print = (value: string): string => `[io_lib:format("~0tp~n", [Line]) || Line <- ${value}]`

/** The lists of a node, as its commands print them: the queues, and its own channels and consumers. */
const listsOf = [
  print(`lists:map(fun(Queue) ->
    try rabbit_amqqueue:info(Queue, [name, pid, state, messages_ready, messages_unacknowledged, consumers])
    catch Class:Reason -> [{name, amqqueue:get_name(Queue)}, {Class, Reason}] end
  end, rabbit_amqqueue:list())`),
  print(`lists:map(fun(Connection) ->
    try rabbit_networking:connection_info(Connection, [pid, name, client_properties, state, recv_cnt, send_pend])
    catch Class:Reason -> [{pid, Connection}, {Class, Reason}] end
  end, rabbit_networking:local_connections())`),
  print(`lists:map(fun(Channel) ->
    try rabbit_channel:info(Channel, [pid, connection, number, state, consumer_count, messages_unacknowledged,
      messages_unconfirmed, prefetch_count])
    catch Class:Reason -> [{pid, Channel}, {Class, Reason}] end
  end, rabbit_channel:list_local())`),
  print("ets:tab2list(consumer_created)")
]

/** The queues, connections, channels and consumers of the nodes that run. */
export const brokersView = async ({ evaluate, nodes }: Site): Promise<ReadonlyArray<string>> => {
  const views = nodes.filter((node) => node.isRunning()).map(async (node) => {
    const answers = listsOf.map(async (list) => {
      const tooLate = new Promise<string>((resolve) => {
        setTimeout(() => resolve("no answer\n"), answerMillis).unref()
      })
      const answer = evaluate(`unicode:characters_to_binary(${list})`, node)
      return Promise.race([answer, tooLate]).catch((error: unknown) => `${String(error)}\n`)
    })
    return [`node ${node.nodename}:`, ...(await Promise.all(answers)).flatMap((answer) => answer.trimEnd().split("\n"))]
  })
  return (await Promise.all(views)).flat()
}

/** Everything that may explain why a client does not go on. */
export const diagnose = (
  site: Site,
  logs: ClientLogs,
  states: ReadonlyArray<string>
): Effect.Effect<ReadonlyArray<string>> =>
  Effect.map(
    Effect.promise(() => brokersView(site)),
    (brokers) => [
      "the connections:",
      ...states,
      "the clients' logs:",
      ...logs.lines,
      ...brokers,
      "the brokers' logs:",
      ...site.logLines().filter((line) => !/\[(?:info|notice|debug)\]/.test(line)).slice(-keptLines)
    ]
  )
