/**
 * Interprets the reply texts of brokers. RabbitMQ uses some codes for both temporary and permanent conditions, which
 * only the text distinguishes; this is the only place that reads it. The texts are those of RabbitMQ 3.8 to 4.3
 * (`rabbit_channel`, `rabbit_reader`, `rabbit_amqqueue` and the types of queues); `docs/errors.md` documents them.
 *
 * Patterns are anchored where a text contains names, as a queue may be called "in exclusive use".
 */
import { ReplyCode } from "../../protocol/constants.ts"
import { methodName } from "../../protocol/methods.generated.ts"

/** Codes of temporary conditions, caused by the broker or by other clients. */
const passingCodes: ReadonlySet<number> = new Set([
  ReplyCode.noConsumers,
  ReplyCode.connectionForced,
  ReplyCode.resourceLocked,
  ReplyCode.resourceError
])

/** Texts that override their code. The first match applies. */
const exceptions: ReadonlyArray<readonly [replyCode: number, text: RegExp, passes: boolean]> = [
  // Another consumer has the queue exclusively, until it ends.
  [ReplyCode.accessRefused, / in exclusive use$/, true],
  // The queue exists, but its process or node is down.
  [ReplyCode.notFound, / process is stopped by supervisor$/, true],
  [ReplyCode.notFound, /^NOT_FOUND - home node '.*' is down or inaccessible$/s, true],
  [ReplyCode.notFound, /^NOT_FOUND - failed to perform operation on .* due to timeout$/s, true],
  [ReplyCode.notFound, /^NOT_FOUND - failed to perform operation on .* may be stopping or being demoted$/s, true],
  // Never allowed for this type of queue.
  [ReplyCode.resourceLocked, / queues? with single active consumer$/, false],
  [ReplyCode.resourceLocked, /^RESOURCE_LOCKED - Cannot delete protected /, false],
  // The consumer was too slow once; its messages were requeued.
  [ReplyCode.preconditionFailed, /^PRECONDITION_FAILED - delivery acknowledgement on channel \d+ timed out/, true],
  // Some queues did not accept the transaction's publishes, as with a nack.
  [ReplyCode.preconditionFailed, /^PRECONDITION_FAILED - partial tx completion$/, true],
  [ReplyCode.preconditionFailed, / does not have a (?:running )?replica on the local node$/, true],
  // Other clients reach the limit, and close connections again.
  [ReplyCode.notAllowed, / connection limit \(\d+\) is reached$/, true],
  [ReplyCode.notAllowed, /: connection limit cannot be queried, timeout$/, true],
  [ReplyCode.notAllowed, /^NOT_ALLOWED - number of channels opened .* has reached the /s, true],
  // The broker lacks a majority, or is about to restart something.
  [ReplyCode.internalError, / vhost '.*' is down$/s, true],
  [
    ReplyCode.internalError,
    /^INTERNAL_ERROR - (?:.* |)(?:timed out|due to (?:a )?timeout)(?:$| consuming from )/s,
    true
  ],
  [ReplyCode.internalError, /^INTERNAL_ERROR - timed out consuming from /, true],
  // The leader of a quorum queue is down, and no other one has been elected yet.
  [ReplyCode.internalError, /^INTERNAL_ERROR - Cannot get a message from queue '/, true]
]

/** Whether the same request may succeed later. */
export const mayPass = (replyCode: number, replyText: string): boolean => {
  for (const [code, text, passes] of exceptions) {
    if (code === replyCode && text.test(replyText)) return passes
  }
  return passingCodes.has(replyCode)
}

/** The method that caused a close; empty if both numbers are 0. */
export const responsibleMethod = (classId: number, methodId: number): string =>
  classId === 0 && methodId === 0 ? "" : methodId === 0 ? `class ${classId}` : methodName(classId, methodId)

// -----------------------------------------------------------------------------
// which publish a close is about
// -----------------------------------------------------------------------------

/** A publish that was in flight when its channel was closed. */
export interface InFlight {
  readonly exchange: string
  readonly routingKey: string
  /** In bytes. */
  readonly bodySize: number
}

/** Whether a close may be about this publish. */
export type IsBlamed = (publish: InFlight) => boolean

/** RabbitMQ truncates long texts, and appends three dots. */
const cut = /\.\.\.$/

/** Whether a text begins with another one, or with its start if truncated. */
const beginsWith = (text: string, beginning: string): boolean =>
  text.startsWith(beginning) || (text.length > 200 && cut.test(text) && beginning.startsWith(text.replace(cut, "")))

const exchangeName = (exchange: string): string => exchange === "" ? "amq.default" : exchange

/**
 * Texts that contain the exchange, the routing key, or the size of the message. Before 4.0 "access to", from then on
 * "write access to".
 */
const blames: ReadonlyArray<readonly [replyCode: number, beginnings: (publish: InFlight) => ReadonlyArray<string>]> = [
  [ReplyCode.notFound, ({ exchange }) => [`NOT_FOUND - no exchange '${exchange}' in vhost '`]],
  [
    ReplyCode.accessRefused,
    ({ exchange }) => [
      `ACCESS_REFUSED - access to exchange '${exchangeName(exchange)}' in vhost '`,
      `ACCESS_REFUSED - write access to exchange '${exchangeName(exchange)}' in vhost '`,
      `ACCESS_REFUSED - cannot publish to internal exchange '${exchange}' in vhost '`
    ]
  ],
  [
    ReplyCode.accessRefused,
    ({ exchange, routingKey }) => [
      `ACCESS_REFUSED - access to topic '${routingKey}' in exchange '${exchange}' in vhost '`,
      `ACCESS_REFUSED - write access to topic '${routingKey}' in exchange '${exchange}' in vhost '`
    ]
  ],
  [
    ReplyCode.preconditionFailed,
    ({ bodySize }) => [
      `PRECONDITION_FAILED - message size ${bodySize} is larger than max size `,
      `PRECONDITION_FAILED - message size ${bodySize} is larger than configured max size `,
      `PRECONDITION_FAILED - message size ${bodySize} larger than configured max size `
    ]
  ]
]

/** Which of the publishes in flight a close may be about, according to its text; `undefined` if that is unclear. */
export const blamedBy = (replyCode: number, replyText: string, publishes: Iterable<InFlight>): IsBlamed | undefined => {
  for (const [code, beginnings] of blames) {
    if (code !== replyCode) continue
    const isBlamed: IsBlamed = (publish) => beginnings(publish).some((beginning) => beginsWith(replyText, beginning))
    for (const publish of publishes) if (isBlamed(publish)) return isBlamed
  }
  return undefined
}
