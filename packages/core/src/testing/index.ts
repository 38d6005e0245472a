/**
 * What tests of programs that use AMQP need.
 *
 * @since 0.1.0
 */
export * as AmqpBroker from "./AmqpBroker.ts"
