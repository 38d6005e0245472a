/**
 * What the operations of a channel fail with, where the cause is the channel itself or what is sent on it.
 */
import * as AmqpError from "../../AmqpError.ts"
import { EncodeError } from "../../protocol/ProtocolError.ts"

export const channelError = (reason: AmqpError.ChannelErrorReason): AmqpError.AmqpChannelError =>
  new AmqpError.AmqpChannelError({ reason })

/** The channel was closed by this program. One for all: capturing a stack for each costs more than the rest of a close. */
export const closedHere: AmqpError.AmqpChannelError = channelError(new AmqpError.ChannelClosed())

/** The loss of the connection, for what used a channel of it. */
export const lostChannel = (cause: AmqpError.AmqpConnectionError): AmqpError.AmqpChannelError =>
  channelError(new AmqpError.ConnectionLost({ cause }))

/** What a step of a channel fails with: a value that cannot be encoded is an `InvalidArgument`. Throws again what is no failure of ours. */
export const failureOfStep = (thrown: unknown): AmqpError.AmqpChannelError => {
  // User code that ran while a value was read has closed the channel.
  if (thrown instanceof AmqpError.AmqpChannelError) return thrown
  if (!(thrown instanceof EncodeError)) throw thrown
  return channelError(new AmqpError.InvalidArgument({ description: thrown.message }))
}
