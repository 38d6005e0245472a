/**
 * A native AMQP 0-9-1 client for Effect.
 *
 * @since 0.1.0
 */

/**
 * Channel programs: conversations on one channel, run by one fiber.
 *
 * @since 0.1.0
 */
export * as AmqpChannel from "./AmqpChannel.ts"

/**
 * Compression of bodies: gzip and deflate.
 *
 * @since 0.1.0
 */
export * as AmqpCompression from "./AmqpCompression.ts"

/**
 * A connection to a broker, as a scoped resource and a Layer.
 *
 * @since 0.1.0
 */
export * as AmqpConnection from "./AmqpConnection.ts"

/**
 * Consumers: messages that the broker delivers from queues.
 *
 * @since 0.1.0
 */
export * as AmqpConsumer from "./AmqpConsumer.ts"

/**
 * Messages that a consumer receives, and how they are settled.
 *
 * @since 0.1.0
 */
export * as AmqpDelivery from "./AmqpDelivery.ts"

/**
 * Schemas of whole messages: their properties, headers and body.
 *
 * @since 0.1.0
 */
export * as AmqpEnvelope from "./AmqpEnvelope.ts"

/**
 * The errors of this package.
 *
 * @since 0.1.0
 */
export * as AmqpError from "./AmqpError.ts"

/**
 * Exchanges: descriptions of exchanges, and operations on them as steps of channel programs.
 *
 * @since 0.1.0
 */
export * as AmqpExchange from "./AmqpExchange.ts"

/**
 * Failure policies: what happens to a message whose handler failed.
 *
 * @since 0.1.0
 */
export * as AmqpFailurePolicy from "./AmqpFailurePolicy.ts"

/**
 * Messages: a body and its properties.
 *
 * @since 0.1.0
 */
export * as AmqpMessage from "./AmqpMessage.ts"

/**
 * Publishing with confirms.
 *
 * @since 0.1.0
 */
export * as AmqpPublisher from "./AmqpPublisher.ts"

/**
 * Queues: descriptions of queues, and operations on them as steps of channel programs.
 *
 * @since 0.1.0
 */
export * as AmqpQueue from "./AmqpQueue.ts"

/**
 * Request and reply: a client that waits for the reply to its message, and a server that answers.
 *
 * @since 0.1.0
 */
export * as AmqpRpc from "./AmqpRpc.ts"

/**
 * Logging in: credentials, and the SASL mechanisms that present them to the broker.
 *
 * @since 0.1.0
 */
export * as AmqpSasl from "./AmqpSasl.ts"

/**
 * Telemetry: spans, trace contexts in messages, and durations.
 *
 * @since 0.1.0
 */
export * as AmqpTelemetry from "./AmqpTelemetry.ts"

/**
 * Topologies: exchanges and queues that belong together, as data.
 *
 * @since 0.1.0
 */
export * as AmqpTopology from "./AmqpTopology.ts"

/**
 * What a `Socket` can offer to a connection beside its reader and its writer: to read and write without fibers.
 *
 * @since 0.1.0
 */
export * as AmqpTransport from "./AmqpTransport.ts"

/**
 * AMQP URIs: the address of a broker and how to connect to it.
 *
 * @since 0.1.0
 */
export * as AmqpUri from "./AmqpUri.ts"
