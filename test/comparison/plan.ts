/**
 * The plan of a run: a sequence of operations that is determined by its seed.
 *
 * A plan has a theme, because operations that are drawn from all possible ones mostly fail. Operations whose outcome is random in RabbitMQ are
 * left out: nothing here depends on which of two queues is served first.
 */
import { Dice } from "../support/dice.ts"
import type { Field, Fields, Typed } from "./fields.ts"
import { channelNames, exchanges, queues, replyQueue, strayQueues } from "./operations.ts"
import type { ChannelName, Operation, Plan, Publish, Request, Settle, Target } from "./operations.ts"
import type { Arguments } from "./wire.ts"

const themes = {
  /** All operations in any order. */
  mixed: 26,
  /** First exchanges, queues and bindings, then messages. */
  flow: 36,
  /** Wrong types, values and names. */
  wrong: 16,
  /** Messages and queues that expire. */
  time: 10,
  quorum: 8,
  stream: 4
}

type Theme = keyof typeof themes

/** The default number of operations. */
export const defaultSteps = 25

const tags = ["t0", "t1", "t2", "t3"] as const

const keys = ["a", "a.b", "a.b.c", "b", "", "a.*", "#", "*.b", "a.#"] as const

const exchangeTypes = ["direct", "fanout", "topic", "headers"] as const

/** The operations in the first part of a plan, and their weights. */
const beginning = {
  declareQueue: 8,
  declareExchange: 6,
  bind: 5,
  bindExchange: 2,
  consume: 1,
  publish: 2
}

const middle = {
  declareQueue: 2,
  inspectQueue: 1,
  deleteQueue: 1.2,
  purge: 0.6,
  declareExchange: 1,
  inspectExchange: 0.4,
  deleteExchange: 0.7,
  bind: 2,
  unbind: 1,
  bindExchange: 1,
  unbindExchange: 0.5,
  publish: 10,
  get: 4,
  consume: 3,
  cancel: 1,
  settle: 6,
  prefetch: 1.2,
  recover: 0.8,
  transaction: 1.5,
  confirmSelect: 0.15,
  odd: 0.5,
  closeChannel: 0.4,
  closeConnection: 0.3
}

type Kind = keyof typeof middle

const flowing: Record<Kind, number> = {
  ...middle,
  declareQueue: 0.7,
  declareExchange: 0.5,
  deleteQueue: 0.5,
  bind: 0.8,
  publish: 12,
  get: 6,
  consume: 4,
  settle: 10,
  odd: 0.3
}

class Planner {
  private readonly dice: Dice
  private readonly theme: Theme
  private readonly operations: Array<Operation> = []
  private messages = 0
  /** The channels that may have an unsettled delivery. */
  private readonly receiving: Array<ChannelName> = []

  constructor(dice: Dice, theme: Theme) {
    this.dice = dice
    this.theme = theme
  }

  make(steps: number): ReadonlyArray<Operation> {
    if (this.isOrdered) this.prepare()
    while (this.operations.length < steps) {
      const kind = this.isOrdered
        ? this.dice.weighted(flowing)
        : this.dice.weighted(this.operations.length < steps / 4 ? beginning : middle)
      this.operations.push(this.one(kind))
    }
    return this.operations.slice(0, steps)
  }

  private get isOrdered(): boolean {
    return this.theme !== "mixed" && this.theme !== "wrong"
  }

  private prepare(): void {
    const { dice } = this
    for (const exchange of exchanges.slice(0, 2)) {
      this.operations.push(this.request("confirm", "exchange.declare", {
        exchange,
        type: dice.oneOf(...exchangeTypes),
        durable: true,
        ...(dice.chance(35) ? { arguments: { "alternate-exchange": dice.oneOf(...exchanges) } } : {})
      }))
    }
    for (const queue of queues.slice(0, dice.between(2, 3))) {
      this.operations.push(this.request("confirm", "queue.declare", {
        queue,
        durable: true,
        arguments: this.queueArguments()
      }))
    }
    for (let count = dice.between(1, 4); count > 0; count--) {
      this.operations.push({ ...this.bind(), channel: "confirm" })
    }
    if (dice.chance(40)) this.operations.push({ ...this.bindExchange(), channel: "confirm" })
    if (dice.chance(25)) this.operations.push(this.request("tx", "tx.select", {}))
  }

  // ---------------------------------------------------------------------------
  // one operation of a kind
  // ---------------------------------------------------------------------------

  private one(kind: Kind): Operation {
    const { dice } = this
    switch (kind) {
      case "declareQueue":
        return this.declareQueue()
      case "inspectQueue":
        return this.request(this.channel(), "queue.declare", { queue: this.queue(), passive: true })
      case "deleteQueue":
        return this.request(this.channel(), "queue.delete", {
          queue: this.queue(),
          ifUnused: dice.chance(35),
          ifEmpty: dice.chance(35),
          ...this.nowait()
        })
      case "purge":
        return this.request(this.channel(), "queue.purge", { queue: this.queue(), ...this.nowait() })
      case "declareExchange":
        return this.request(this.channel(), "exchange.declare", {
          exchange: dice.chance(94) ? dice.oneOf(...exchanges) : dice.oneOf("amq.direct", "amq.none", ""),
          type: dice.chance(96) ? dice.oneOf(...exchangeTypes) : "x-none",
          durable: dice.chance(80),
          autoDelete: dice.chance(12),
          internal: dice.chance(6),
          arguments: this.exchangeArguments(),
          ...this.nowait()
        })
      case "inspectExchange":
        return this.request(this.channel(), "exchange.declare", {
          exchange: dice.chance(80) ? this.exchange() : dice.oneOf("amq.fanout", "amq.headers", "amq.match"),
          type: "direct",
          passive: true
        })
      case "deleteExchange":
        return this.request(this.channel(), "exchange.delete", {
          exchange: dice.chance(93) ? this.exchange() : dice.oneOf("amq.fanout", ""),
          ifUnused: dice.chance(50),
          ...this.nowait()
        })
      case "bind":
        return this.bind()
      case "unbind":
        return this.opposite(this.earlier("queue.bind") ?? this.bind(), "queue.unbind")
      case "bindExchange":
        return this.bindExchange()
      case "unbindExchange":
        return this.opposite(this.earlier("exchange.bind") ?? this.bindExchange(), "exchange.unbind")
      case "publish":
        return this.publish()
      case "get":
        return this.get()
      case "consume":
        return this.consume()
      case "cancel":
        return this.request(this.receiver(), "basic.cancel", { consumerTag: dice.oneOf(...tags), ...this.nowait() })
      case "settle":
        return this.settle()
      case "prefetch": {
        const global = dice.chance(35)
        return this.request(global ? "global" : this.channel(), "basic.qos", {
          prefetchCount: dice.oneOf(0, 1, 1, 2, 3),
          ...(this.isWrong && dice.chance(10) ? { prefetchSize: 1 } : {}),
          global
        })
      }
      case "recover":
        return this.request(this.receiver(), dice.chance(85) ? "basic.recover" : "basic.recover-async", {
          requeue: dice.chance(94)
        })
      case "transaction":
        return this.request(
          dice.chance(90) ? "tx" : this.channel(),
          dice.oneOf("tx.select", "tx.commit", "tx.commit", "tx.rollback"),
          {}
        )
      case "confirmSelect":
        return this.request(this.channel(), "confirm.select", this.nowait())
      case "odd":
        return this.odd()
      case "closeChannel":
        return { _tag: "CloseChannel", channel: this.receiver() }
      case "closeConnection":
        return {
          _tag: "CloseConnection",
          connection: dice.oneOf("main", "other"),
          how: dice.oneOf("close", "close", "cut")
        }
    }
  }

  private declareQueue(): Request {
    const { dice } = this
    return this.request(this.channel(), "queue.declare", {
      queue: this.queue(),
      durable: dice.chance(80),
      exclusive: dice.chance(7),
      autoDelete: dice.chance(10),
      arguments: this.queueArguments(),
      ...this.nowait()
    })
  }

  private bind(): Request {
    const { dice } = this
    const exchange = dice.chance(90) ? this.exchange() : dice.oneOf("amq.direct", "amq.topic")
    return this.request(this.channel(), "queue.bind", {
      queue: this.queue(),
      exchange,
      // Other users of the broker must not send messages here.
      routingKey: exchange.startsWith("amq.") ? "@a" : this.key(),
      ...(dice.chance(40) ? { arguments: this.bindingArguments() } : {}),
      ...this.nowait()
    })
  }

  private bindExchange(): Request {
    const { dice } = this
    const source = dice.chance(93) ? this.exchange() : "amq.topic"
    return this.request(this.channel(), "exchange.bind", {
      destination: this.exchange(),
      source,
      routingKey: source.startsWith("amq.") ? "@a" : this.key(),
      ...(dice.chance(30) ? { arguments: this.bindingArguments() } : {}),
      ...this.nowait()
    })
  }

  /** Undoes a request, with the same arguments. */
  private opposite(request: Request, method: string): Request {
    const { nowait: isUnanswered, ...values } = request.arguments
    // Unbinding a queue always has a reply.
    const nowait = isUnanswered === true && method !== "queue.unbind" ? { nowait: true } : {}
    return { _tag: "Request", channel: this.channel(), method, arguments: { ...values, ...nowait } }
  }

  private earlier(method: string): Request | undefined {
    const requests = this.operations.flatMap((operation) =>
      operation._tag === "Request" && operation.method === method ? [operation] : []
    )
    return requests.length === 0 || this.dice.chance(25) ? undefined : this.dice.oneOf(...requests)
  }

  private publish(): Publish {
    const { dice } = this
    this.messages++
    const toQueue = dice.chance(50)
    const toOthers = !toQueue && dice.chance(5)
    return {
      _tag: "Publish",
      channel: dice.chance(this.isOrdered ? 70 : 30) ? dice.oneOf("confirm", "confirm", "other") : this.channel(),
      exchange: toQueue ? "" : toOthers ? dice.oneOf("amq.direct", "amq.topic") : this.exchange(),
      routingKey: toQueue
        ? (dice.chance(3) ? replyQueue : dice.chance(85) ? dice.oneOf(...queues) : this.queue())
        : toOthers
        ? "@a"
        : this.isWrong && dice.chance(8)
        ? { bytes: "ff61" }
        : this.key(),
      mandatory: dice.chance(20),
      immediate: this.isWrong && dice.chance(2),
      properties: this.properties(),
      body: `m${this.messages}${dice.chance(10) ? "x".repeat(dice.between(1, 8)) : ""}`
    }
  }

  private get(): Request {
    const channel = this.channel()
    const noAck = this.dice.chance(30)
    if (!noAck) this.receiving.push(channel)
    return this.request(channel, "basic.get", { queue: this.queue(), noAck })
  }

  private consume(): Request {
    const { dice } = this
    const channel = this.channel()
    const noAck = dice.chance(15)
    if (!noAck) this.receiving.push(channel)
    const isStream = this.theme === "stream"
    const fields: Fields = {
      ...(dice.chance(12) ? { "x-priority": this.number(1, 5, -1) } : {}),
      ...(dice.chance(isStream ? 80 : 3)
        ? { "x-stream-offset": dice.oneOf<Field>("first", "first", "last", "next", 1) }
        : {}),
      ...(dice.chance(this.isWrong ? 15 : 2) ? { "x-unknown": this.value() } : {})
    }
    return this.request(channel, "basic.consume", {
      queue: channel === "global" ? "@q0" : this.queue(),
      consumerTag: dice.chance(95) ? dice.oneOf(...tags) : "",
      noAck,
      exclusive: dice.chance(10),
      ...(Object.keys(fields).length > 0 ? { arguments: fields } : {}),
      ...this.nowait()
    })
  }

  private settle(): Settle {
    const { dice } = this
    const target: Target = dice.chance(this.isOrdered ? 96 : 85)
      ? dice.between(0, 2)
      : dice.oneOf<Target>("all", "unknown", "settledLast")
    return {
      _tag: "Settle",
      channel: this.receiver(),
      method: dice.oneOf("basic.ack", "basic.nack", "basic.nack", "basic.reject", "basic.reject"),
      target,
      multiple: target === "all" || dice.chance(20),
      requeue: dice.chance(50)
    }
  }

  /** An unusual request. */
  private odd(): Request {
    const channel = this.channel()
    switch (this.dice.between(0, 6)) {
      case 0:
        return this.request(channel, "channel.open", {})
      case 1:
        return this.request(channel, "channel.flow", { active: false })
      case 2:
        return this.request(channel, "queue.declare", { queue: { bytes: "ff61" } })
      case 3:
        return this.request(channel, "queue.bind", { queue: "", exchange: "@e0", routingKey: "" })
      default:
        return this.request(channel, "basic.consume", {
          queue: "amq.rabbitmq.reply-to",
          consumerTag: "replies",
          noAck: this.dice.chance(85)
        })
    }
  }

  // ---------------------------------------------------------------------------
  // names
  // ---------------------------------------------------------------------------

  private get isWrong(): boolean {
    return this.theme === "wrong"
  }

  private request(channel: ChannelName, method: string, values: Arguments): Request {
    return { _tag: "Request", channel, method, arguments: values }
  }

  private channel(): ChannelName {
    return this.dice.weighted({ confirm: 9, plain: 4, tx: 1.5, global: 2.5, other: 2.5 })
  }

  /** In most cases a channel that may have an unsettled delivery. */
  private receiver(): ChannelName {
    return this.receiving.length > 0 && this.dice.chance(85)
      ? this.receiving[this.dice.between(0, this.receiving.length - 1)]
      : this.dice.oneOf(...channelNames)
  }

  private queue(): string {
    const isKnown = this.dice.chance(this.isWrong ? 85 : 96)
    if (!isKnown) return this.dice.oneOf(...strayQueues, "amq.none", "")
    return this.isOrdered && this.dice.chance(90) ? this.dice.oneOf("@q0", "@q1", "@q2") : this.dice.oneOf(...queues)
  }

  private exchange(): string {
    const isKnown = this.dice.chance(this.isWrong ? 88 : 96)
    if (!isKnown) return this.dice.oneOf("@none", "")
    return this.isOrdered && this.dice.chance(85) ? this.dice.oneOf("@e0", "@e1") : this.dice.oneOf(...exchanges)
  }

  private key(): string {
    return this.dice.chance(80) ? this.dice.oneOf(...keys) : this.dice.oneOf(...queues)
  }

  /** Sets `no-wait` in some cases. */
  private nowait(): { readonly nowait?: true } {
    return this.dice.chance(5) ? { nowait: true } : {}
  }

  // ---------------------------------------------------------------------------
  // arguments, properties and values
  // ---------------------------------------------------------------------------

  private get oddness(): number {
    return this.isWrong ? 45 : this.theme === "mixed" ? 8 : 0
  }

  /** One of the numbers with a random integer type, or something that is not an integer. */
  private number(...numbers: ReadonlyArray<number>): Field {
    const { dice } = this
    if (dice.chance(this.oddness)) {
      return dice.oneOf<Field>(
        -1,
        0,
        "a",
        1.5,
        { type: "d", value: 2 },
        { type: "f", value: 2 },
        { type: "l", value: 4_294_967_296 },
        { type: "i", value: 4_294_967_295 },
        { type: "D", value: 200 },
        { type: "T", value: 5 },
        true,
        null,
        "5",
        [1],
        { a: 1 }
      )
    }
    const value = dice.oneOf(...numbers)
    if (dice.chance(60)) return value
    const types: ReadonlyArray<Typed["type"]> = value > 65_535
      ? ["l", "i"]
      : value > 127
      ? ["l", "u", "i"]
      : value < 0
      ? ["b", "s", "l"]
      : ["b", "B", "s", "u", "i", "l"]
    return { type: dice.oneOf(...types), value }
  }

  private value(): Field {
    return this.dice.oneOf<Field>(
      1,
      2,
      "x",
      "y",
      "X",
      "1",
      true,
      null,
      1.5,
      { type: "b", value: -1 },
      { type: "B", value: 200 },
      { type: "s", value: 1 },
      { type: "u", value: 1 },
      { type: "i", value: 1 },
      { type: "l", value: 1 },
      { type: "f", value: 1.5 },
      { type: "d", value: 1 },
      { type: "T", value: 5 },
      { type: "D", value: 314 },
      { type: "x", value: "78" },
      { type: "S", value: "ff" },
      [1, "a", { type: "s", value: 2 }],
      { a: { type: "l", value: 1 } }
    )
  }

  private queueArguments(): Fields {
    const { dice } = this
    const odd = (): boolean => dice.chance(this.oddness)
    const fields: Record<string, Field> = {}
    const often = this.isOrdered ? 1.8 : 1
    const maybe = (percent: number, name: string, field: () => Field): void => {
      if (dice.chance(percent * often)) fields[name] = field()
    }
    const isTime = this.theme === "time"
    if (this.theme === "quorum" || this.theme === "stream") {
      if (dice.chance(75)) fields["x-queue-type"] = this.theme
    } else maybe(1.5, "x-queue-type", () => odd() ? dice.oneOf<Field>("bogus", 5) : "classic")
    maybe(isTime ? 30 : 8, "x-message-ttl", () => isTime ? this.number(0, 1, 1, 60_000) : this.number(0, 60_000))
    maybe(isTime ? 10 : 3, "x-expires", () => isTime ? this.number(1, 600_000) : this.number(600_000))
    maybe(20, "x-max-length", () => this.number(0, 1, 2, 3))
    maybe(8, "x-max-length-bytes", () => this.number(0, 3, 5, 10))
    maybe(12, "x-overflow", () =>
      odd() ?
        dice.oneOf<Field>("bogus", 5) :
        dice.oneOf("drop-head", "reject-publish", "reject-publish-dlx"))
    maybe(35, "x-dead-letter-exchange", () =>
      odd() ?
        dice.oneOf<Field>(5, "@none", null) :
        dice.oneOf("", "", ...exchanges))
    maybe(25, "x-dead-letter-routing-key", () => odd() ? 5 : this.key())
    maybe(10, "x-max-priority", () => this.number(0, 1, 3, 10, 255))
    maybe(3, "x-queue-mode", () => odd() ? "bogus" : dice.oneOf("lazy", "default"))
    maybe(6, "x-single-active-consumer", () => odd() ? dice.oneOf<Field>("true", 1) : dice.chance(70))
    maybe(this.theme === "quorum" ? 25 : 2, "x-delivery-limit", () => this.number(1, 2))
    if (this.isOrdered) return fields
    maybe(2, "x-queue-version", () => this.number(1, 2))
    maybe(3, "x-unknown", () => this.value())
    maybe(1, "x-initial-cluster-size", () => this.number(1))
    maybe(1, "x-max-age", () => dice.oneOf<Field>("1h", 5))
    maybe(1, "x-queue-master-locator", () => dice.oneOf<Field>("min-masters", 5))
    return fields
  }

  private exchangeArguments(): Fields {
    const { dice } = this
    return {
      ...(dice.chance(30)
        ? {
          "alternate-exchange": dice.chance(this.oddness)
            ? dice.oneOf<Field>(5, "@none", "")
            : dice.oneOf(...exchanges)
        }
        : {}),
      ...(dice.chance(2) ? { "x-unknown": this.value() } : {})
    }
  }

  private bindingArguments(): Fields {
    const { dice } = this
    return {
      ...(dice.chance(50)
        ? {
          "x-match": dice.chance(this.oddness)
            ? dice.oneOf<Field>("bogus", 5, null)
            : dice.oneOf("all", "any", "all-with-x", "any-with-x")
        }
        : {}),
      ...(dice.chance(60) ? { h1: this.value() } : {}),
      ...(dice.chance(40) ? { h2: this.value() } : {}),
      ...(dice.chance(10) ? { "x-h": this.value() } : {})
    }
  }

  private properties(): Publish["properties"] {
    const { dice } = this
    const odd = (): boolean => dice.chance(this.oddness)
    const headers = this.headers()
    // The embedded broker differs for a message that overtakes others and expires at once, as documented.
    const priority = dice.chance(15) ? dice.oneOf(0, 1, 2, 3, 5, 255) : undefined
    return {
      ...(dice.chance(5) ? { contentType: "text/plain" } : {}),
      ...(dice.chance(4) ? { contentEncoding: "gzip" } : {}),
      ...(headers === undefined ? {} : { headers }),
      ...(dice.chance(35) ? { deliveryMode: odd() ? dice.oneOf(0, 3, 255) : dice.oneOf(1, 2) } : {}),
      ...(priority === undefined ? {} : { priority }),
      ...(dice.chance(10)
        ? { correlationId: dice.chance(80) ? `c${this.messages}` : { bytes: "63ff" } }
        : {}),
      ...(dice.chance(6) ? { replyTo: dice.oneOf("@q1", "amq.rabbitmq.reply-to") } : {}),
      ...(dice.chance(this.theme === "time" ? 30 : 10)
        ? {
          expiration: odd()
            ? dice.oneOf("x", "-1", "", "1.5", " 1", "99999999999")
            : priority !== undefined
            ? "60000"
            : this.theme === "time"
            ? dice.oneOf("0", "1", "60000")
            : dice.oneOf("0", "60000")
        }
        : {}),
      ...(dice.chance(4) ? { messageId: `id ${this.messages}` } : {}),
      ...(dice.chance(5) ? { timestamp: dice.oneOf(0, 12_345) } : {}),
      ...(dice.chance(3) ? { type: "a type" } : {}),
      ...(dice.chance(3) ? { userId: odd() ? "nobody" : "guest" } : {}),
      ...(dice.chance(3) ? { appId: "an app" } : {}),
      ...(dice.chance(2) ? { clusterId: "a cluster" } : {})
    }
  }

  private headers(): Fields | undefined {
    const { dice } = this
    const odd = (): boolean => dice.chance(this.oddness)
    const fields: Record<string, Field> = {}
    if (dice.chance(30)) {
      if (dice.chance(70)) fields["h1"] = this.value()
      if (dice.chance(50)) fields["h2"] = this.value()
      if (dice.chance(10)) fields["x-h"] = this.value()
    }
    for (const name of ["CC", "BCC"]) {
      if (dice.chance(6)) {
        fields[name] = odd()
          ? dice.oneOf<Field>("a", 5, [5], { type: "x", value: "61" })
          : [this.key(), this.key()].slice(0, dice.between(1, 2))
      }
    }
    if (dice.chance(4)) fields["x-death"] = this.deaths()
    if (dice.chance(1.5)) fields["x-delivery-count"] = this.value()
    if (dice.chance(1)) fields["x-first-death-reason"] = "expired"
    // Empty headers differ from missing ones.
    return Object.keys(fields).length > 0 || dice.chance(4) ? fields : undefined
  }

  /** The `x-death` header of a message that was dead-lettered elsewhere. */
  private deaths(): Field {
    const { dice } = this
    if (dice.chance(15)) return dice.oneOf<Field>("x", [1], [])
    const death = (): Fields => ({
      reason: dice.oneOf("rejected", "expired", "maxlen"),
      queue: dice.oneOf(...queues),
      ...(dice.chance(80) ? { count: dice.oneOf<Field>({ type: "l", value: 2 }, 2) } : {}),
      exchange: "",
      time: { type: "T", value: 1000 },
      "routing-keys": [dice.oneOf(...queues)]
    })
    return Array.from({ length: dice.between(1, 2) }, death)
  }
}

/** Makes the plan of a seed. */
export const makePlan = (seed: number, steps: number = defaultSteps): Plan => {
  const dice = new Dice(seed)
  const theme = dice.weighted(themes)
  return { seed, theme, operations: new Planner(dice, theme).make(steps) }
}
