/**
 * The brands of descriptions. A description is known by its brand: other objects may have the same properties, and another copy of
 * the package in the same process has other classes.
 */
import * as Predicate from "effect/Predicate"
import type { AmqpExchange } from "../../AmqpExchange.ts"
import type { AmqpQueue } from "../../AmqpQueue.ts"

export const ExchangeTypeId = "~@effect-amqp/core/AmqpExchange"

export const QueueTypeId = "~@effect-amqp/core/AmqpQueue"

export const isExchange = (value: unknown): value is AmqpExchange => Predicate.hasProperty(value, ExchangeTypeId)

export const isQueue = (value: unknown): value is AmqpQueue => Predicate.hasProperty(value, QueueTypeId)

/** For errors: what an exchange can be given as. */
export const exchangeDescription = "a description made by AmqpExchange.direct, fanout, topic, headers or make"

/** For errors: what a queue can be given as. */
export const queueDescription = "a description made by AmqpQueue.classic, quorum, stream or serverNamed"
