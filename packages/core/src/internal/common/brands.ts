/**
 * The brands of descriptions, by which they are recognized: other objects may have the same properties, and another
 * copy of the package in the process has other classes.
 */
import * as Predicate from "effect/Predicate"
import type { AmqpExchange } from "../../AmqpExchange.ts"
import type { AmqpQueue } from "../../AmqpQueue.ts"

export const ExchangeTypeId = "~@effect-amqp/core/AmqpExchange"

export const QueueTypeId = "~@effect-amqp/core/AmqpQueue"

export const isExchange = (value: unknown): value is AmqpExchange => Predicate.hasProperty(value, ExchangeTypeId)

export const isQueue = (value: unknown): value is AmqpQueue => Predicate.hasProperty(value, QueueTypeId)

/** What an exchange can be given as, for errors. */
export const exchangeDescription = "a description made by AmqpExchange.direct, fanout, topic, headers or make"

/** What a queue can be given as, for errors. */
export const queueDescription = "a description made by AmqpQueue.classic, quorum, stream or serverNamed"
