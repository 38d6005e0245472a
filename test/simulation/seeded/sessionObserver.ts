/**
 * Observes the bytes of one session from outside of the client, and checks what must be true of each session whatever comes before it:
 * topologies first, `confirm.select` before a publisher's messages, `basic.qos` before `basic.consume`, and no settlement of a delivery
 * that this channel does not have.
 */
import { idAtStart } from "./history.ts"
import type { History, RegisteredTopology, Settlement } from "./history.ts"
import { frameTypes, WireFrames } from "./wireFrames.ts"
import { hasContent, wireMethodOf } from "./wireMethods.ts"
import type { WireMethod } from "./wireMethods.ts"

/** The size of the protocol header, with which a client begins. */
const protocolHeaderSize = 8

export interface SessionRules {
  readonly client: 0 | 1
  /** The topologies that exist now. */
  readonly topologies: () => ReadonlyArray<RegisteredTopology>
  /** Whether a message has to be published with confirms. */
  readonly isConfirmed: (id: string) => boolean
  /** The prefetches with which a queue may be consumed on a session that was opened at this time. `undefined`: any. */
  readonly prefetches: (queue: string, openedAt: number) => ReadonlySet<number> | undefined
  readonly now: () => number
}

interface ChannelState {
  isConfirming: boolean
  isTransactional: boolean
  prefetch: number | undefined
  /** Tags of consumers that do not acknowledge. */
  readonly withoutAcks: Set<string>
  /** Whether the last `basic.get` needs no acknowledgement. */
  getsWithoutAck: boolean
  /** The ids of the unsettled deliveries, by their tags. */
  readonly deliveries: Map<number, string>
}

/** How long the client waits for the replies to its declarations before it uses the session all the same, in milliseconds. */
const preparationLimit = 30_000

export class SessionObserver {
  readonly number: number
  private readonly rules: SessionRules
  private readonly history: History
  private readonly fromClient: WireFrames
  private readonly fromBroker: WireFrames
  private readonly channels = new Map<number, ChannelState>()
  /** The messages whose bodies have not arrived, by channel and direction. */
  private readonly incomplete = new Map<string, WireMethod>()
  /** The topologies that are due. `undefined` when the session is in use. */
  private due: ReadonlyArray<RegisteredTopology> | undefined = []
  private readonly declared = new Set<string>()
  private openedAt = Infinity

  constructor(number: number, rules: SessionRules, history: History) {
    this.number = number
    this.rules = rules
    this.history = history
    this.fromClient = this.frames("client", protocolHeaderSize)
    this.fromBroker = this.frames("broker", 0)
  }

  /** Whether the handshake is done. */
  get isOpen(): boolean {
    return this.openedAt < Infinity
  }

  sent(bytes: Uint8Array): void {
    this.fromClient.push(bytes)
  }

  received(bytes: Uint8Array): void {
    this.fromBroker.push(bytes)
  }

  private frames(from: "client" | "broker", bytesBefore: number): WireFrames {
    return new WireFrames(bytesBefore, (type, channel, payload) => {
      const key = `${from} ${channel}`
      if (type === frameTypes.method) {
        const method = wireMethodOf(payload)
        if (hasContent(method)) this.incomplete.set(key, method)
        else if (from === "client") this.onSent(channel, method)
        else this.onReceived(channel, method)
        return
      }
      const method = this.incomplete.get(key)
      // Every message of a run has a body; the id is at its beginning.
      if (type !== frameTypes.body || method === undefined) return
      this.incomplete.delete(key)
      this.onContent(channel, method, idAtStart(payload))
    })
  }

  /** The session has ended, and the client knows it. */
  ended(): void {
    for (const number of this.channels.keys()) this.forget(number)
  }

  /** Nothing more is delivered or settled on a channel. */
  private forget(number: number): void {
    const deliveries = this.channels.get(number)?.deliveries
    if (deliveries === undefined) return
    for (const id of deliveries.values()) this.history.changeOpen(id, -1)
    deliveries.clear()
  }

  private deliver(channel: ChannelState, tag: number, id: string): void {
    channel.deliveries.set(tag, id)
    this.history.changeOpen(id, 1)
  }

  private wrong(text: string): void {
    this.history.violations.push(`session ${this.number} of client ${this.rules.client}: ${text}`)
  }

  private channel(number: number): ChannelState {
    let channel = this.channels.get(number)
    if (channel === undefined) {
      this.channels.set(
        number,
        channel = {
          isConfirming: false,
          isTransactional: false,
          prefetch: undefined,
          withoutAcks: new Set(),
          getsWithoutAck: false,
          deliveries: new Map()
        }
      )
    }
    return channel
  }

  // ---------------------------------------------------------------------------
  // methods
  // ---------------------------------------------------------------------------

  private onSent(number: number, method: WireMethod): void {
    const channel = this.channel(number)
    switch (method._tag) {
      case "channel.open":
        this.forget(number)
        this.channels.delete(number)
        return
      case "exchange.declare":
        this.declared.add(method.exchange)
        return
      case "queue.declare":
        this.declared.add(method.queue)
        return
      case "confirm.select":
        channel.isConfirming = true
        return
      case "tx.select":
        channel.isTransactional = true
        return
      case "basic.qos":
        channel.prefetch = method.prefetch
        return
      case "basic.consume":
        this.begins(method._tag)
        return this.onConsume(channel, method)
      case "basic.get":
        this.begins(method._tag)
        channel.getsWithoutAck = method.noAck
        return
      case "basic.ack":
        return this.onSettled(channel, "ack", method.deliveryTag, method.multiple)
      case "basic.nack":
        return this.onSettled(channel, method.requeue ? "requeue" : "reject", method.deliveryTag, method.multiple)
      case "basic.reject":
        return this.onSettled(channel, method.requeue ? "requeue" : "reject", method.deliveryTag, false)
    }
  }

  private onReceived(number: number, method: WireMethod): void {
    switch (method._tag) {
      case "connection.open-ok":
        this.openedAt = this.rules.now()
        // Those that are registered later declare themselves, and not before everything else.
        this.due = this.rules.topologies()
        return
      case "basic.recover-ok":
        return this.forget(number)
    }
  }

  private onContent(number: number, method: WireMethod, id: string): void {
    const channel = this.channel(number)
    switch (method._tag) {
      case "basic.publish": {
        this.begins(method._tag)
        this.history.sentOnWire(id)
        if (!channel.isConfirming && this.rules.isConfirmed(id)) {
          this.wrong(`${id} was published before confirm.select`)
        }
        return
      }
      case "basic.deliver":
        if (!channel.withoutAcks.has(method.consumerTag)) this.deliver(channel, method.deliveryTag, id)
        return
      case "basic.get-ok":
        if (!channel.getsWithoutAck) this.deliver(channel, method.deliveryTag, id)
        return
    }
  }

  // ---------------------------------------------------------------------------
  // rules
  // ---------------------------------------------------------------------------

  /** The session is used by something else than a topology. */
  private begins(by: string): void {
    const { due } = this
    if (due === undefined) return
    this.due = undefined
    if (this.rules.now() - this.openedAt >= preparationLimit) return
    const existing = this.rules.topologies()
    const missing = due.filter((topology) => existing.includes(topology))
      .flatMap(({ names }) => names).filter((name) => !this.declared.has(name))
    if (missing.length > 0) this.wrong(`${by} came before the declaration of ${missing.join(", ")}`)
  }

  private onConsume(channel: ChannelState, method: WireMethod & { readonly _tag: "basic.consume" }): void {
    if (method.noAck) {
      channel.withoutAcks.add(method.consumerTag)
      return
    }
    const { prefetch } = channel
    const possible = this.rules.prefetches(method.queue, this.openedAt)
    if (prefetch === undefined) this.wrong(`${method.queue} is consumed before basic.qos`)
    else if (possible !== undefined && !possible.has(prefetch)) {
      this.wrong(`${method.queue} is consumed with a prefetch of ${prefetch}`)
    }
  }

  private onSettled(channel: ChannelState, settlement: Settlement, tag: number, multiple: boolean) {
    // A rollback makes deliveries open again, and they are settled once more.
    if (channel.isTransactional) return
    const tags = multiple ? [...channel.deliveries.keys()].filter((open) => open <= tag || tag === 0) : [tag]
    for (const each of tags) {
      const id = channel.deliveries.get(each)
      if (id === undefined) this.wrong(`${settlement} of delivery ${each}, which is not open on this channel`)
      else {
        this.history.settledOnWire(`${this.rules.client}/${this.number}`, id, settlement)
        this.history.changeOpen(id, -1)
      }
      channel.deliveries.delete(each)
    }
    if (tags.length === 0) this.wrong(`${settlement} up to delivery ${tag}, of which none is open on this channel`)
  }
}
