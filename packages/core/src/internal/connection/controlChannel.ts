/**
 * Channel 0: sends and receives the methods of the connection, including those that contain a password or token.
 */
import * as Effect from "effect/Effect"
import { InvalidArgument } from "../../AmqpError.ts"
import type { AmqpConnectionError } from "../../AmqpError.ts"
import { protocolHeader, ReplyCode } from "../../protocol/constants.ts"
import { hasContent } from "../../protocol/methods.generated.ts"
import type { Method } from "../../protocol/methods.generated.ts"
import { EncodeError, ProtocolError } from "../../protocol/ProtocolError.ts"
import { checkFrameSize } from "../wire/frameSize.ts"
import { Mailbox } from "../wire/mailbox.ts"
import type { Outbound } from "../wire/outbound.ts"
import { connectionError } from "./connectionErrors.ts"
import { SecretFrames } from "./secretFrames.ts"

/** How many methods may wait: those of one socket read, or those that arrive while a step of the handshake runs. */
const maxWaiting = 256

export class ControlChannel {
  readonly mailbox = new Mailbox<Method, AmqpConnectionError>()
  private readonly outbound: Outbound
  private readonly secretFrames = new SecretFrames()

  constructor(outbound: Outbound) {
    this.outbound = outbound
  }

  // ---------------------------------------------------------------------------
  // receiving
  // ---------------------------------------------------------------------------

  /**
   * Returns whether `handleReceived` has to follow. Throws a `ProtocolError` for a method that may not be sent on channel 0, or if too many
   * methods wait.
   */
  receive(method: Method): boolean {
    if (hasContent(method._tag)) {
      const message = `${method._tag} arrived on channel 0`
      throw new ProtocolError({ replyCode: ReplyCode.channelError, message })
    }
    if (this.mailbox.size >= maxWaiting) {
      const message = `more than ${maxWaiting} unexpected methods arrived on channel 0`
      throw new ProtocolError({ replyCode: ReplyCode.resourceError, message })
    }
    this.mailbox.offer(method)
    return true
  }

  /** Resumes the fiber that waits for a method. */
  handleReceived(): void {
    this.mailbox.flush()
  }

  /** The loop of the fiber of channel 0, when the connection is open. */
  run(handle: (method: Method) => void): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      while (true) {
        for (const method of yield* this.mailbox.takeAll) handle(method)
      }
    }).pipe(Effect.catch(() => Effect.void))
  }

  // ---------------------------------------------------------------------------
  // sending
  // ---------------------------------------------------------------------------

  sendProtocolHeader(): void {
    this.outbound.writer.bytes(protocolHeader)
    this.outbound.commit()
  }

  /** Sends a method in a frame of at most this size; 0 means any size. Fails with an `InvalidArgument` if it does not fit. */
  send(method: Method, frameMax = this.outbound.frameMax): Effect.Effect<void, AmqpConnectionError> {
    return this.attempt(() => this.outbound.sendMethod(0, method, frameMax))
  }

  /** Like `send`, for a method that contains a secret. `secretReplied` must be called when the broker has replied to it. */
  sendSecret(method: Method, frameMax = this.outbound.frameMax): Effect.Effect<void, AmqpConnectionError> {
    return this.attempt(() => {
      const frame = this.secretFrames.encode(method)
      checkFrameSize(method._tag, frame.length, frameMax)
      this.secretFrames.sent(frame)
      this.outbound.writer.appendReference(frame)
      this.outbound.commit()
    })
  }

  /** The broker has replied to a method that contained a secret. */
  secretReplied(): void {
    this.secretFrames.replied()
  }

  /** Sends the last method of the session. If the socket has room, it is written in this synchronous step, and nothing after it. */
  sendLast(method: Method): void {
    this.outbound.writeLast(method)
  }

  private attempt(send: () => void): Effect.Effect<void, AmqpConnectionError> {
    return Effect.suspend(() => {
      try {
        send()
        return Effect.void
      } catch (error) {
        if (!(error instanceof EncodeError)) throw error
        return Effect.fail(connectionError(new InvalidArgument({ description: error.message })))
      }
    })
  }

  // ---------------------------------------------------------------------------
  // closing
  // ---------------------------------------------------------------------------

  /** Overwrites the secrets that were sent, when the session has ended. */
  wipe(): void {
    this.secretFrames.wipe()
  }

  /** The session has ended, so no method arrives any longer. */
  fail(error: AmqpConnectionError): void {
    this.mailbox.fail(error)
  }
}
