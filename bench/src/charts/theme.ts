/**
 * Colours and type of the charts. The background is part of the picture, so that it can be read on a dark page too.
 */
import type { ClientName } from "../clients.ts"

export const background = "#ffffff"
export const text = "#212529"
export const mutedText = "#5c636a"
export const line = "#dee2e6"

export const font = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', sans-serif"

/** This client stands out, the peers are alike, the references have a colour of their own. */
export const colours: Readonly<Record<ClientName, string>> = {
  "effect-amqp": "#e8590c",
  amqplib: "#364f6b",
  "rabbitmq-client": "#6c8ebf",
  cloudamqp: "#a5c0e4",
  librabbitmq: "#2f9e44",
  "amqp091-go": "#8ccf7e",
  effect: "#b197fc",
  node: "#ced4da"
}
