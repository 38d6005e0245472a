/**
 * @since 0.1.0
 */

/**
 * AMQP connections over TCP and TLS on Node.js, from a URL.
 *
 * @since 0.1.0
 */
export * as NodeAmqp from "./NodeAmqp.ts"
