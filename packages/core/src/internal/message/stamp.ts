/** Adds an id and a timestamp to messages without them. */
import type * as Clock from "effect/Clock"
import type * as Random from "effect/Random"
import type { AmqpMessage, StampOptions } from "../../AmqpMessage.ts"
import * as Validation from "../options/validation.ts"
import { Message } from "./message.ts"
import { uuidV7 } from "./uuid.ts"

/** Throws an `InvalidArgument` for unknown options, and for values other than true and false. */
export const check = (options: StampOptions | undefined): void => {
  if (options === undefined) return
  const { messageId, timestamp } = Validation.knownKeys(options, ["messageId", "timestamp"], "stamp")
  Validation.flag("stamp: messageId", messageId)
  Validation.flag("stamp: timestamp", timestamp)
}

/** The message with its missing properties, or the same message if it lacks none. */
export const stamp = (
  message: AmqpMessage,
  options: StampOptions,
  clock: Clock.Clock,
  random: Random.Random
): AmqpMessage => {
  const { properties } = message
  const needsId = options.messageId === true && properties.messageId === undefined
  const needsTime = options.timestamp === true && properties.timestamp === undefined &&
    properties.raw?.timestamp === undefined
  if (!needsId && !needsTime) return message
  const now = clock.currentTimeMillisUnsafe()
  return new Message(message.body, {
    ...properties,
    ...(needsId && { messageId: uuidV7(now, random) }),
    ...(needsTime && { timestamp: new Date(now) })
  })
}
