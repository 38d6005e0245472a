/** Changes to the headers of a message, and the routing keys in them. */
import { changeTable } from "../../../protocol/fieldTable.ts"
import type { FieldValue } from "../../../protocol/fieldTable.ts"
import type { Message } from "./message.ts"

/** A copy with these headers changed; a header whose value is `undefined` is removed. */
export const withHeaders = (
  message: Message,
  changes: Readonly<Record<string, FieldValue | undefined>>
): Message => ({
  ...message,
  properties: { ...message.properties, headers: changeTable(message.properties.headers, changes) }
})

/** The message with the routing keys of its headers `CC` and `BCC`, and without `BCC` (RabbitMQ, "Sender-selected Distribution"). */
export const addressed = (message: Message): Message => {
  const { headers } = message.properties
  if (headers === undefined || (headers["CC"] === undefined && headers["BCC"] === undefined)) return message
  const blindCopies = texts(headers["BCC"])
  const copies = [...texts(headers["CC"]), ...blindCopies]
  return { ...(headers["BCC"] === undefined ? message : withHeaders(message, { BCC: undefined })), copies, blindCopies }
}

/** The strings in a list; none if it is not a list. */
export const texts = (value: FieldValue | undefined): ReadonlyArray<string> =>
  Array.isArray(value) ? value.filter((each): each is string => typeof each === "string") : []
