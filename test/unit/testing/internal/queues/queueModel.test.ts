/** Queues under arbitrary operations, compared with a simple model. */
import type { FieldTable } from "@effect-amqp/core/protocol/fieldTable"
import type { Entry, QueueType } from "@effect-amqp/core/testing/internal/queues/queue"
import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Schema from "effect/Schema"
import { getAll, message, TestConsumer, TestHost, textOf } from "./queueSupport.ts"

const small = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 4 }))

/** `pick` selects unacknowledged messages and priorities. */
const Operation = Schema.Struct({
  kind: Schema.Literals([
    "publish",
    "publish",
    "publish",
    "get",
    "get",
    "acknowledge",
    "reject",
    "requeue",
    "release",
    "purge",
    "wait",
    "consume",
    "cancel"
  ]),
  pick: small
})

interface ModelMessage {
  readonly text: string
  readonly priority: number
  readonly place: number
  readonly expiry: number
  readonly isReturned: boolean
  readonly returns: number
}

/** The expected behaviour of a queue, with its ready messages in one sorted array. */
class Model {
  ready: Array<ModelMessage> = []
  held = new Map<string, ModelMessage>()
  /** The receiver of each: its consumer, or a separate object for each `basic.get`. */
  private readonly receivers = new Map<string, object>()
  readonly dropped: Array<string> = []
  private places = 0
  private readonly type: QueueType
  private readonly limits: { readonly length: number; readonly deliveries: number }

  constructor(type: QueueType, limits: { readonly length: number; readonly deliveries: number }) {
    this.type = type
    this.limits = limits
  }

  publish(text: string, priority: number, expiry: number, now: number): void {
    this.add({ text, priority, place: this.places++, expiry, isReturned: false, returns: 0 })
    this.tidy(now)
  }

  take(now: number, receiver: object = {}): ModelMessage | undefined {
    this.expire(now)
    const taken = this.ready.shift()
    if (taken !== undefined) {
      this.held.set(taken.text, taken)
      this.receivers.set(taken.text, receiver)
    }
    this.expire(now)
    return taken
  }

  putBack(texts: ReadonlyArray<string>, released: boolean, now: number): void {
    if (this.type === "classic" || released) return this.putBackTogether(texts, released, now)
    for (const receiver of new Set(texts.map((text) => this.receivers.get(text)))) {
      this.putBackTogether(texts.filter((text) => this.receivers.get(text) === receiver), released, now)
    }
  }

  private putBackTogether(texts: ReadonlyArray<string>, released: boolean, now: number): void {
    for (const text of texts) {
      const held = this.held.get(text)
      if (held === undefined) continue
      this.held.delete(text)
      const returns = held.returns + 1
      if (returns > this.limits.deliveries) this.dropped.push(text)
      else if (this.type === "classic") this.add({ ...held, isReturned: true, returns })
      else {this.add({
          ...held,
          isReturned: released || this.limits.deliveries < Infinity,
          place: this.places++,
          returns
        })}
    }
    this.tidy(now)
  }

  expire(now: number): void {
    for (let [first] = this.ready; first !== undefined && first.expiry <= now; [first] = this.ready) {
      this.ready.shift()
      this.dropped.push(first.text)
    }
  }

  private tidy(now: number): void {
    const dropped = this.ready.splice(0, Math.max(0, this.ready.length - this.limits.length)).map(({ text }) => text)
    this.dropped.push(...(this.type === "quorum" ? dropped.toReversed() : dropped))
    this.expire(now)
  }

  private add(item: ModelMessage): void {
    this.ready.push(item)
    this.ready.sort((left, right) =>
      right.priority - left.priority || Number(right.isReturned) - Number(left.isReturned) || left.place - right.place
    )
  }
}

interface Setup {
  readonly type: QueueType
  readonly arguments: FieldTable
}

const setups: ReadonlyArray<Setup> = [
  { type: "classic", arguments: {} },
  { type: "classic", arguments: { "x-max-priority": 3 } },
  { type: "classic", arguments: { "x-message-ttl": 30 } },
  { type: "classic", arguments: { "x-max-length": 3, "x-max-priority": 2, "x-message-ttl": 30 } },
  { type: "quorum", arguments: {} },
  { type: "quorum", arguments: { "x-delivery-limit": 1, "x-max-length": 4 } }
]

const number = (value: unknown, otherwise: number): number => typeof value === "number" ? value : otherwise

describe("a queue under arbitrary operations", () => {
  for (const setup of setups) {
    const { type, arguments: table } = setup
    it.prop(
      `of type ${type} with ${JSON.stringify(table)} loses, duplicates and reorders no message`,
      [Arbitrary.array(Arbitrary.schema(Operation), { minLength: 1, maxLength: 150 })],
      ([operations]) => {
        const host = new TestHost()
        const { timers } = host
        const queue = host.queue(type, { ...table, "x-dead-letter-exchange": "dlx" })
        const model = new Model(type, {
          length: number(table["x-max-length"], Infinity),
          deliveries: number(table["x-delivery-limit"], Infinity)
        })
        const ttl = number(table["x-message-ttl"], Infinity)
        const maxPriority = number(table["x-max-priority"], 0)
        const held: Array<Entry> = []
        const settled: Array<string> = []
        let published = 0
        let consumer: TestConsumer | undefined

        /** Delivers everything to the consumer in the model, and compares. */
        const expectDeliveries = () => {
          if (consumer === undefined) return
          const expected: Array<string> = []
          const take = () => model.take(timers.now(), consumer)
          for (let next = take(); next !== undefined; next = take()) expected.push(next.text)
          const received = consumer.received.splice(0)
          assert.deepStrictEqual(received.map(({ message }) => textOf(message)), expected)
          held.push(...received)
        }
        /** Takes some unacknowledged messages from the middle. */
        const choose = (pick: number): ReadonlyArray<Entry> => held.splice(Math.floor(held.length / 2), 1 + pick)
        const textsOf = (entries: ReadonlyArray<Entry>) => entries.map(({ message }) => textOf(message))

        for (const { kind, pick } of operations) {
          switch (kind) {
            case "publish": {
              const text = String(published++)
              const expiry = timers.now() + ttl
              assert.isTrue(queue.publish(message(text, { priority: pick })))
              model.publish(text, Math.min(pick, maxPriority), expiry, timers.now())
              break
            }
            case "get": {
              const entry = queue.get(false)
              assert.strictEqual(entry && textOf(entry.message), model.take(timers.now())?.text)
              if (entry !== undefined) held.push(entry)
              break
            }
            case "acknowledge": {
              const entries = choose(pick)
              queue.acknowledge(entries)
              for (const text of textsOf(entries)) {
                model.held.delete(text)
                settled.push(text)
              }
              break
            }
            case "reject": {
              const entries = choose(pick)
              queue.reject(entries)
              for (const text of textsOf(entries)) {
                model.held.delete(text)
                model.dropped.push(text)
              }
              break
            }
            case "requeue":
            case "release": {
              const entries = choose(pick).toReversed()
              // The model does not cover a message that is redelivered to the consumer at once.
              if (consumer !== undefined) queue.cancel(consumer)
              consumer = undefined
              queue[kind](entries)
              model.putBack(textsOf(entries), kind === "release", timers.now())
              break
            }
            case "purge": {
              model.expire(timers.now())
              const purged = model.ready.splice(0).map(({ text }) => text)
              assert.strictEqual(queue.purge(), purged.length)
              settled.push(...purged)
              break
            }
            case "wait":
              timers.advance(pick * 5)
              model.expire(timers.now())
              break
            case "consume":
              if (consumer !== undefined) break
              consumer = new TestConsumer(queue)
              queue.consume(consumer)
              break
            case "cancel":
              if (consumer !== undefined) queue.cancel(consumer)
              consumer = undefined
              break
          }
          expectDeliveries()
          assert.deepStrictEqual(
            queue.messages.map(({ message }) => textOf(message)),
            model.ready.map(({ text }) => text)
          )
          assert.strictEqual(queue.messageCount, model.ready.length)
          assert.strictEqual(queue.unacknowledgedCount, model.held.size)
          assert.deepStrictEqual(host.deadLetters.map(textOf), model.dropped)
        }

        if (consumer !== undefined) queue.cancel(consumer)
        const left = textsOf([...getAll(queue), ...held])
        const all = [...settled, ...host.deadLetters.map(textOf), ...left].map(Number).toSorted((left, right) =>
          left - right
        )
        assert.deepStrictEqual(all, Array.from({ length: published }, (_, index) => index))
      },
      { arbitrary: { runs: 200, size: 150 } }
    )
  }
})
