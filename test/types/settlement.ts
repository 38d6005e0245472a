/**
 * A settlement can't be forgotten, and what is settled already can't be settled.
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
// @ts-expect-error the handler says nothing of the message
AmqpConsumer.serve("orders", ({ text }) => Effect.log(text))
// @ts-expect-error nor does one that does nothing
AmqpConsumer.serve("orders", () => Effect.void)
// @ts-expect-error nor one that returns something else
AmqpConsumer.serve("orders", ({ text }) => Effect.succeed(text))

AmqpConsumer.serve("orders", (delivery) =>
  Effect.gen(function*() {
    if (!isValid(delivery.text)) return AmqpDelivery.reject
    yield* Effect.log(delivery.text)
    return AmqpDelivery.ack
  }))
AmqpConsumer.serve("orders", (delivery) =>
  // @ts-expect-error one way through the handler forgets it
  Effect.gen(function*() {
    if (isValid(delivery.text)) return AmqpDelivery.ack
    yield* Effect.log("not valid")
  }))

// @ts-expect-error `ack` of the delivery answers whether it was sent: it is not the handler's decision
AmqpConsumer.serve("orders", ({ ack }) => ack)
// @ts-expect-error a handler runs outside of channel programs
AmqpConsumer.serve("orders", () => AmqpChannel.succeed(AmqpDelivery.ack))

// A handler that never ends well needs no settlement: what becomes of the message is up to `onFailure`.
AmqpConsumer.serve("orders", () => Effect.fail("no"), { onFailure: () => Effect.succeed(AmqpDelivery.reject) })
// @ts-expect-error which has to say it
AmqpConsumer.serve("orders", () => Effect.fail("no"), { onFailure: () => Effect.void })
AmqpConsumer.serve("orders", () => Effect.fail("no"), {
  // @ts-expect-error and can't fail itself
  onFailure: () => Effect.fail("again")
})

// -----------------------------------------------------------------------------
// get
// -----------------------------------------------------------------------------

AmqpQueue.get("orders", ({ text }) => Effect.as(Effect.log(text), AmqpDelivery.ack))
// @ts-expect-error the handler says nothing of the message
AmqpQueue.get("orders", ({ text }) => Effect.log(text))
// @ts-expect-error nor does one that does nothing
AmqpQueue.get("orders", () => Effect.void)
// @ts-expect-error nor one that returns something else
AmqpQueue.get("orders", ({ text }) => Effect.succeed(text))

AmqpQueue.get("orders", () => AmqpChannel.succeed(AmqpDelivery.ack))
// @ts-expect-error nor a program that yields something else
AmqpQueue.get("orders", () => AmqpQueue.purge("other"))

AmqpQueue.get("orders", () => AmqpChannel.as(AmqpQueue.purge("other"), AmqpDelivery.ack))
AmqpQueue.get("orders", ({ text }) =>
  // @ts-expect-error one way through the handler forgets it
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

// @ts-expect-error without acknowledgements there is nothing to acknowledge
AmqpConsumer.stream("orders", { autoAck: true }).pipe(Stream.runForEach((delivery) => delivery.ack))
// @ts-expect-error and nothing to give back
AmqpConsumer.stream("orders", { autoAck: true }).pipe(Stream.runForEach((delivery) => delivery.nack()))
// @ts-expect-error and nothing to refuse
AmqpConsumer.stream("orders", { autoAck: true }).pipe(Stream.runForEach((delivery) => delivery.reject()))
// @ts-expect-error and no limit to what is not acknowledged
AmqpConsumer.stream("orders", { autoAck: true, prefetch: 10 })
// @ts-expect-error which of the two it is has to be known
AmqpConsumer.stream("orders", { autoAck: Math.random() > 0.5 })

AmqpQueue.getAutoAck("orders").pipe(AmqpChannel.map(Option.map(({ text }) => text)))
// @ts-expect-error as for a single message
AmqpQueue.getAutoAck("orders").pipe(AmqpChannel.map(Option.map(({ ack }) => ack)))

// @ts-expect-error a settlement is what a handler returns; a stream's delivery is settled by its own `ack`
AmqpConsumer.stream("orders").pipe(Stream.runForEach(() => AmqpDelivery.ack))
// @ts-expect-error it is not an Effect that could be run
Effect.runSync(AmqpDelivery.ack)
