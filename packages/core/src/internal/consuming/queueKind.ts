/**
 * Whether a consumed queue is a stream. Messages of a stream can only be acknowledged: RabbitMQ replies to a `basic.reject` or `basic.nack`
 * with 540, which ends the whole connection.
 *
 * A queue description states the type, and an offset implies a stream, because brokers refuse it for other queues. If only the name of
 * the queue is known, the header `x-stream-offset` decides: each message that a stream delivers has it. As other queues may hold copies
 * of such messages, with the header, the broker is asked when a message has it.
 */
import * as Effect from "effect/Effect"
import { mayBeOfStream } from "../message/streamOffset.ts"

export class QueueKind {
  /** `undefined` while it is not known. */
  isStream: boolean | undefined
  private readonly probe: Effect.Effect<boolean | undefined>
  private hasOffsetHeader = false

  /** `probe` asks the broker whether the queue is a stream, and succeeds with `undefined` if that is still not known. */
  constructor(isStream: boolean | undefined, probe: Effect.Effect<boolean | undefined>) {
    this.isStream = isStream
    this.probe = probe
  }

  /** Whether a message with these encoded properties may be rejected or requeued: `undefined` if only the broker knows, see `ask`. */
  mayRefuse(properties: Uint8Array): boolean | undefined {
    if (this.isStream === undefined && !mayBeOfStream(properties)) this.isStream = false
    return this.isStream === undefined ? undefined : !this.isStream
  }

  /** Looks at the encoded properties of a delivered message. */
  note(properties: Uint8Array): void {
    if (this.isStream !== undefined || this.hasOffsetHeader) return
    this.hasOffsetHeader = this.mayRefuse(properties) === undefined
  }

  /** Like `mayRefuse`, but asks the broker if necessary. `false` if the broker's reply does not show it. */
  readonly ask: Effect.Effect<boolean> = Effect.suspend(() => {
    if (this.isStream !== undefined) return Effect.succeed(!this.isStream)
    return Effect.map(this.probe, (isStream) => {
      this.isStream ??= isStream
      return this.isStream === false
    })
  })
}
