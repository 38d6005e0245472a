/**
 * Splits the bytes of a socket into frames, regardless of chunk boundaries.
 *
 * A frame that is complete within a chunk is read in place: the handler gets views into the chunk. Of a large body frame
 * that spans chunks, the handler gets the payload as it arrives. Only other frames that span chunks are copied, to a
 * buffer that grows with the bytes that arrive and not with the announced size.
 *
 * @since 0.1.0
 */
import { ByteReader } from "./ByteReader.ts"
import { basicClassId, frameEnd, frameHeaderSize, frameOverhead, FrameType, ReplyCode } from "./constants.ts"
import { decodeMethod } from "./methods.generated.ts"
import type { Method } from "./methods.generated.ts"
import { ProtocolError, ProtocolMismatch } from "./ProtocolError.ts"

/**
 * A content header. `bodySize` is in bytes; `properties` are the encoded properties for `decodeProperties`.
 *
 * @category models
 * @since 0.1.0
 */
export interface ContentHeader {
  readonly bodySize: number
  readonly properties: Uint8Array
}

/**
 * Called by a {@link FrameParser} for each frame, in order. An exception stops the parser for good.
 *
 * **Gotchas**
 *
 * Byte values are shared with the chunk that was pushed, and properties with other headers: do not write to them.
 *
 * @category models
 * @since 0.1.0
 */
export interface FrameHandler {
  onMethod(channel: number, method: Method): void
  onHeader(channel: number, header: ContentHeader): void
  /** The payload of a body frame, or a part of it, which is valid only during the call. */
  onBody(channel: number, payload: Uint8Array, isPart: boolean): void
  onHeartbeat(): void
}

const empty = new Uint8Array(0)

/** `A`: not a frame type, but the first byte of a protocol header. */
const letterA = 65

const protocolHeaderSize = 8

/** Class, weight and body size, before the properties. */
const contentHeaderSize = 12

/** The ids of a class and a method: the minimum payload of a method frame. */
const minMethodPayload = 4

/** A content header has at least one word of property flags. */
const minHeaderPayload = contentHeaderSize + 2

/** Body frames of this size, in bytes, are passed on in parts. Copying smaller ones costs less than more calls. */
const minPartedFrame = 4096

/** Up to this length in bytes, a loop takes less time than a view. */
const loopLimit = 64

const frameError = (message: string): ProtocolError => new ProtocolError({ replyCode: ReplyCode.frameError, message })

/**
 * An incremental parser of frames.
 *
 * **Details**
 *
 * `push` throws a {@link ProtocolError} for bytes that AMQP does not allow, a {@link ProtocolMismatch} when the first bytes are a
 * protocol header, and whatever the handler throws. After that, every `push` throws the same.
 *
 * A size above `maxFrameSize` is refused when the frame's header arrives, before any of the frame is buffered.
 *
 * @category models
 * @since 0.1.0
 */
export class FrameParser {
  /** The largest frame that is accepted, in bytes with its 8 bytes of overhead; 0 sets no limit. May change at any time. */
  maxFrameSize: number
  /**
   * The largest content header frame that is accepted, if more than `maxFrameSize`, in bytes with its overhead. RabbitMQ
   * sends a header in one frame, even if the headers that it added (`x-death`) made it larger than the negotiated frame-max.
   */
  maxHeaderSize = 0

  private readonly handler: FrameHandler
  private readonly reader = new ByteReader()
  /** The beginning of an incomplete frame. */
  private partial: Uint8Array = empty
  private partialLength = 0
  /** The channel of a body frame that is passed on in parts, and how many of its bytes are to come, with the end byte. */
  private partedChannel = 0
  private partedRest = 0
  /** The last byte of its payload, until the end byte arrives. */
  private lastByte: Uint8Array = empty
  /** Whether the handler got a view into the current chunk that it may keep. */
  private isShared = false
  /** Whether a frame has arrived: before that, unknown bytes are probably another protocol. */
  started = false
  private failed = false
  private failure: unknown = undefined
  /** The last properties, since consecutive messages usually have the same bytes. They keep one chunk alive. */
  private lastProperties: Uint8Array = empty

  constructor(handler: FrameHandler, options: { readonly maxFrameSize: number }) {
    this.handler = handler
    this.maxFrameSize = options.maxFrameSize
  }

  /**
   * Calls the handler for each frame that is complete with this chunk. Returns whether the handler may have kept views into the chunk. If not, its
   * memory may be used again.
   */
  push(chunk: Uint8Array): boolean {
    if (this.failed) throw this.failure
    this.isShared = false
    try {
      this.parse(chunk, this.partedRest > 0 ? this.passOn(chunk, 0) : this.partialLength > 0 ? this.complete(chunk) : 0)
      return this.isShared
    } catch (error) {
      this.failed = true
      this.failure = error
      this.partial = empty
      this.partialLength = 0
      throw error
    }
  }

  /** Handles the complete frames in `bytes`, and keeps the rest. */
  private parse(bytes: Uint8Array, from: number): void {
    const end = bytes.length
    let position = from
    while (end - position >= frameHeaderSize) {
      const size = this.frameSize(bytes, position)
      const next = position + size
      if (next > end) {
        if (!isParted(bytes[position], size)) break
        this.beginParts(bytes, position, size)
        this.passOn(bytes, position + frameHeaderSize)
        return
      }
      this.emit(bytes, position, next - 1)
      position = next
    }
    if (position < end) this.keep(bytes, position, end)
  }

  /** Continues the partial frame with a chunk, and returns how many bytes of the chunk it used. */
  private complete(chunk: Uint8Array): number {
    let used = 0
    if (this.partialLength < frameHeaderSize) {
      used = Math.min(frameHeaderSize - this.partialLength, chunk.length)
      this.keep(chunk, 0, used)
      if (this.partialLength < frameHeaderSize) return used
    }
    const size = this.frameSize(this.partial, 0)
    if (this.partialLength === frameHeaderSize && isParted(this.partial[0], size)) {
      this.partialLength = 0
      this.beginParts(this.partial, 0, size)
      return this.passOn(chunk, used)
    }
    const end = Math.min(used + size - this.partialLength, chunk.length)
    this.keep(chunk, used, end, size)
    if (this.partialLength < size) return end
    const frame = this.partial
    // Views into it may be held from now on, so the next partial frame gets a buffer of its own.
    this.partial = empty
    this.partialLength = 0
    this.emit(frame, 0, size - 1)
    return end
  }

  /** The payload of the body frame whose header is at `start` will be passed on in parts. */
  private beginParts(bytes: Uint8Array, start: number, size: number): void {
    this.started = true
    this.partedChannel = contentChannel(bytes, start)
    this.partedRest = size - frameHeaderSize
  }

  /**
   * Passes on the next part of a body frame. Returns the position after what it used. The last byte of the payload is passed on with the end of
   * the frame, so that no content is complete before its last frame is known to be valid.
   */
  private passOn(bytes: Uint8Array, start: number): number {
    const end = Math.min(start + this.partedRest - 1, bytes.length)
    this.partedRest -= end - start
    if (end === bytes.length) {
      const isLast = this.partedRest === 1 && end > start
      if (isLast) this.lastByte = bytes.slice(end - 1, end)
      this.passPart(bytes, start, isLast ? end - 1 : end)
      return end
    }
    if (bytes[end] !== frameEnd) throw wrongEnd()
    this.partedRest = 0
    if (end === start) this.handler.onBody(this.partedChannel, this.lastByte, true)
    else this.passPart(bytes, start, end)
    return end + 1
  }

  private passPart(bytes: Uint8Array, start: number, end: number): void {
    if (end > start) this.handler.onBody(this.partedChannel, view(bytes, start, end), true)
  }

  /** Appends to the partial frame. `size` is its final size, if known. */
  private keep(bytes: Uint8Array, start: number, end: number, size: number = Infinity): void {
    const length = this.partialLength + end - start
    if (length > this.partial.length) {
      const grown = new Uint8Array(Math.min(size, Math.max(length * 2, 64)))
      grown.set(this.partial.subarray(0, this.partialLength))
      this.partial = grown
    }
    this.partial.set(bytes.subarray(start, end), this.partialLength)
    this.partialLength = length
  }

  /** The size of the frame that begins at `position`, overhead included, once it is known to be acceptable. */
  private frameSize(bytes: Uint8Array, position: number): number {
    const type = bytes[position]
    if (type !== FrameType.method && type !== FrameType.body && type !== FrameType.header) {
      if (type !== FrameType.heartbeat) return this.foreignSize(bytes, position)
    }
    const payload = (bytes[position + 3] << 24 | bytes[position + 4] << 16 | bytes[position + 5] << 8 |
      bytes[position + 6]) >>> 0
    const size = payload + frameOverhead
    if (
      size > this.maxFrameSize && this.maxFrameSize !== 0 && (type !== FrameType.header || size > this.maxHeaderSize)
    ) {
      const limit = type === FrameType.header ? Math.max(this.maxFrameSize, this.maxHeaderSize) : this.maxFrameSize
      throw frameError(`a frame of ${size} bytes exceeds the limit of ${limit}`)
    }
    if (type === FrameType.heartbeat) {
      // Checked here, to fail without waiting for a payload.
      if (payload !== 0) throw frameError("a heartbeat frame has a payload")
      if (bytes[position + 1] !== 0 || bytes[position + 2] !== 0) throw frameError("a heartbeat frame is on a channel")
    }
    return size
  }

  /** Handles the frame whose first byte is at `start` and whose end byte is at `end`. */
  private emit(bytes: Uint8Array, start: number, end: number): void {
    const type = bytes[start]
    if (type === letterA) throw mismatch(bytes, start)
    if (bytes[end] !== frameEnd) throw wrongEnd()
    this.started = true
    this.isShared = true
    const payload = start + frameHeaderSize
    if (type === FrameType.method) {
      if (end - payload < minMethodPayload) throw tooShort("method", end - payload)
      this.reader.reset(bytes, payload, end)
      this.handler.onMethod(channelOf(bytes, start), decodeMethod(this.reader))
    } else if (type === FrameType.heartbeat) {
      this.handler.onHeartbeat()
    } else if (type === FrameType.body) {
      this.handler.onBody(contentChannel(bytes, start), view(bytes, payload, end), false)
    } else {
      this.handler.onHeader(contentChannel(bytes, start), this.readHeader(bytes, payload, end))
    }
  }

  private readHeader(bytes: Uint8Array, start: number, end: number): ContentHeader {
    if (end - start < minHeaderPayload) throw tooShort("content header", end - start)
    const reader = this.reader
    reader.reset(bytes, start, end)
    const classId = reader.short()
    if (classId !== basicClassId) throw frameError(`a content header is of the class ${classId}, not of basic (60)`)
    // The weight, unused since 0-9.
    reader.short()
    const bodySize = reader.longLong()
    if (typeof bodySize !== "number") {
      throw new ProtocolError({
        replyCode: ReplyCode.syntaxError,
        message: `a content header announces ${bodySize} bytes, more than 2^53 - 1`
      })
    }
    return { bodySize, properties: this.readProperties(bytes, start + contentHeaderSize, end) }
  }

  /** Returns the last properties again if the bytes are the same. They are a copy: consumers keep them for longer than the chunk. */
  private readProperties(bytes: Uint8Array, start: number, end: number): Uint8Array {
    const length = end - start
    const last = this.lastProperties
    if (last.length === length) {
      let index = 0
      while (index < length && last[index] === bytes[start + index]) index++
      if (index === length) return last
    }
    return this.lastProperties = copyOf(bytes, start, end)
  }

  /** The size of a protocol header. Throws an error for other bytes, with the protocol that they look like. */
  private foreignSize(bytes: Uint8Array, position: number): number {
    const type = bytes[position]
    if (this.started) throw frameError(`there is no frame type ${type}`)
    if (isText(bytes, position, "AMQP")) return protocolHeaderSize
    if (isText(bytes, position, "HTTP/")) {
      throw frameError("this looks like HTTP: the port belongs to a web server, not to AMQP")
    }
    // A record of an alert or a handshake of any TLS version.
    if ((type === 0x15 || type === 0x16) && bytes[position + 1] === 0x03) {
      throw frameError("this looks like TLS: the port expects TLS (amqps)")
    }
    throw frameError(`there is no frame type ${type}: this does not look like AMQP`)
  }
}

const wrongEnd = (): ProtocolError => frameError("a frame does not end with 206")

const channelOf = (bytes: Uint8Array, start: number): number => bytes[start + 1] << 8 | bytes[start + 2]

const contentChannel = (bytes: Uint8Array, start: number): number => {
  const channel = channelOf(bytes, start)
  if (channel !== 0) return channel
  throw new ProtocolError({ replyCode: ReplyCode.channelError, message: "content arrived on channel 0" })
}

const isParted = (type: number, size: number): boolean => type === FrameType.body && size >= minPartedFrame

/** The frame is too short to be one of its type (501), whatever its values are (502). */
const tooShort = (what: string, length: number): ProtocolError =>
  frameError(`a ${what} frame has only ${length} bytes of payload`)

const isText = (bytes: Uint8Array, position: number, text: string): boolean => {
  for (let index = 0; index < text.length; index++) {
    if (bytes[position + index] !== text.charCodeAt(index)) return false
  }
  return true
}

const mismatch = (bytes: Uint8Array, start: number): ProtocolMismatch =>
  new ProtocolMismatch({
    protocolId: bytes[start + 4],
    major: bytes[start + 5],
    minor: bytes[start + 6],
    revision: bytes[start + 7]
  })

const copyOf = (bytes: Uint8Array, start: number, end: number): Uint8Array => {
  const copy = new Uint8Array(end - start)
  // For a few bytes a view costs more than a loop.
  if (copy.length > loopLimit) copy.set(view(bytes, start, end))
  else for (let index = 0; index < copy.length; index++) copy[index] = bytes[start + index]
  return copy
}

/** Always a plain `Uint8Array`, even if the chunk is of a subclass whose views behave differently. */
const view = (bytes: Uint8Array, start: number, end: number): Uint8Array =>
  new Uint8Array(bytes.buffer, bytes.byteOffset + start, end - start)
