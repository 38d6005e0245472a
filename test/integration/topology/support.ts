/**
 * What the tests of exchanges, queues and topologies share.
 */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"

/** Publishes a message whose body is its routing key, unless given, and waits for the confirm. */
export const publish = (exchange: string, routingKey: string, text = routingKey, properties?: AmqpMessage.Properties) =>
  AmqpChannel.confirmed(
    AmqpChannel.publish(AmqpMessage.text(text, properties), { exchange, routingKey })
  )
