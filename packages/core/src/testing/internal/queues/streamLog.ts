/** The messages of a stream by offset, and its retention. */
import type { FieldTable } from "../../../protocol/fieldTable.ts"
import type { Message } from "../common/message.ts"
import { integerOf, intervalOf, textOf } from "./argumentValues.ts"

/** As in RabbitMQ, retention drops whole segments, the oldest first, and only when a new one begins. */
interface Segment {
  /** The offset of its first message. */
  readonly start: number
  bytes: number
  /** When its last message was appended. */
  newest: number
}

interface Appended {
  readonly message: Message
  readonly time: number
}

export class StreamLog {
  private readonly maxBytes: number
  private readonly maxAge: number
  private readonly maxSegmentBytes: number
  private items: Array<Appended> = []
  private segments: Array<Segment> = []
  private next = 0

  constructor(table: FieldTable) {
    this.maxBytes = integerOf(table, "x-max-length-bytes") ?? Infinity
    this.maxAge = intervalOf(textOf(table, "x-max-age") ?? "") ?? Infinity
    this.maxSegmentBytes = integerOf(table, "x-stream-max-segment-size-bytes") ?? 500_000_000
  }

  get length(): number {
    return this.items.length
  }

  /** The number of messages that were appended before a time, in milliseconds since 1970. */
  lengthAt(time: number): number {
    const index = this.items.findLastIndex((item) => item.time < time)
    return index + 1
  }

  /** The offset of the first message that is kept. */
  get start(): number {
    return this.next - this.items.length
  }

  /** The offset of the message that is appended next. */
  get end(): number {
    return this.next
  }

  append(message: Message, time: number): void {
    let segment = this.segments.at(-1)
    if (segment === undefined || segment.bytes >= this.maxSegmentBytes) {
      segment = { start: this.next, bytes: 0, newest: time }
      this.segments.push(segment)
      this.retain(time)
    }
    this.items.push({ message, time })
    this.next++
    segment.bytes += message.body.length
    segment.newest = time
  }

  at(offset: number): Message | undefined {
    return this.items[offset - this.start]?.message
  }

  /** The offset of the first message since a time, in milliseconds since 1970; `end` if all messages are older. */
  since(time: number): number {
    const index = this.items.findIndex((item) => item.time >= time)
    return index === -1 ? this.next : this.start + index
  }

  toArray(): ReadonlyArray<Message> {
    return this.items.map(({ message }) => message)
  }

  clear(): void {
    this.items = []
    this.segments = []
  }

  private retain(now: number): void {
    let bytes = this.segments.reduce((sum, segment) => sum + segment.bytes, 0)
    let kept = 0
    while (kept < this.segments.length - 1) {
      const { bytes: size, newest } = this.segments[kept]
      if (bytes <= this.maxBytes && newest >= now - this.maxAge) break
      bytes -= size
      kept++
    }
    this.segments = this.segments.slice(kept)
    this.items = this.items.slice(this.segments[0].start - this.start)
  }
}
