/**
 * What the broker is told about this client in connection.start-ok.
 */
import type { FieldTable, FieldValue } from "../../protocol/fieldTable.ts"

/** What this client can do beyond AMQP 0-9-1, by RabbitMQ's names; a broker leaves out what a client does not know. */
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
