/**
 * The errors of the protocol layer: invalid bytes from a peer, invalid values from a caller, and a peer that speaks
 * another version. Messages describe sizes, numbers and names; they never quote payload bytes.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"

/**
 * The peer sent bytes that AMQP 0-9-1 does not allow. Thrown by everything that decodes.
 *
 * **Details**
 *
 * `replyCode` is the code to close the connection with (section 1.3 of the specification): 501 frame-error, 502
 * syntax-error, 503 command-invalid, 504 channel-error, 505 unexpected-frame.
 *
 * @category errors
 * @since 0.1.0
 */
export class ProtocolError extends Data.TaggedError("ProtocolError")<{
  readonly replyCode: number
  readonly message: string
}> {}

/**
 * The server replied to the protocol header with its own: it speaks another version of AMQP and is
 * about to close the socket (section 4.2.2 of the specification).
 *
 * **Details**
 *
 * The four numbers are the bytes after `AMQP`, each from 0 to 255: 0, 0, 9, 1 would be AMQP 0-9-1.
 *
 * @category errors
 * @since 0.1.0
 */
export class ProtocolMismatch extends Data.TaggedError("ProtocolMismatch")<{
  readonly protocolId: number
  readonly major: number
  readonly minor: number
  readonly revision: number
}> {
  override readonly message =
    `The server speaks AMQP ${this.major}-${this.minor}-${this.revision} (protocol id ${this.protocolId}), not AMQP 0-9-1`
}

/**
 * A local value has no AMQP 0-9-1 encoding: a short string over 255 bytes, a number out of its range, a table value
 * without a field type. Thrown by everything that encodes, before any byte is added to the output.
 *
 * @category errors
 * @since 0.1.0
 */
export class EncodeError extends Data.TaggedError("EncodeError")<{ readonly message: string }> {}
