/**
 * Limits the bytes in the inbox of a consumer without acknowledgements or without a prefetch, to which the broker sends messages as fast as
 * it can: while the inbox is above the limit, the connection does not read.
 */
import type { BufferedMessages, ReadGate } from "../wire/readGate.ts"

const maxBytes = 16 * 1024 * 1024

export class InboxLimit {
  private readonly readGate: ReadGate
  private readonly inbox: BufferedMessages
  private bytes = 0

  constructor(readGate: ReadGate, inbox: BufferedMessages) {
    this.readGate = readGate
    this.inbox = inbox
  }

  /** A message was put into the inbox. */
  add(bytes: number): void {
    const before = this.bytes
    this.bytes += bytes
    if (before <= maxBytes && this.bytes > maxBytes) this.readGate.close(this.inbox)
  }

  /** Messages were taken from the inbox. `Infinity` means all. */
  remove(bytes: number): void {
    if (this.bytes === 0) return
    const before = this.bytes
    this.bytes = Math.max(0, before - bytes)
    if (before > maxBytes && this.bytes <= maxBytes) this.release()
  }

  /** The inbox no longer keeps the connection from reading. */
  release(): void {
    this.readGate.release(this.inbox)
  }
}
