/**
 * What the tests of consumers share.
 */
import type * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import type * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as Stream from "effect/Stream"

/** The bodies of {@link numbered}. */
export const texts = (count: number, first = 0): Array<string> =>
  Array.from({ length: count }, (_, index) => String(first + index))

/** Messages whose bodies are consecutive numbers. */
export const numbered = (count: number, first = 0): ReadonlyArray<AmqpMessage.AmqpMessage> =>
  texts(count, first).map((text) => AmqpMessage.text(text))

/** The bodies of the next messages of a consumer, which are acknowledged. */
export const next = ({ stream }: AmqpConsumer.AmqpConsumer<AmqpDelivery.AmqpDelivery>, count: number) =>
  Stream.take(Stream.tap(stream, (delivery) => delivery.ack), count).pipe(
    Stream.map(({ text }) => text),
    Stream.runCollect
  )
