/**
 * Whether a queue that is consumed is a stream. What a stream delivered can be acknowledged, and nothing else: RabbitMQ answers a
 * `basic.reject` or `basic.nack` of it with 540, which ends the whole connection.
 *
 * A description says it, and so does an offset, which brokers refuse for other queues. Of a queue that is known by its name only, each
 * message that a stream delivers has the header `x-stream-offset`. Other queues may hold messages with that header as well, such as
 * copies of a stream's, so the header alone decides nothing: then the broker is asked.
 */
import * as Effect from "effect/Effect"
import { mayBeOfStream } from "../message/streamOffset.ts"

export class QueueKind {
  /** `undefined`: not known yet. */
  isStream: boolean | undefined
  private readonly probe: Effect.Effect<boolean | undefined>
  private isDoubtful = false

  /** `probe` asks the broker whether it is a stream, and answers `undefined` when that can't be found out. */
  constructor(isStream: boolean | undefined, probe: Effect.Effect<boolean | undefined>) {
    this.isStream = isStream
    this.probe = probe
  }

  /**
   * Whether a message with these encoded properties may be rejected or requeued. `undefined`: only the broker knows, see `ask`.
   */
  mayRefuse(properties: Uint8Array): boolean | undefined {
    if (this.isStream === undefined && !mayBeOfStream(properties)) this.isStream = false
    return this.isStream === undefined ? undefined : !this.isStream
  }

  /** Takes note of a message that was delivered. */
  note(properties: Uint8Array): void {
    if (this.isStream !== undefined || this.isDoubtful) return
    this.isDoubtful = this.mayRefuse(properties) === undefined
  }

  /** As `mayRefuse`, after asking the broker if need be. `false` where it can't be found out. */
  readonly ask: Effect.Effect<boolean> = Effect.suspend(() => {
    if (this.isStream !== undefined) return Effect.succeed(!this.isStream)
    return Effect.map(this.probe, (isStream) => {
      this.isStream ??= isStream
      return this.isStream === false
    })
  })
}
