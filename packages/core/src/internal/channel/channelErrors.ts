/**
 * Errors of channel operations.
 */
import * as AmqpError from "../../AmqpError.ts"
import { ReplyCode } from "../../protocol/constants.ts"
import { EncodeError } from "../../protocol/ProtocolError.ts"

export const channelError = (reason: AmqpError.ChannelErrorReason): AmqpError.AmqpChannelError =>
  new AmqpError.AmqpChannelError({ reason })

/** The program closed the channel. One error for all channels: capturing a stack for each costs more than the rest of a close. */
export const closedHere: AmqpError.AmqpChannelError = channelError(new AmqpError.ChannelClosed())

/** The channel was lost with its connection. */
export const lostChannel = (cause: AmqpError.AmqpConnectionError): AmqpError.AmqpChannelError =>
  channelError(new AmqpError.ConnectionLost({ cause }))

/** The broker does not support an extension of AMQP 0-9-1. */
export const notSupported = (capability: string): AmqpError.AmqpChannelError =>
  channelError(new AmqpError.NotSupported({ capability }))

/** The body of a received message is larger than the connection's `maxBodySize`. `outcome` is what happened to the message. */
export const bodyTooLarge = (
  { bodySize }: { readonly bodySize: number },
  method: string,
  outcome: string
): AmqpError.AmqpChannelError =>
  channelError(
    new AmqpError.ContentTooLarge({
      replyCode: ReplyCode.contentTooLarge,
      replyText: `a message of ${bodySize} bytes is larger than the connection's maxBodySize. ${outcome}`,
      method
    })
  )

/**
 * The error of a step that threw: a value that cannot be encoded is an `InvalidArgument`. Rethrows other values that are not errors of a
 * channel, for example defects in user code.
 */
export const failureOfStep = (thrown: unknown): AmqpError.AmqpChannelError => {
  // User code that ran while a value was read has closed the channel.
  if (thrown instanceof AmqpError.AmqpChannelError) return thrown
  if (!(thrown instanceof EncodeError)) throw thrown
  return channelError(new AmqpError.InvalidArgument({ description: thrown.message }))
}
