/**
 * AMQP 0-9-1 connections on Node.js.
 *
 * @since 0.1.0
 */

/**
 * AMQP connections over TCP and TLS on Node.js, from a URL.
 *
 * @since 0.1.0
 */
export * as NodeAmqp from "./NodeAmqp.ts"

/**
 * The embedded broker of `@effect-amqp/core/testing`, for programs in other processes.
 *
 * @since 0.1.0
 */
export * as NodeAmqpBroker from "./NodeAmqpBroker.ts"

/**
 * One-shot operations for scripts: each connects to the broker of a URL, performs one operation and closes the
 * connection.
 *
 * @since 0.1.0
 */
export * as NodeAmqpOneShot from "./NodeAmqpOneShot.ts"
