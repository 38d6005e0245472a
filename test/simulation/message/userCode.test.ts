/**
 * User code that runs while a message or a declaration is encoded: getters, proxies, iterators, subclasses. Whatever it does, messages
 * are sent whole, one after the other.
 */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import type * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import {
  ack,
  connected,
  declare,
  deliverBytes,
  exitOf,
  fork,
  openConsumer,
  openPublisher,
  rest,
  resultOf,
  serveDeclare,
  toQueue
} from "../../support/scriptedPeer.ts"

type Publisher = AmqpPublisher.AmqpPublisher["Service"]

/** Messages that run `act` when they are encoded, each in a different way. */
const acting: Record<string, (act: () => void) => readonly [AmqpMessage.AmqpMessage, AmqpChannel.PublishOptions]> = {
  "a getter of a header": (act) => [
    AmqpMessage.text("outer", {
      headers: {
        first: 1,
        get k() {
          return act(), "v"
        },
        last: 2
      }
    }),
    toQueue
  ],
  "a getter in a nested table": (act) => [
    AmqpMessage.text("outer", {
      headers: {
        t: {
          get k() {
            return act(), "v"
          }
        }
      }
    }),
    toQueue
  ],
  "an item of an array": (act) => [
    AmqpMessage.text("outer", { headers: { a: Object.defineProperty([1, 2], 1, { get: () => (act(), 5) }) } }),
    toQueue
  ],
  "a proxy of headers": (act) => [
    AmqpMessage.text("outer", {
      headers: new Proxy({ k: "v" }, { ownKeys: (target) => (act(), Reflect.ownKeys(target)) })
    }),
    toQueue
  ],
  "an iterator of a map": (act) => {
    class Acting extends Map<string, string> {
      override [Symbol.iterator]() {
        act()
        return super[Symbol.iterator]()
      }
    }
    return [AmqpMessage.text("outer", { headers: { m: new Acting([["k", "v"]]) } }), toQueue]
  },
  "a subclass of dates": (act) => {
    class Acting extends Date {
      override getTime() {
        act()
        return super.getTime()
      }
    }
    return [AmqpMessage.text("outer", { headers: { d: new Acting(1000) }, timestamp: new Acting(1000) }), toQueue]
  },
  "a getter of a property": (act) => [
    AmqpMessage.make(new TextEncoder().encode("outer"), {
      get type() {
        return act(), "t"
      }
    }),
    toQueue
  ],
  "a getter of the properties": (act) => [
    {
      body: new TextEncoder().encode("outer"),
      get properties() {
        return act(), {}
      }
    },
    toQueue
  ],
  "a getter of the body": (act) => [
    {
      properties: {},
      get body() {
        return act(), new TextEncoder().encode("outer")
      }
    },
    toQueue
  ],
  "a getter of the routing key": (act) => [
    AmqpMessage.text("outer"),
    {
      exchange: "",
      get routingKey() {
        return act(), "q"
      }
    }
  ],
  "a getter of the exchange": (act) => [
    AmqpMessage.text("outer"),
    {
      get exchange() {
        return act(), ""
      },
      routingKey: "q"
    }
  ],
  "a getter of mandatory": (act) => [
    AmqpMessage.text("outer"),
    {
      exchange: "",
      routingKey: "q",
      get mandatory() {
        return act(), true
      }
    }
  ]
}

/** Runs `act` only the first time, because it would trigger itself otherwise. */
const once = (act: () => void) => {
  let isDone = false
  return () => {
    if (isDone) return
    isDone = true
    act()
  }
}

const publishNow = (publisher: Publisher, message: AmqpMessage.AmqpMessage) => () =>
  void Effect.runFork(publisher.publish(message, toQueue))

describe("user code that runs while a message is encoded", () => {
  for (const [name, make] of Object.entries(acting)) {
    it.effect(`can publish, and messages are still sent whole: ${name}`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const publisher = yield* openPublisher(peer)
          const [message, route] = make(once(publishNow(publisher, AmqpMessage.text("inner"))))
          const outer = yield* fork(publisher.publish(message, route))
          yield* peer.expectPublish("inner", 1)
          yield* peer.expectPublish("outer", 1)
          yield* peer.send(1, ack(2, true))
          yield* resultOf(outer)
        })
      ))

    it.effect(`can publish while a channel program publishes: ${name}`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const publisher = yield* openPublisher(peer)
          const [message, route] = make(once(publishNow(publisher, AmqpMessage.text("inner"))))
          yield* fork(AmqpChannel.run(AmqpChannel.publish(message, route)))
          yield* peer.openChannel(2)
          yield* peer.expectPublish("inner", 1)
          yield* peer.expectPublish("outer", 2)
        })
      ))

    it.effect(`can throw, which fails only its own publish: ${name}`, () =>
      connected((peer) =>
        Effect.gen(function*() {
          const publisher = yield* openPublisher(peer)
          const [message, route] = make(() => {
            throw new Error("mine")
          })
          const outer = yield* exitOf(yield* fork(publisher.publish(message, route)))
          assert.include(String(outer), "mine")
          const next = yield* fork(publisher.publish(AmqpMessage.text("next"), toQueue))
          yield* peer.expectPublish("next", 1)
          yield* peer.send(1, ack(1, true))
          yield* resultOf(next)
        })
      ))
  }

  it.effect("can publish a message that is too large for one turn", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const large = (letter: string) => AmqpMessage.text(letter.repeat(600_000))
        const [inner, outer] = [large("i"), large("o")]
        const headers = {
          get k() {
            return act(), 1
          }
        }
        const act = once(publishNow(publisher, inner))
        const published = yield* fork(publisher.publish(AmqpMessage.make(outer.body, { headers }), toQueue))
        for (let turn = 0; turn < 10; turn++) yield* rest
        yield* peer.expectPublish("i".repeat(600_000), 1)
        yield* peer.expectPublish("o".repeat(600_000), 1)
        yield* peer.send(1, ack(2, true))
        yield* resultOf(published)
      })
    ))

  it.effect("does not include members that a body's class overrides: only its bytes are read", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        class Overriding extends Uint8Array {
          override get length(): number {
            throw new Error("mine")
          }
          override subarray(): Uint8Array<ArrayBuffer> {
            throw new Error("mine")
          }
        }
        yield* fork(
          publisher.publish(AmqpMessage.make(new Overriding(Array.from("outer", (c) => c.charCodeAt(0)))), toQueue)
        )
        yield* peer.expectPublish("outer", 1)
      })
    ))

  it.effect("can acknowledge a delivery", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const consumer = Stream.runForEach(AmqpConsumer.stream("q"), (delivery) => {
          const headers = {
            get k() {
              return Effect.runSync(delivery.ack)
            }
          }
          return publisher.publish(AmqpMessage.text("outer", { headers }), toQueue)
        })
        const { consumerTag } = yield* openConsumer(peer, consumer, 2)
        yield* peer.push(deliverBytes(2, consumerTag, 1, "m"))
        const { properties } = yield* peer.expectPublish("outer", 1)
        assert.deepStrictEqual(properties.headers, { k: true })
        assert.strictEqual((yield* peer.expect("basic.ack", 2)).deliveryTag, 1)
      })
    ))

  it.effect("can publish while a queue's arguments are encoded", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const publisher = yield* openPublisher(peer)
        const act = once(publishNow(publisher, AmqpMessage.text("inner")))
        const nested = {
          get k() {
            return act(), 1
          }
        }
        yield* fork(AmqpChannel.run(AmqpQueue.declare(AmqpQueue.classic("q", { arguments: { nested } }))))
        yield* peer.openChannel(2)
        yield* peer.expectPublish("inner", 1)
        const { arguments: table } = yield* peer.expect("queue.declare", 2)
        assert.deepStrictEqual(table.nested, { k: 1 })
      })
    ))

  it.effect("that throws while a queue's arguments are encoded fails only that declaration", () =>
    connected((peer) =>
      Effect.gen(function*() {
        const nested = {
          get k(): number {
            throw new Error("mine")
          }
        }
        const failing = yield* fork(
          AmqpChannel.run(AmqpQueue.declare(AmqpQueue.classic("q", { arguments: { nested } })))
        )
        yield* peer.openChannel(1)
        yield* peer.closeChannel(1)
        assert.include(String(yield* exitOf(failing)), "mine")
        const declared = yield* fork(declare("other"))
        yield* serveDeclare(peer, "other")
        yield* resultOf(declared)
      })
    ))
})
