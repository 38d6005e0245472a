/**
 * Tools to test programs that use AMQP.
 *
 * @since 0.1.0
 */
export * as AmqpBroker from "./AmqpBroker.ts"
