/**
 * A settlement can't be forgotten, and a delivery that is already settled can't be settled.
 */
import { AmqpChannel, AmqpConsumer, AmqpDelivery, AmqpQueue } from "@effect-amqp/core"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"

declare const isValid: (text: string) => boolean

// -----------------------------------------------------------------------------
// serve
// -----------------------------------------------------------------------------

AmqpConsumer.serve("orders", ({ text }) => Effect.as(Effect.log(text), AmqpDelivery.ack))
// @ts-expect-error the handler returns no settlement
AmqpConsumer.serve("orders", ({ text }) => Effect.log(text))
// @ts-expect-error a handler that does nothing returns no settlement
AmqpConsumer.serve("orders", () => Effect.void)
// @ts-expect-error a handler must not return anything else
AmqpConsumer.serve("orders", ({ text }) => Effect.succeed(text))

AmqpConsumer.serve("orders", (delivery) =>
  Effect.gen(function*() {
    if (!isValid(delivery.text)) return AmqpDelivery.reject
    yield* Effect.log(delivery.text)
    return AmqpDelivery.ack
  }))
AmqpConsumer.serve("orders", (delivery) =>
  // @ts-expect-error one path through the handler returns no settlement
  Effect.gen(function*() {
    if (isValid(delivery.text)) return AmqpDelivery.ack
    yield* Effect.log("not valid")
  }))

// @ts-expect-error `ack` of the delivery returns a boolean, which is not a settlement
AmqpConsumer.serve("orders", ({ ack }) => ack)
// @ts-expect-error a handler of serve can't be a channel program
AmqpConsumer.serve("orders", () => AmqpChannel.succeed(AmqpDelivery.ack))

// A handler that always fails needs no settlement: `onFailure` decides.
AmqpConsumer.serve("orders", () => Effect.fail("no"), { onFailure: () => Effect.succeed(AmqpDelivery.reject) })
// @ts-expect-error onFailure must return a decision
AmqpConsumer.serve("orders", () => Effect.fail("no"), { onFailure: () => Effect.void })
AmqpConsumer.serve("orders", () => Effect.fail("no"), {
  // @ts-expect-error onFailure can't fail
  onFailure: () => Effect.fail("again")
})

// -----------------------------------------------------------------------------
// get
// -----------------------------------------------------------------------------

AmqpQueue.get("orders", ({ text }) => Effect.as(Effect.log(text), AmqpDelivery.ack))
// @ts-expect-error the handler returns no settlement
AmqpQueue.get("orders", ({ text }) => Effect.log(text))
// @ts-expect-error a handler that does nothing returns no settlement
AmqpQueue.get("orders", () => Effect.void)
// @ts-expect-error a handler must not return anything else
AmqpQueue.get("orders", ({ text }) => Effect.succeed(text))

AmqpQueue.get("orders", () => AmqpChannel.succeed(AmqpDelivery.ack))
// @ts-expect-error a program must not yield anything else
AmqpQueue.get("orders", () => AmqpQueue.purge("other"))

AmqpQueue.get("orders", () => AmqpChannel.as(AmqpQueue.purge("other"), AmqpDelivery.ack))
AmqpQueue.get("orders", ({ text }) =>
  // @ts-expect-error one path through the handler returns no settlement
  AmqpChannel.gen(function*() {
    if (isValid(text)) return AmqpDelivery.ack
    yield* AmqpQueue.purge("other")
  }))

// -----------------------------------------------------------------------------
// streams
// -----------------------------------------------------------------------------

AmqpConsumer.stream("orders").pipe(Stream.runForEach((delivery) => delivery.ack))
AmqpConsumer.stream("orders").pipe(Stream.runForEach((delivery) => delivery.nack({ requeue: false })))
AmqpConsumer.stream("orders").pipe(Stream.runForEach((delivery) => delivery.reject()))

// @ts-expect-error a delivery with autoAck has no ack
AmqpConsumer.stream("orders", { autoAck: true }).pipe(Stream.runForEach((delivery) => delivery.ack))
// @ts-expect-error a delivery with autoAck has no nack
AmqpConsumer.stream("orders", { autoAck: true }).pipe(Stream.runForEach((delivery) => delivery.nack()))
// @ts-expect-error a delivery with autoAck has no reject
AmqpConsumer.stream("orders", { autoAck: true }).pipe(Stream.runForEach((delivery) => delivery.reject()))
// @ts-expect-error a consumer with autoAck has no prefetch
AmqpConsumer.stream("orders", { autoAck: true, prefetch: 10 })
// @ts-expect-error autoAck must be known to be true or false
AmqpConsumer.stream("orders", { autoAck: Math.random() > 0.5 })

AmqpQueue.getAutoAck("orders").pipe(AmqpChannel.map(Option.map(({ text }) => text)))
// @ts-expect-error a message of getAutoAck has no ack
AmqpQueue.getAutoAck("orders").pipe(AmqpChannel.map(Option.map(({ ack }) => ack)))

// @ts-expect-error a delivery of a Stream is settled by its own `ack`, not by a settlement
AmqpConsumer.stream("orders").pipe(Stream.runForEach(() => AmqpDelivery.ack))
// @ts-expect-error a settlement is not an Effect
Effect.runSync(AmqpDelivery.ack)
