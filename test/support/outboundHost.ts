import type { OutboundHost } from "@effect-amqp/core/internal/wire/outbound"

/** The host of an outbound buffer that is used without a session. */
export const outboundHost: OutboundHost = {
  roomAwaited: () => {},
  bodyDetached: () => {},
  inNextTurn: (step) => void setImmediate(step),
  failed: (error) => {
    throw error
  }
}
