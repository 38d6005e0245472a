/** The connections and channels of one run on one broker: what came on them, and how long the run waits for it. */
import * as Effect from "effect/Effect"
import { channels, hasReplicatedQueues, hasShortTimes } from "./operations.ts"
import type { ChannelName, ConnectionName, Plan } from "./operations.ts"
import { encodeMethod } from "./wire.ts"
import type { Arguments } from "./wire.ts"
import { WireClient } from "./wireClient.ts"
import type { Arrival, Endpoint } from "./wireClient.ts"

export interface RunOptions {
  /** Makes the names of this run unique. */
  readonly prefix: string
  /** An operation counts as complete once nothing has arrived for this long. */
  readonly quietMillis: number
}

/** How long to wait for a reply that is due. */
const replyMillis = 5_000

/** How long to wait where messages or queues expire within a millisecond. */
const expiryMillis = 40

/** The name that a broker generates for a direct reply-to. */
const replyTo = /amq\.rabbitmq\.reply-to\.[\w.+/=-]+/

export interface OpenDelivery {
  readonly tag: number
  readonly step: number
  /** Orders the deliveries of one step, because those of different queues arrive in any order. */
  readonly sortKey: string
}

/** What a run knows about a channel between two operations. */
export class ChannelState {
  confirms = false
  inTransaction = false
  published = 0
  readonly confirmed = new Set<number>()
  open: ReadonlyArray<OpenDelivery> = []
  /** Settled in a transaction that may still be rolled back. */
  settledInTransaction: ReadonlyArray<OpenDelivery> = []
  lastSettled: number | undefined
  /** How many `channel.flow` have no reply yet. */
  flows = 0
  readonly consumersWithoutAck = new Set<string>()
}

/** What completes an operation. */
export interface Awaited {
  /** Recognizes the reply, if the operation has one. */
  readonly isReply?: ((arrival: Arrival) => boolean) | undefined
  /** Any other condition. */
  readonly isDone?: () => boolean
  /** Set if the channel does not reply to anything else before or after the operation is done. */
  readonly withoutFlow?: boolean
  /** Set if the operation has no effect but its reply. */
  readonly isQuick?: boolean
  /** Called with everything that arrived. */
  readonly done?: (arrivals: ReadonlyArray<Arrival>) => void
}

export class Session {
  private readonly endpoint: Endpoint
  private readonly prefix: string
  private readonly quietMillis: number
  private readonly expiryMillis: number
  private readonly connections = new Map<ConnectionName, WireClient>()
  private readonly states = new Map<ChannelName, ChannelState>()
  private arrivals: Array<{ readonly connection: ConnectionName; readonly arrival: Arrival }> = []
  private ends: Array<string> = []
  private step = 0
  private wake: () => void = () => {}
  /** The last name that the broker generated for a direct reply-to. */
  replyTo = "amq.rabbitmq.reply-to.unknown"
  readonly generatedQueues = new Set<string>()

  constructor(plan: Plan, endpoint: Endpoint, { prefix, quietMillis }: RunOptions) {
    this.endpoint = endpoint
    this.prefix = prefix
    this.quietMillis = quietMillis * (hasReplicatedQueues(plan) ? 4 : 1)
    this.expiryMillis = hasShortTimes(plan) ? expiryMillis + this.quietMillis : 0
  }

  // ---------------------------------------------------------------------------
  // channels and connections
  // ---------------------------------------------------------------------------

  /**
   * Sends something on a channel, which is opened first where necessary, followed by a `channel.flow`: a channel replies to that
   * after it has processed everything before it. Returns what arrived, or a line that says why nothing was sent.
   */
  onChannel(
    channel: ChannelName,
    send: (state: ChannelState, client: WireClient) => Awaited | string
  ): Effect.Effect<ReadonlyArray<string>> {
    return Effect.gen({ self: this }, function*() {
      const { connection } = channels[channel]
      const client = yield* this.connected(connection)
      const state = yield* this.opened(client, channel)
      if (!client.isChannelOpen(channel)) return ["the channel can't be opened", ...(yield* this.settled())]
      const awaited = send(state, client)
      if (typeof awaited === "string") return [awaited]
      if (awaited.withoutFlow !== true) this.sendFlow(client, channel, state)
      const { isDone = () => true, isReply } = awaited
      const hasReply = (): boolean =>
        isReply === undefined ||
        this.arrivals.some(({ arrival }) => arrival.channel === channel && isReply(arrival))
      const isComplete = yield* this.until(() =>
        !client.isChannelOpen(channel) || (state.flows === 0 && hasReply() && isDone())
      )
      const arrivals = this.arrivals
      const lines = awaited.isQuick === true && client.isOpen
        ? this.takeLines()
        : yield* this.settled(client.isOpen ? this.expiryMillis : 2 * this.quietMillis)
      awaited.done?.(arrivals.map(({ arrival }) => arrival))
      if (!client.isOpen) this.drop(connection)
      else if (!client.isChannelOpen(channel)) this.states.delete(channel)
      return isComplete ? lines : [...lines, `no reply within ${replyMillis} ms`]
    })
  }

  /** Closes a connection, or ends it without a close. */
  close(connection: ConnectionName, how: "close" | "cut"): Effect.Effect<ReadonlyArray<string>> {
    return Effect.gen({ self: this }, function*() {
      const client = this.connections.get(connection)
      if (client === undefined || !client.isOpen) return ["the connection is not open"]
      if (how === "cut") {
        this.drop(connection)
        return yield* this.settled(4 * this.quietMillis)
      }
      client.send(encodeMethod(0, "connection.close", { replyCode: 200 }))
      const isClosed = yield* this.until(() => !client.isOpen)
      const lines = yield* this.settled(2 * this.quietMillis)
      this.drop(connection)
      return isClosed ? lines : [...lines, `no reply within ${replyMillis} ms`]
    })
  }

  private sendFlow(client: WireClient, channel: ChannelName, state: ChannelState): void {
    state.flows++
    client.send(encodeMethod(channels[channel].number, "channel.flow", { active: true }))
  }

  private connected(name: ConnectionName): Effect.Effect<WireClient> {
    return Effect.gen({ self: this }, function*() {
      const existing = this.connections.get(name)
      if (existing !== undefined && existing.isOpen) return existing
      this.drop(name)
      const client = new WireClient(name, this.endpoint, {
        onOpen: () => this.wake(),
        onArrival: (arrival) => this.arrive(name, arrival),
        onEnd: (how) => {
          this.ends.push(`connection "${name}": ${how}`)
          this.wake()
        }
      })
      this.connections.set(name, client)
      yield* this.until(() => client.isOpen || client.hasEnded)
      return client
    })
  }

  private opened(client: WireClient, channel: ChannelName): Effect.Effect<ChannelState> {
    return Effect.gen({ self: this }, function*() {
      const existing = this.states.get(channel)
      if (existing !== undefined && client.isChannelOpen(channel)) return existing
      const state = new ChannelState()
      this.states.set(channel, state)
      const { confirms, number } = channels[channel]
      client.send(encodeMethod(number, "channel.open"))
      if (confirms) client.send(encodeMethod(number, "confirm.select"))
      state.confirms = confirms
      this.sendFlow(client, channel, state)
      yield* this.until(() => state.flows === 0 || !client.isOpen)
      // The plan did not ask for these replies.
      this.arrivals = this.arrivals.filter(({ arrival }) =>
        arrival.channel !== channel || !["channel.open-ok", "confirm.select-ok"].includes(arrival.method.name)
      )
      return state
    })
  }

  private drop(connection: ConnectionName): void {
    this.connections.get(connection)?.cut()
    this.connections.delete(connection)
    for (const channel of this.states.keys()) {
      if (channels[channel].connection === connection) this.states.delete(channel)
    }
  }

  // ---------------------------------------------------------------------------
  // what arrives
  // ---------------------------------------------------------------------------

  private arrive(connection: ConnectionName, arrival: Arrival): void {
    const { channel, message, method } = arrival
    const state = channel && this.states.get(channel)
    if (method.name === "channel.flow-ok" && state !== undefined && state.flows > 0) state.flows--
    else {
      this.arrivals.push({ connection, arrival })
      this.replyTo = replyTo.exec(message?.properties ?? "")?.[0] ?? this.replyTo
      const queue = method.text("queue")
      if (method.name === "queue.declare-ok" && queue.startsWith("amq.gen-")) this.generatedQueues.add(queue)
      if (state !== undefined) this.record(state, arrival)
    }
    this.wake()
  }

  private record(state: ChannelState, arrival: Arrival): void {
    const { method } = arrival
    const tag = method.number("deliveryTag")
    if (method.name === "basic.ack" || method.name === "basic.nack") {
      for (let confirmed = method.bit("multiple") ? 1 : tag; confirmed <= tag; confirmed++) {
        state.confirmed.add(confirmed)
      }
    } else if (method.name === "basic.deliver" && !state.consumersWithoutAck.has(method.text("consumerTag"))) {
      this.keepOpen(state, arrival)
    }
  }

  /** Records a delivery that has to be settled. */
  keepOpen(state: ChannelState, { message, method }: Arrival): void {
    state.open = [...state.open, {
      tag: method.number("deliveryTag"),
      step: this.step,
      sortKey: `${method.text("consumerTag")} ${message?.body}`
    }]
  }

  /** Waits that long, then until nothing has arrived for a while, and returns what has. */
  private settled(millis = 0): Effect.Effect<ReadonlyArray<string>> {
    return Effect.gen({ self: this }, function*() {
      for (let left = Math.max(millis, this.quietMillis); left > 0;) {
        yield* Effect.sleep(left)
        const last = Math.max(0, ...[...this.connections.values()].map(({ lastArrival }) => lastArrival))
        left = Math.ceil(last + this.quietMillis - performance.now())
      }
      return this.takeLines()
    })
  }

  /**
   * Everything that arrived since the last call, a line each. The lines of a channel are in their order. Deliveries are
   * grouped by consumer, because queues send them independently of everything else.
   */
  private takeLines(): ReadonlyArray<string> {
    const groups = new Map<string, Array<string>>()
    for (const { arrival, connection } of this.arrivals) {
      const place = arrival.channel ?? `connection "${connection}"`
      const group = arrival.method.name === "basic.deliver" ? `${place} ~${arrival.method.text("consumerTag")}` : place
      groups.set(group, [...(groups.get(group) ?? []), `${place}: ${describe(arrival)}`])
    }
    const sorted = [...groups].toSorted(([a], [b]) => a.localeCompare(b)).flatMap(([, lines]) => lines)
    const lines = [...sorted, ...this.ends].map((line) => this.withPlannedNames(line))
    this.arrivals = []
    this.ends = []
    this.step++
    return lines
  }

  /** Waits until the condition holds, and returns whether it does. */
  private until(condition: () => boolean): Effect.Effect<boolean> {
    return Effect.callback<boolean>((resume) => {
      if (condition()) {
        resume(Effect.succeed(true))
        return
      }
      const stop = (): void => {
        clearTimeout(timer)
        this.wake = () => {}
      }
      const end = (value: boolean): void => {
        stop()
        resume(Effect.succeed(value))
      }
      const timer = setTimeout(() => end(false), replyMillis)
      this.wake = () => {
        if (condition()) end(true)
      }
      return Effect.sync(stop)
    })
  }

  // ---------------------------------------------------------------------------
  // names
  // ---------------------------------------------------------------------------

  /** Replaces the plan's names by those of this run. */
  named(values: Arguments): Arguments {
    // The same value with other strings in it.
    return JSON.parse(JSON.stringify(values).replaceAll("@", this.prefix)) as Arguments
  }

  /** Replaces the names of this run by the plan's, and what the broker generates by something fixed. */
  private withPlannedNames(line: string): string {
    return line
      .replaceAll(this.prefix, "@")
      .replaceAll(/amq\.gen-[\w-]+/g, "amq.gen-…")
      .replaceAll(/amq\.ctag-[\w.-]+/g, "amq.ctag-…")
      .replaceAll(new RegExp(replyTo, "g"), "amq.rabbitmq.reply-to.…")
  }

  // ---------------------------------------------------------------------------
  // closing
  // ---------------------------------------------------------------------------

  /** Deletes the queues and exchanges, if the broker still replies, and closes the connections. */
  deleteAll(names: {
    readonly queues: ReadonlyArray<string>
    readonly exchanges: ReadonlyArray<string>
  }): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      // An exclusive queue of it can only be deleted once it has ended.
      this.drop("other")
      const { number } = channels.plain
      const deletions = [
        ...names.queues.map((queue) => encodeMethod(number, "queue.delete", this.named({ queue }))),
        ...names.exchanges.map((exchange) => encodeMethod(number, "exchange.delete", this.named({ exchange })))
      ]
      if (!(yield* this.sendDeletion(Buffer.concat(deletions), 1))) {
        for (const deletion of deletions) yield* this.sendDeletion(deletion, 20)
      }
      yield* this.close("main", "close")
    })
  }

  /**
   * Returns whether the broker has deleted everything. A refusal is tried again, up to so many attempts: an exclusive queue of
   * a connection that was cut stays locked until the broker notices.
   */
  private sendDeletion(deletion: Buffer, attempts: number): Effect.Effect<boolean> {
    return Effect.gen({ self: this }, function*() {
      for (let attempt = 1; attempt <= attempts; attempt++) {
        const client = yield* this.connected("main")
        if (!client.isOpen) return false
        const state = yield* this.opened(client, "plain")
        client.send(deletion)
        this.sendFlow(client, "plain", state)
        // A broker that does not reply is not asked again.
        if (!(yield* this.until(() => state.flows === 0 || !client.isChannelOpen("plain")))) return false
        if (client.isChannelOpen("plain")) return true
        yield* Effect.sleep(50)
      }
      return false
    })
  }
}

const describe = ({ message, method }: Arrival): string => {
  const shown = [...method.shown].filter(([name, text]) =>
    // The tag of a delivery follows from the order, which is compared; that of a confirm says which message it means.
    !(name === "deliveryTag" && message !== undefined) && text !== ""
  ).map(([name, text]) => ` ${name}=${text}`)
  const content = message === undefined ? "" : ` body=${message.body} properties: ${message.properties || "none"}`
  return `${method.name}${shown.join("")}${content}`
}
