/**
 * Appends AMQP's primitive values to a growing output.
 *
 * Bytes go into a slab that is carved up front to back and never rewound below what was handed out, so chunks
 * from `take` stay valid. Bytes written since the last `commit` are provisional: `rollback`
 * discards them, so that an {@link EncodeError} in the middle of a message leaves nothing of that message behind.
 *
 * @since 0.1.0
 */
import { EncodeError } from "./ProtocolError.ts"
import { encodeUtf8, hasLoneSurrogate } from "./utf8.ts"

const encoder = new TextEncoder()
const empty = new Uint8Array(0)

// One scratch for all writers: a value is written and copied out within one synchronous call.
const scratch = new DataView(new ArrayBuffer(8))
const scratchBytes = new Uint8Array(scratch.buffer)

/** Up to this length a loop over characters beats the fixed cost of `TextEncoder.encodeInto`. */
const loopLimit = 64

const outOfRange = (name: string, value: unknown, range: string): never => {
  // Untyped callers may pass anything, and converting an object to a string may run its code or throw.
  const shown = typeof value === "number" || typeof value === "bigint"
    ? String(value)
    : `a value of type ${typeof value}`
  throw new EncodeError({ message: `${name}: ${shown} is not ${range}` })
}

/** The longest short string, in bytes. */
const shortLimit = 255

/** A slab beyond this size is released once it is truncated to nothing. */
const keptSlab = 1024 * 1024

/**
 * Writes AMQP's primitive values, big-endian, into slabs of memory.
 *
 * **Details**
 *
 * Each value method takes the name of the value for the message of its {@link EncodeError}.
 *
 * @category models
 * @since 0.1.0
 */
export class ByteWriter {
  private readonly slabSize: number
  private slab: Uint8Array = empty
  /** Where the next byte goes. */
  private position = 0
  /** Everything before is part of the output, everything from here to `position` is provisional. */
  private committed = 0
  /** Everything before was handed out or is in `chunks`. */
  private start = 0
  private chunks: Array<Uint8Array> = []
  /** The size of each chunk when it was written: the buffer of a reference may be transferred. */
  private sizes: Array<number> = []
  private chunkBytes = 0

  /** `slabSize` is in bytes; the first slab is allocated when the first value is written. */
  constructor(slabSize: number = 65536) {
    this.slabSize = slabSize
  }

  /** An integer from 0 to 255, as one byte. */
  octet(value: number, name: string = "octet"): void {
    if ((value & 0xff) !== value) outOfRange(name, value, "an integer from 0 to 255")
    if (this.position === this.slab.length) this.grow(1)
    this.slab[this.position++] = value
  }

  /** An integer from 0 to 65535, as two bytes. */
  short(value: number, name: string = "short"): void {
    if ((value & 0xffff) !== value) outOfRange(name, value, "an integer from 0 to 65535")
    if (this.position + 2 > this.slab.length) this.grow(2)
    const { position, slab } = this
    slab[position] = value >>> 8
    slab[position + 1] = value
    this.position = position + 2
  }

  /** An integer from 0 to 2^32 - 1, as four bytes. */
  long(value: number, name: string = "long"): void {
    if ((value >>> 0) !== value) outOfRange(name, value, "an integer from 0 to 4294967295")
    this.int32(value)
  }

  /** An integer from 0 to 2^64 - 1, as eight bytes; a number must be a safe integer, larger values are bigints. */
  longLong(value: number | bigint, name: string = "longlong"): void {
    if (typeof value === "bigint") {
      if (BigInt.asUintN(64, value) !== value) outOfRange(name, value, "from 0 to 2^64 - 1")
      this.int32(Number(value >> 32n))
      this.int32(Number(value & 0xffffffffn))
    } else if ((value >>> 0) === value) {
      this.int32(0)
      this.int32(value)
    } else {
      if (!Number.isSafeInteger(value) || value < 0) {
        outOfRange(name, value, "an integer from 0 to 2^53 - 1 (a larger one must be a bigint)")
      }
      this.int32(Math.floor(value / 4294967296))
      this.int32(value)
    }
  }

  /** An integer from -128 to 127, as one byte. */
  int8(value: number, name: string = "int8"): void {
    if ((value << 24 >> 24) !== value) outOfRange(name, value, "an integer from -128 to 127")
    this.octet(value & 0xff)
  }

  /** An integer from -32768 to 32767, as two bytes. */
  int16(value: number, name: string = "int16"): void {
    if ((value << 16 >> 16) !== value) outOfRange(name, value, "an integer from -32768 to 32767")
    this.short(value & 0xffff)
  }

  /** An integer from -2^31 to 2^31 - 1, as four bytes. */
  signedLong(value: number, name: string = "int32"): void {
    if ((value | 0) !== value) outOfRange(name, value, "an integer from -2147483648 to 2147483647")
    this.int32(value)
  }

  /** An integer from -2^63 to 2^63 - 1, as eight bytes; a number must be a safe integer, larger values are bigints. */
  signedLongLong(value: number | bigint, name: string = "int64"): void {
    if (typeof value === "bigint") {
      if (BigInt.asIntN(64, value) !== value) outOfRange(name, value, "from -2^63 to 2^63 - 1")
      this.int32(Number(value >> 32n))
      this.int32(Number(value & 0xffffffffn))
    } else {
      if (!Number.isSafeInteger(value)) {
        outOfRange(name, value, "an integer from -2^53 + 1 to 2^53 - 1 (a larger one must be a bigint)")
      }
      // The low word wraps around in `int32`, so rounding the high word down is two's complement for negatives too.
      this.int32(Math.floor(value / 4294967296))
      this.int32(value)
    }
  }

  /** An IEEE 754 single; the value is rounded to the nearest one. */
  float(value: number): void {
    scratch.setFloat32(0, value)
    this.bytes(scratchBytes, 0, 4)
  }

  /** An IEEE 754 double. */
  double(value: number): void {
    scratch.setFloat64(0, value)
    this.bytes(scratchBytes, 0, 8)
  }

  /** A name of at most 255 bytes of UTF-8, after its length in one byte. A lone surrogate has no UTF-8. */
  shortString(value: string, name: string = "short string"): void {
    if (!this.shortAscii(value, name)) this.shortUtf8(value, name, false)
  }

  /**
   * Like `shortString`, for text that may stand for any bytes: the surrogates that `ByteReader` returns for invalid UTF-8 are written as
   * the original bytes, and any other lone surrogate as U+FFFD.
   */
  shortText(value: string, name: string = "short string"): void {
    if (!this.shortAscii(value, name)) this.shortUtf8(value, name, true)
  }

  /** Text as UTF-8, or bytes unchanged, after their length in four bytes. */
  longString(value: string | Uint8Array): void {
    if (typeof value !== "string") {
      this.int32(value.length)
      this.bytes(value)
      return
    }
    const length = value.length
    if (length <= loopLimit) {
      if (this.position + length + 4 > this.slab.length) this.grow(length + 4)
      const slab = this.slab
      let at = this.position + 4
      let index = 0
      for (; index < length; index++) {
        const code = value.charCodeAt(index)
        if (code > 127) break
        slab[at++] = code
      }
      if (index === length) {
        this.int32(length)
        this.position = at
        return
      }
    }
    // Room for the worst case of three bytes per unit is only worth reserving when it fits a slab.
    if (length * 3 + 4 > this.slabSize) {
      const bytes = encoder.encode(value)
      this.int32(bytes.length)
      this.bytes(bytes)
      return
    }
    if (this.position + length * 3 + 4 > this.slab.length) this.grow(length * 3 + 4)
    const { written } = encoder.encodeInto(value, this.slab.subarray(this.position + 4))
    this.int32(written)
    this.position += written
  }

  /** Copies bytes, without a length. */
  bytes(value: Uint8Array, start: number = 0, end: number = value.length): void {
    const length = end - start
    if (this.position + length > this.slab.length) this.grow(length)
    const { position, slab } = this
    if (length <= loopLimit) {
      for (let index = 0; index < length; index++) slab[position + index] = value[start + index]!
    } else {
      slab.set(length === value.length ? value : value.subarray(start, end), position)
    }
    this.position = position + length
  }

  /**
   * Reserves `size` bytes for `patchShort` or `patchLong` and returns their position, which is valid until the next
   * `commit`, `rollback` or `take`, even if a slab is replaced meanwhile.
   */
  reserve(size: number): number {
    if (this.position + size > this.slab.length) this.grow(size)
    const mark = this.position - this.committed
    this.position += size
    return mark
  }

  /** Fills in two reserved bytes. */
  patchShort(mark: number, value: number): void {
    const at = this.committed + mark
    this.slab[at] = value >>> 8
    this.slab[at + 1] = value
  }

  /** Fills in four reserved bytes with the number of bytes written after them. */
  patchSize(mark: number): void {
    const at = this.committed + mark
    const size = this.position - at - 4
    const slab = this.slab
    slab[at] = size >>> 24
    slab[at + 1] = size >>> 16
    slab[at + 2] = size >>> 8
    slab[at + 3] = size
  }

  /** Makes everything written so far part of the output. */
  commit(): void {
    this.committed = this.position
  }

  /** Discards everything written since the last `commit`. */
  rollback(): void {
    this.position = this.committed
  }

  /** Discards everything written since `provisionalBytes` was `size`. */
  truncate(size: number): void {
    this.position = this.committed + size
    if (this.position > this.start || this.slab.length <= keptSlab) return
    this.slab = empty
    this.position = this.committed = this.start = 0
  }

  /** Copies what another writer wrote since its `provisionalBytes` was `size`. */
  copySince(source: ByteWriter, size: number): void {
    this.bytes(source.slab, source.committed + size, source.position)
  }

  /** What was written since `provisionalBytes` was `size`, as a copy. */
  bytesSince(size: number): Uint8Array {
    return this.slab.slice(this.committed + size, this.position)
  }

  /**
   * Makes `bytes` the next part of the output without copying them; they must not change until the socket has sent them.
   *
   * **Gotchas**
   *
   * Cannot be rolled back, and so is valid only directly after a `commit`; otherwise throws an `Error`.
   */
  appendReference(bytes: Uint8Array): void {
    if (this.position !== this.committed) throw new Error("ByteWriter.appendReference needs a commit before it")
    this.cut()
    this.push(bytes)
  }

  /** Committed bytes that `take` would hand out. */
  get pendingBytes(): number {
    return this.chunkBytes + this.committed - this.start
  }

  /** Bytes written since the last `commit`. */
  get provisionalBytes(): number {
    return this.position - this.committed
  }

  /** Returns the committed bytes in order and removes them. Provisional bytes stay. */
  take(): Array<Uint8Array> {
    return this.takeWithSizes().chunks
  }

  /** Like `take`, with the original size of each chunk: one whose buffer was transferred is now shorter. */
  takeWithSizes(): { readonly chunks: Array<Uint8Array>; readonly sizes: ReadonlyArray<number> } {
    this.cut()
    const { chunks, sizes } = this
    this.chunks = []
    this.sizes = []
    this.chunkBytes = 0
    return { chunks, sizes }
  }

  /** Four bytes, unchecked; only the low 32 bits count. */
  private int32(value: number): void {
    if (this.position + 4 > this.slab.length) this.grow(4)
    const { position, slab } = this
    slab[position] = value >>> 24
    slab[position + 1] = value >>> 16
    slab[position + 2] = value >>> 8
    slab[position + 3] = value
    this.position = position + 4
  }

  /** Writes a short string if it is all ASCII, and returns whether it was. */
  private shortAscii(value: string, name: string): boolean {
    if (typeof value !== "string") throw new EncodeError({ message: `${name}: must be a string` })
    const length = value.length
    // A UTF-16 unit takes at least a byte of UTF-8, so more than 255 of them never fit.
    if (length > shortLimit) this.tooLong(name)
    if (this.position + length + 1 > this.slab.length) this.grow(length + 1)
    const { position, slab } = this
    slab[position] = length
    let at = position + 1
    for (let index = 0; index < length; index++) {
      const code = value.charCodeAt(index)
      if (code > 127) return false
      slab[at++] = code
    }
    this.position = at
    return true
  }

  private shortUtf8(value: string, name: string, mayBeEscaped: boolean): void {
    if (!mayBeEscaped && hasLoneSurrogate(value)) {
      throw new EncodeError({ message: `${name}: a lone surrogate (half a character) has no UTF-8` })
    }
    const bytes = encodeUtf8(value)
    if (bytes.length > shortLimit) this.tooLong(name)
    this.octet(bytes.length)
    this.bytes(bytes)
  }

  private tooLong(name: string): never {
    throw new EncodeError({ message: `${name}: a short string holds at most ${shortLimit} bytes of UTF-8` })
  }

  /** Moves the committed bytes of the slab into `chunks`. */
  private cut(): void {
    if (this.committed === this.start) return
    this.push(this.slab.subarray(this.start, this.committed))
    this.start = this.committed
  }

  private push(chunk: Uint8Array): void {
    this.chunks.push(chunk)
    this.sizes.push(chunk.length)
    this.chunkBytes += chunk.length
  }

  /** Replaces the slab by one with room for `size` more bytes; only the provisional bytes move. */
  private grow(size: number): void {
    this.cut()
    const provisional = this.position - this.committed
    const needed = provisional + size
    // Past one slab it at least doubles, so that a long run of small values is not copied again for each of them.
    const slab = new Uint8Array(needed <= this.slabSize ? this.slabSize : needed + provisional)
    if (provisional > 0) slab.set(this.slab.subarray(this.committed, this.position))
    this.slab = slab
    this.start = 0
    this.committed = 0
    this.position = provisional
  }
}
