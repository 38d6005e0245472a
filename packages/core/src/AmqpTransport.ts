/**
 * What a `Socket` can offer to a connection in addition to its reader and its writer: to read and write without fibers.
 *
 * A connection uses any `effect/socket/Socket`. It reads and writes through two fibers, which are suspended and resumed for each read and
 * write. A `Socket` whose reader has a {@link Transport} under {@link TypeId} passes bytes on without them. The sockets of
 * `@effect-amqp/node` do, and remain sockets for everything else. Only authors of sockets need this module.
 *
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Socket from "effect/socket/Socket"
import * as Internal from "./internal/wire/transportReader.ts"

/**
 * The key of the {@link Transport} in a reader.
 *
 * @category type IDs
 * @since 0.1.0
 */
export const TypeId: typeof Internal.TypeId = Internal.TypeId

/**
 * The type of {@link TypeId}.
 *
 * @category type IDs
 * @since 0.1.0
 */
export type TypeId = typeof TypeId

/**
 * Takes what a {@link Transport} reads. Its methods throw nothing.
 *
 * @category models
 * @since 0.1.0
 */
export interface TransportListener {
  /**
   * Bytes have arrived: all of one read. Returns whether the listener keeps them: if so, they must not change any longer. While the transport is
   * paused, it is called only with bytes that had been read before, such as the rest of what TLS has decrypted.
   */
  readonly received: (chunks: ReadonlyArray<Uint8Array>) => boolean
  /** The socket has room again, after `write` has returned `false`. */
  readonly drained: () => void
  /** The connection has ended, or failed. Called at most once, and nothing is called after it. */
  readonly ended: (error: Socket.SocketError) => void
}

/**
 * The bytes of one connection, in both directions.
 *
 * **Details**
 *
 * It ends with the scope in which the reader was acquired. The listener is not called before `start`, within any method of the transport,
 * while it handles another call, or after that scope has closed. If `start` was called, `pull` of the same reader must not be used, nor the writer of its socket.
 *
 * @category models
 * @since 0.1.0
 */
export interface Transport {
  /** Begins to read. To be called once. */
  readonly start: (listener: TransportListener) => void
  /** Reads nothing until `resume`, so that the peer has to wait. */
  readonly pause: () => void
  /** Reads again, in a later turn of the event loop. */
  readonly resume: () => void
  /**
   * Writes chunks, which must not change until the socket has accepted them. Returns whether it has room for more. If not, nothing is to be
   * written before `drained`. Does nothing and returns `false` if the connection has ended. Throws nothing.
   */
  readonly write: (chunks: NonEmptyReadonlyArray<Uint8Array>) => boolean
}

/**
 * A reader of a `Socket` with a {@link Transport}.
 *
 * **Details**
 *
 * A connection over a socket that wraps the reader or the writer of another one, for example to count bytes, does not use the transport,
 * even if the reader still has it.
 *
 * @category models
 * @since 0.1.0
 */
export interface TransportReader extends Socket.Reader {
  readonly [Internal.TypeId]: Transport
  /** The socket that has this reader. The transport is used only by connections over exactly this socket. */
  readonly socket: Socket.Socket
}

/**
 * Whether a reader has a {@link Transport}.
 *
 * @category guards
 * @since 0.1.0
 */
export const isTransportReader: (reader: Socket.Reader) => reader is TransportReader = Internal.isTransportReader
