/** Consumers to which RabbitMQ delivers nothing more, for reasons of its own, until they consume again by another node. */
import type { Site } from "./site.ts"

/**
 * The queues whose consumers RabbitMQ may have forgotten, of those that are named.
 *
 * - A stream: a consumer reads from the stream's replica on its node. When that is replaced, the stream coordinator tells the channel, which
 *   it has forgotten if it lost sight of the node for a moment (`rabbit_stream_coordinator.erl`, `{down, Pid, noconnection}` of a listener).
 *   The consumer stays with the old replica, which gets nothing more.
 * - A quorum queue: the member on the consumer's node delivers. A member of a queue that was deleted soon before its node was killed, and
 *   declared again before it is back, is not started ("could not be restarted {error,enoent}" in the log of the node). The leader leaves the
 *   deliveries to it all the same (`can_execute_locally` in `ra_server_proc.erl`).
 */
export const forgottenQueues = async (
  queues: ReadonlyArray<string>,
  consumersOfStream: number,
  site: Site
): Promise<ReadonlyArray<string>> => {
  const withoutMember = await queuesWithoutMember(site)
  const found: Array<string> = []
  for (const queue of queues) {
    // Consumers of a stream that have something to acknowledge wait for the client.
    if (withoutMember.includes(queue) || await idleConsumersOfStream(queue, site) >= consumersOfStream) {
      found.push(queue)
    }
  }
  return found
}

/** How many consumers of a stream have nothing to acknowledge; 0 for other queues. A node knows those of its own channels. */
const idleConsumersOfStream = async (queue: string, { evaluate }: Site): Promise<number> =>
  Number(
    await evaluate(`integer_to_binary(length([Channel ||
      Queue <- rabbit_amqqueue:list(), amqqueue:get_type(Queue) =:= rabbit_stream_queue,
      {resource, _, queue, <<"${queue}">>} <- [amqqueue:get_name(Queue)],
      Node <- rabbit_nodes:all_running(),
      {{{resource, _, queue, <<"${queue}">>}, Channel, _}, _, _, _, _, _, _} <- rpc:call(Node, ets, tab2list, [consumer_created]),
      rabbit_channel:info(Channel, [messages_unacknowledged]) =:= [{messages_unacknowledged, 0}]]))`)
  )

/** The quorum queues with consumers on a running node that has no member of theirs although it should. */
const queuesWithoutMember = async ({ evaluate }: Site): Promise<ReadonlyArray<string>> => {
  const text = await evaluate(`iolist_to_binary(
    [[Name, "\n"] ||
      Queue <- rabbit_amqqueue:list(), amqqueue:get_type(Queue) =:= rabbit_quorum_queue,
      {resource, _, queue, Name} <- [amqqueue:get_name(Queue)],
      {Member, _} <- [amqqueue:get_pid(Queue)],
      Node <- maps:get(nodes, amqqueue:get_type_state(Queue)), lists:member(Node, rabbit_nodes:all_running()),
      rpc:call(Node, erlang, whereis, [Member]) =:= undefined,
      [] =/= [Tag || {{Consumed, _, Tag}, _, _, _, _, _, _} <- rpc:call(Node, ets, tab2list, [consumer_created]),
        Consumed =:= amqqueue:get_name(Queue)]])`)
  return text.split("\n").filter((name) => name !== "")
}
