/**
 * The numbers of AMQP 0-9-1 in frames and closes.
 *
 * @since 0.1.0
 */

/**
 * The first byte of a frame (section 2.3.5 of the specification).
 *
 * @category constants
 * @since 0.1.0
 */
export const FrameType = { method: 1, header: 2, body: 3, heartbeat: 8 } as const

/**
 * The last byte of every frame.
 *
 * @category constants
 * @since 0.1.0
 */
export const frameEnd = 206

/**
 * Bytes of a frame before its payload: type (1), channel (2), payload size (4).
 *
 * @category constants
 * @since 0.1.0
 */
export const frameHeaderSize = 7

/**
 * Bytes of a frame that are not payload: its header and its end byte.
 *
 * @category constants
 * @since 0.1.0
 */
export const frameOverhead = 8

/**
 * The smallest `frame-max` that a peer may ask for, and the limit that holds before it is negotiated, in bytes.
 *
 * @category constants
 * @since 0.1.0
 */
export const frameMinSize = 4096

/**
 * The id of the class `basic`, the only one whose methods carry content.
 *
 * @category constants
 * @since 0.1.0
 */
export const basicClassId = 60

/**
 * The first bytes of a client: `AMQP`, protocol id 0, version 0-9-1.
 *
 * @category constants
 * @since 0.1.0
 */
export const protocolHeader: Uint8Array = Uint8Array.of(65, 77, 81, 80, 0, 0, 9, 1)

/**
 * The reply codes of AMQP 0-9-1 with RabbitMQ's 312.
 *
 * @category constants
 * @since 0.1.0
 */
export const ReplyCode = {
  success: 200,
  contentTooLarge: 311,
  noRoute: 312,
  noConsumers: 313,
  connectionForced: 320,
  invalidPath: 402,
  accessRefused: 403,
  notFound: 404,
  resourceLocked: 405,
  preconditionFailed: 406,
  frameError: 501,
  syntaxError: 502,
  commandInvalid: 503,
  channelError: 504,
  unexpectedFrame: 505,
  resourceError: 506,
  notAllowed: 530,
  notImplemented: 540,
  internalError: 541
} as const

const replyNames: ReadonlyMap<number, string> = new Map(
  Object.entries(ReplyCode).map((
    [name, code]
  ) => [code, name.replaceAll(/[A-Z]/g, (letter) => "-" + letter.toLowerCase())])
)

/**
 * The specification's name of a reply code, `"precondition-failed"` for 406; `undefined` for a code it does not know.
 *
 * @category constants
 * @since 0.1.0
 */
export const replyName = (code: number): string | undefined => replyNames.get(code)
