/** How each fault is inflicted, and ended. */
import { setTimeout as sleep } from "node:timers/promises"
import type { Ending, FaultProxy } from "../support/proxy.ts"
import type { RabbitMQNode } from "../support/rabbitmqNode.ts"
import type { Fault } from "./plan.ts"
import { eventually } from "./site.ts"
import type { Site } from "./site.ts"

export interface Targets {
  readonly site: Site
  /** The queues that a fault deletes. */
  readonly deletableQueues: ReadonlyArray<string>
  /** Called before a queue is deleted. Returns what has to be called when it is. */
  readonly onDeleting: (queue: string) => () => void
  /** Makes some or all clients replace their connections. */
  readonly reconnect: (proxy: Fault["proxy"]) => void
  /** The queue whose leader is killed. */
  readonly replicatedQueue: string
}

/**
 * Inflicts a fault, and resolves when it is over: from then on everything has to recover. After an abort it starts no node any more.
 */
export const inflict = async (fault: Fault, targets: Targets, signal: AbortSignal): Promise<void> => {
  const { bytes, from, kind, millis } = fault
  const { site } = targets
  const node = site.nodes[fault.node]
  const proxies = fault.proxy === "all" ? site.proxies : [site.proxies[fault.proxy]]
  switch (kind) {
    case "cut":
      return proxies.forEach((proxy) => proxy.cut())
    case "reset":
      return proxies.forEach((proxy) => proxy.reset())
    case "cutInFrame":
      return cutInFrame(proxies, bytes, from)
    case "stall":
      return untilRestored(proxies, millis, (proxy) => proxy.stall())
    case "trickle":
      return untilRestored(proxies, millis, (proxy) => proxy.trickle(bytes, 50))
    case "halfOpenToClient":
      return proxies.forEach((proxy) => proxy.halfOpen("client"))
    case "halfOpenToBroker":
      return proxies.forEach((proxy) => proxy.halfOpen("broker"))
    case "refuse":
      return untilRestored(proxies, millis, (proxy) => {
        proxy.refuse()
        proxy.reset()
      })
    case "acceptThenClose":
      return untilRestored(proxies, millis, (proxy) => {
        proxy.closeAtOnce()
        proxy.cut()
      })
    case "silence":
      return untilRestored(proxies, millis, (proxy) => {
        proxy.silence()
        proxy.reset()
      })
    case "kill":
      return restart(node, node.kill, millis, signal)
    case "stop":
      return restart(node, node.stop, millis, signal)
    case "restartApplication":
      await site.evaluate("rabbit:stop()", node)
      await sleep(millis)
      await site.evaluate("rabbit:start()", node)
      return
    case "freeze":
      node.freeze()
      await sleep(millis)
      return node.thaw()
    case "closeConnections":
      await closeConnections(site, "chaos")
      return
    case "memoryAlarm":
      return alarm(
        site,
        node,
        millis,
        (isOn) => `vm_memory_monitor:set_vm_memory_high_watermark(${isOn ? "0.00001" : "0.4"})`
      )
    case "diskAlarm":
      return alarm(
        site,
        node,
        millis,
        (isOn) => `rabbit_disk_monitor:set_disk_free_limit("${isOn ? "900000GB" : "1MB"}")`
      )
    case "deleteQueue":
      for (const queue of targets.deletableQueues) await deleteQueue(queue, targets)
      return
    case "reconnect":
      targets.reconnect(fault.proxy)
      await sleep(millis)
      return
    case "changePassword":
      return changePassword(site)
    case "killLeader": {
      const leader = await leaderOf(targets.replicatedQueue, site)
      return restart(leader, leader.kill, millis, signal)
    }
    case "partition":
      return partition(node, millis, site)
    case "rollingRestart":
      for (const each of site.nodes) {
        await restart(each, each.stop, 0, signal)
        await eventually(
          60_000,
          () => site.evaluate(`ok = rabbit_nodes:await_running_count(${site.nodes.length}, 60000)`, each)
        )
      }
  }
}

const untilRestored = async (
  proxies: ReadonlyArray<FaultProxy>,
  millis: number,
  begin: (proxy: FaultProxy) => void
): Promise<void> => {
  proxies.forEach(begin)
  await sleep(millis)
  await Promise.all(proxies.map((proxy) => proxy.restore()))
}

/** How long a connection may stay open that is to end after some bytes. */
const cutMillis = 500

/** Connections end after some bytes. If no bytes come, they end a little later. */
const cutInFrame = async (
  proxies: ReadonlyArray<FaultProxy>,
  bytes: number,
  from: Fault["from"]
): Promise<void> => {
  const ending: Ending = bytes % 2 === 0 ? "cut" : "reset"
  for (const proxy of proxies) proxy.cutAfter(bytes, from, ending)
  await sleep(cutMillis)
}

const restart = async (
  node: RabbitMQNode,
  end: () => Promise<void>,
  millis: number,
  signal: AbortSignal
): Promise<void> => {
  await end()
  await sleep(millis, undefined, { signal })
  await node.start()
}

const alarm = async (
  { evaluate }: Site,
  node: RabbitMQNode,
  millis: number,
  set: (isOn: boolean) => string
): Promise<void> => {
  await evaluate(set(true), node)
  try {
    await sleep(millis)
  } finally {
    await eventually(30_000, () => evaluate(set(false), node))
  }
}

/** As `rabbitmqctl close_all_connections` does. */
const closeConnections = ({ evaluate }: Site, why: string): Promise<string> =>
  evaluate(`rabbit_networking:close_connections(rabbit_networking:connections(), "${why}")`)

/** The client learns the new password as soon as the broker has it. Only then it needs it. */
const changePassword = async (site: Site): Promise<void> => {
  const { evaluate, user } = site
  const password = `${user.password}.`
  await evaluate(`rabbit_auth_backend_internal:change_password(<<"${user.name}">>, <<"${password}">>, <<"chaos">>)`)
  user.password = password
  await closeConnections(site, "the password has changed")
}

/** Deletes a queue, unless a former fault has, and its program has not declared it again yet. */
const deleteQueue = async (queue: string, { onDeleting, site }: Targets): Promise<void> => {
  await eventually(30_000, async () => {
    const deleted = onDeleting(queue)
    try {
      await site.evaluate(`case rabbit_amqqueue:lookup(${resource(queue)}) of
        {ok, Queue} -> {ok, _} = rabbit_amqqueue:delete(Queue, false, false, <<"chaos">>);
        {error, not_found} -> missing
      end`)
    } finally {
      deleted()
    }
  })
}

const partition = async (node: RabbitMQNode, millis: number, site: Site): Promise<void> => {
  await partitioned(node, site, true)
  await sleep(millis)
  await partitioned(node, site, false)
}

/** Cuts a node off, or ends that. Nodes with another secret refuse each other's connections. The node pauses, as it is alone. */
export const partitioned = async (node: RabbitMQNode, { evaluate, nodes }: Site, isCutOff: boolean): Promise<void> => {
  const others = nodes.filter((other) => other !== node).map(({ nodename }) => `'${nodename}'`).join(", ")
  const expression = isCutOff
    ? "begin erlang:set_cookie(N, cut_off), erlang:disconnect_node(N) end"
    : "erlang:set_cookie(N, erlang:get_cookie())"
  await eventually(30_000, () => evaluate(`[${expression} || N <- [${others}]]`, node))
}

/** The name of a queue in Erlang. */
const resource = (queue: string): string => `rabbit_misc:r(<<"/">>, queue, <<"${queue}">>)`

/** The node with the leader of a quorum queue. */
export const leaderOf = (queue: string, { evaluate, nodes }: Site): Promise<RabbitMQNode> =>
  eventually(30_000, async () => {
    const name = await evaluate(`begin
      {ok, Queue} = rabbit_amqqueue:lookup(${resource(queue)}),
      {_, Leader} = amqqueue:get_pid(Queue),
      atom_to_binary(Leader)
    end`)
    const leader = nodes.find(({ nodename }) => nodename === name)
    if (leader === undefined) throw new Error(`the leader of the queue ${queue} is not a node: ${name}`)
    return leader
  })
