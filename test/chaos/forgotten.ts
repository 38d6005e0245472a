/** Consumers to which RabbitMQ delivers nothing more, for reasons of its own, until they consume again by another node. */
import { linesOf } from "./leftovers.ts"
import type { Site } from "./site.ts"

/**
 * The queues of programs that do not go on because RabbitMQ has forgotten a consumer, of those that are named.
 *
 * - A stream: a consumer reads from the stream's replica on its node. When that is replaced, the stream coordinator tells the channel, which
 *   it has forgotten if it lost sight of the node for a moment (`rabbit_stream_coordinator.erl`, `{down, Pid, noconnection}` of a listener).
 *   The consumer stays with the old replica, which gets nothing more.
 * - A quorum queue: the member on the consumer's node delivers. A member of a queue that was deleted soon before its node was killed, and
 *   declared again before it is back, is not started ("could not be restarted {error,enoent}" in the log of the node). The leader leaves the
 *   deliveries to it all the same (`can_execute_locally` in `ra_server_proc.erl`).
 * - A quorum queue that was deleted: now and then the channel of its consumer is not told, and so does not cancel it.
 */
export const forgottenQueues = async (
  queues: ReadonlyArray<string>,
  consumersOfStream: number,
  site: Site
): Promise<ReadonlyArray<string>> => {
  const forgotten = new Set([...await withoutMember(site), ...await deletedSilently(site)])
  for (const queue of consumersOfStream === 0 ? [] : queues) {
    // Consumers of a stream that have something to acknowledge wait for the client.
    if (await idleConsumersOfStream(queue, site) >= consumersOfStream) forgotten.add(queue)
  }
  return queues.filter((queue) => forgotten.has(queue))
}

/** The consumers that a node knows: of its own channels. `Queue`, `Channel` and `Tag` in a list comprehension. */
const consumersOn = (node: string): string =>
  `{{Queue, Channel, Tag}, _, _, _, _, _, _} <- rpc:call(${node}, ets, tab2list, [consumer_created])`

/** What a channel says of itself. It has to be asked on its own node, whose monotonic time is its deadline; a channel may be gone. */
const infoOf = (item: string): string => `rpc:call(Node, rabbit_channel, info, [Channel, [${item}]])`

/** How many consumers of a stream have nothing to acknowledge; 0 for other queues. */
const idleConsumersOfStream = async (queue: string, { evaluate }: Site): Promise<number> =>
  Number(
    await evaluate(`integer_to_binary(length([Tag ||
      Stream <- rabbit_amqqueue:list(), amqqueue:get_type(Stream) =:= rabbit_stream_queue,
      {resource, _, queue, <<"${queue}">>} <- [amqqueue:get_name(Stream)],
      Node <- rabbit_nodes:all_running(), ${consumersOn("Node")}, Queue =:= amqqueue:get_name(Stream),
      [{_, 0}] <- [${infoOf("messages_unacknowledged")}]]))`)
  )

/** The quorum queues with consumers on a running node that has no member of theirs although it should. */
const withoutMember = async ({ evaluate }: Site): Promise<ReadonlyArray<string>> =>
  linesOf(
    await evaluate(`iolist_to_binary([[element(4, Queue), "\n"] ||
      Described <- rabbit_amqqueue:list(), amqqueue:get_type(Described) =:= rabbit_quorum_queue,
      {Member, _} <- [amqqueue:get_pid(Described)],
      Node <- maps:get(nodes, amqqueue:get_type_state(Described)), lists:member(Node, rabbit_nodes:all_running()),
      rpc:call(Node, erlang, whereis, [Member]) =:= undefined,
      ${consumersOn("Node")}, Queue =:= amqqueue:get_name(Described)])`)
  )

/** The queues that are gone, but not for the channels of their consumers. */
const deletedSilently = async ({ evaluate }: Site): Promise<ReadonlyArray<string>> =>
  linesOf(
    await evaluate(`iolist_to_binary([[element(4, Queue), "\n"] ||
      Node <- rabbit_nodes:all_running(), ${consumersOn("Node")},
      rabbit_amqqueue:lookup(Queue) =:= {error, not_found},
      [{_, Count}] <- [${infoOf("consumer_count")}], Count > 0])`)
  )
