/**
 * Limits the bytes in the inbox of a consumer without acknowledgements or without a prefetch, to which the broker sends messages as fast as
 * it can: while the inbox is above the limit, the connection does not read.
 *
 * Messages without acknowledgements stay in the inbox when their session has ended, so the limit belongs to the consumer, and applies to the
 * session that the consumer uses.
 */
import type { BufferedMessages, ReadGate } from "../wire/readGate.ts"

const maxBytes = 16 * 1024 * 1024

export class InboxLimit {
  private readonly inbox: BufferedMessages
  private readGate: ReadGate | undefined
  private bytes = 0

  constructor(inbox: BufferedMessages) {
    this.inbox = inbox
  }

  /** From now on the limit applies to this session. */
  attach(readGate: ReadGate): void {
    this.readGate = readGate
    if (this.bytes > maxBytes) readGate.close(this.inbox)
  }

  /** A message was put into the inbox. */
  add(bytes: number): void {
    const before = this.bytes
    this.bytes += bytes
    if (before <= maxBytes && this.bytes > maxBytes) this.readGate?.close(this.inbox)
  }

  /** Messages were taken from the inbox. `Infinity` means all. */
  remove(bytes: number): void {
    if (this.bytes === 0) return
    const before = this.bytes
    this.bytes = Math.max(0, before - bytes)
    if (before > maxBytes && this.bytes <= maxBytes) this.readGate?.release(this.inbox)
  }

  /** The session does not wait for the inbox any longer. */
  detach(): void {
    this.readGate?.release(this.inbox)
    this.readGate = undefined
  }
}
