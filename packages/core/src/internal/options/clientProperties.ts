/** The client properties that connection.start-ok sends. */
import type { FieldTable, FieldValue } from "../../protocol/fieldTable.ts"

/**
 * This client's capabilities beyond AMQP 0-9-1, by RabbitMQ's names. Brokers do not use what a client does not
 * announce.
 */
const capabilities: FieldTable = {
  publisher_confirms: true,
  exchange_exchange_bindings: true,
  "basic.nack": true,
  consumer_cancel_notify: true,
  "connection.blocked": true,
  authentication_failure_close: true
}

export const isTable = (value: FieldValue | undefined): value is FieldTable =>
  typeof value === "object" && value !== null && !Array.isArray(value)

export const clientPropertiesOf = (connectionName: string | undefined, given: FieldTable = {}): FieldTable => ({
  product: "effect-amqp",
  platform: "Effect",
  ...(connectionName === undefined ? {} : { connection_name: connectionName }),
  ...given,
  capabilities: isTable(given.capabilities) ? { ...capabilities, ...given.capabilities } : capabilities
})
