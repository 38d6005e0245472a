/**
 * Reads AMQP's primitive values from a range of bytes.
 *
 * Every read is checked against the end of the range, lengths before anything is allocated for them. Byte values are
 * views into the bytes read: each keeps its whole chunk alive while it is referenced.
 *
 * @since 0.1.0
 */
import { ReplyCode } from "./constants.ts"
import { ProtocolError } from "./ProtocolError.ts"
import { decodeUtf8 } from "./utf8.ts"

const empty = new Uint8Array(0)

// A byte order mark is part of the text, or a round trip would lose it.
const lenientDecoder = new TextDecoder("utf-8", { ignoreBOM: true })
const strictDecoder = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true })

// One scratch for all readers: a value is copied in and read within one synchronous call.
const scratch = new DataView(new ArrayBuffer(8))
const scratchBytes = new Uint8Array(scratch.buffer)

/** Slots of the string cache; a power of two. */
const cacheSlots = 512

/** Bytes of the longest string that is cached. */
const cacheLimit = 64

/** Up to this length building a string from character codes beats the fixed cost of `TextDecoder.decode`. */
const loopLimit = 64

const isAscii = (bytes: Uint8Array, start: number, end: number): boolean => {
  let all = 0
  for (let index = start; index < end; index++) all |= bytes[index]
  return all < 128
}

// An array for each length: filling one and spreading it takes half the time of concatenating characters, and the result
// is one flat string.
const codes = Array.from({ length: loopLimit + 1 }, (_, length) => new Array<number>(length).fill(0))

const fromAscii = (bytes: Uint8Array, start: number, end: number): string => {
  const length = end - start
  const units = codes[length]
  for (let index = 0; index < length; index++) units[index] = bytes[start + index]!
  return String.fromCharCode(...units)
}

/**
 * Reads AMQP's primitive values, big-endian, from a range of bytes.
 *
 * **Details**
 *
 * A read past the end throws a {@link ProtocolError} with code 502. Reuse one reader by resetting it: it caches the
 * last short strings that it read, as consumer tags, exchanges, routing keys and header names repeat.
 *
 * @category models
 * @since 0.1.0
 */
export class ByteReader {
  /** What is read. */
  bytes: Uint8Array = empty
  private position = 0
  private end = 0
  /** The cache is direct-mapped: a string replaces what was in its slot. */
  private readonly cachedStrings: Array<string> = Array.from({ length: cacheSlots }, () => "")
  /** Their bytes, slot by slot: comparing bytes with bytes is faster than with the characters of a string. */
  private readonly cachedBytes = new Uint8Array(cacheSlots * cacheLimit)
  private readonly cachedLengths = new Uint8Array(cacheSlots)

  /** Reads from `start` (inclusive) to `end` (exclusive) of `bytes` from now on. */
  reset(bytes: Uint8Array, start: number = 0, end: number = bytes.length): void {
    this.bytes = bytes
    this.position = start
    this.end = end
  }

  /** How many bytes are left to read. */
  get remaining(): number {
    return this.end - this.position
  }

  /** Where the next byte is, in the bytes that are read. */
  get offset(): number {
    return this.position
  }

  /** Narrows the range to the next `length` bytes and returns the end to pass to `leave`. */
  enter(length: number): number {
    this.need(length)
    const outer = this.end
    this.end = this.position + length
    return outer
  }

  /** Ends what `enter` began. */
  leave(outer: number): void {
    this.end = outer
  }

  /** One byte, from 0 to 255. */
  octet(): number {
    if (this.position >= this.end) this.need(1)
    return this.bytes[this.position++]
  }

  /** Two bytes, from 0 to 65535. */
  short(): number {
    const { bytes, position } = this
    if (position + 2 > this.end) this.need(2)
    this.position = position + 2
    return bytes[position] << 8 | bytes[position + 1]
  }

  /** Four bytes, from 0 to 2^32 - 1. */
  long(): number {
    return this.int32() >>> 0
  }

  /** Eight bytes, from 0 to 2^64 - 1: a number up to 2^53 - 1, a bigint above. */
  longLong(): number | bigint {
    const high = this.int32() >>> 0
    const low = this.int32() >>> 0
    // The common case, in integer arithmetic.
    if (high === 0) return low
    return high < 0x200000 ? high * 4294967296 + low : BigInt(high) << 32n | BigInt(low)
  }

  /** One byte, from -128 to 127. */
  int8(): number {
    return this.octet() << 24 >> 24
  }

  /** Two bytes, from -32768 to 32767. */
  int16(): number {
    return this.short() << 16 >> 16
  }

  /** Four bytes, from -2^31 to 2^31 - 1. */
  int32(): number {
    const { bytes, position } = this
    if (position + 4 > this.end) this.need(4)
    this.position = position + 4
    return bytes[position] << 24 | bytes[position + 1] << 16 | bytes[position + 2] << 8 | bytes[position + 3]
  }

  /** Eight bytes, from -2^63 to 2^63 - 1: a number if it is a safe integer, otherwise a bigint. */
  int64(): number | bigint {
    const high = this.int32()
    const low = this.int32() >>> 0
    const value = high * 4294967296 + low
    return Number.isSafeInteger(value) ? value : BigInt(high) << 32n | BigInt(low)
  }

  /** Four bytes as an IEEE 754 single. */
  float(): number {
    this.copyToScratch(4)
    return scratch.getFloat32(0)
  }

  /** Eight bytes as an IEEE 754 double. */
  double(): number {
    this.copyToScratch(8)
    return scratch.getFloat64(0)
  }

  /**
   * Text of at most 255 bytes, after its length in one byte. Invalid UTF-8 is represented by surrogates (see
   * `utf8.ts`): an odd consumer tag or routing key of a peer must not end the connection, and is passed on unchanged.
   */
  shortString(): string {
    const length = this.octet()
    if (length === 0) return ""
    if (this.position + length > this.end) this.need(length)
    const bytes = this.bytes
    const start = this.position
    const end = start + length
    this.position = end
    if (length > cacheLimit) return decodeUtf8(this.view(start, end))
    // A sample of the bytes is enough: names differ in their length, their first or their last characters.
    let hash = Math.imul(length, 31) + bytes[start]
    hash = Math.imul(hash, 31) + bytes[start + (length >> 1)]
    hash = Math.imul(hash, 31) + bytes[end - 1]
    if (length > 2) hash = Math.imul(hash, 31) + bytes[end - 2] + bytes[end - 3] * 7
    const slot = (hash ^ hash >>> 9) & cacheSlots - 1
    const cached = this.cachedBytes
    const base = slot * cacheLimit
    if (this.cachedLengths[slot] === length) {
      let index = 0
      while (index < length && cached[base + index] === bytes[start + index]) index++
      if (index === length) return this.cachedStrings[slot]
    }
    const text = isAscii(bytes, start, end) ? fromAscii(bytes, start, end) : decodeUtf8(this.view(start, end))
    for (let index = 0; index < length; index++) cached[base + index] = bytes[start + index]!
    this.cachedLengths[slot] = length
    this.cachedStrings[slot] = text
    return text
  }

  /** Bytes after their length in four bytes, as a view. */
  longString(): Uint8Array {
    return this.take(this.long())
  }

  /** Text after its length in four bytes. Invalid UTF-8 is replaced with U+FFFD. */
  longText(): string {
    return this.text(false)
  }

  /** Text after its length in four bytes, or a view of the bytes if they are not UTF-8. */
  longTextOrBytes(): string | Uint8Array {
    const position = this.position
    try {
      return this.text(true)
    } catch (error) {
      if (error instanceof ProtocolError) throw error
      this.position = position
      return this.longString()
    }
  }

  /** The next `length` bytes, as a view. */
  take(length: number): Uint8Array {
    this.need(length)
    const start = this.position
    this.position = start + length
    return this.view(start, this.position)
  }

  /** Throws unless everything was read. */
  expectEnd(what: string): void {
    if (this.position !== this.end) {
      throw new ProtocolError({
        replyCode: ReplyCode.syntaxError,
        message: `${this.end - this.position} bytes are left over after ${what}`
      })
    }
  }

  private text(strict: boolean): string {
    const length = this.long()
    this.need(length)
    const start = this.position
    const end = start + length
    this.position = end
    return this.decode(start, end, strict ? strictDecoder : lenientDecoder)
  }

  private decode(start: number, end: number, decoder: TextDecoder): string {
    const bytes = this.bytes
    return end - start <= loopLimit && isAscii(bytes, start, end)
      ? fromAscii(bytes, start, end)
      : decoder.decode(this.view(start, end))
  }

  /** Always a plain `Uint8Array`, even if the bytes are of a subclass whose views behave differently. */
  private view(start: number, end: number): Uint8Array {
    // The first view of a small array makes a buffer outside the heap for it.
    if (start === end) return new Uint8Array(0)
    return new Uint8Array(this.bytes.buffer, this.bytes.byteOffset + start, end - start)
  }

  private copyToScratch(length: number): void {
    if (this.position + length > this.end) this.need(length)
    for (let index = 0; index < length; index++) scratchBytes[index] = this.bytes[this.position + index]!
    this.position += length
  }

  private need(length: number): void {
    if (length > this.end - this.position) {
      throw new ProtocolError({
        replyCode: ReplyCode.syntaxError,
        message: `a value of ${length} bytes is announced where only ${this.end - this.position} are left`
      })
    }
  }
}
