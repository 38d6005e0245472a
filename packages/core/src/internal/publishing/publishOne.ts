/**
 * Publishing one message.
 */
import * as Effect from "effect/Effect"
import type { AmqpChannelError, AmqpPublishError } from "../../AmqpError.ts"
import type { Properties } from "../../AmqpMessage.ts"
import type { Outcome } from "../channel/confirmLedger.ts"
import { notConfirmed, notEncoded, notSent, targetOf } from "./publishErrors.ts"
import type { PublishTarget } from "./publishErrors.ts"
import type { PublishJob, RouteOptions } from "./publishJob.ts"

/** A job of one message whose caller waits for an `A`. */
export abstract class OneMessage<A> implements PublishJob {
  waitingSince = 0
  readonly body: Uint8Array
  readonly properties: Properties
  readonly options: RouteOptions
  private readonly resume: (result: Effect.Effect<A, AmqpPublishError>) => void

  constructor(
    body: Uint8Array,
    properties: Properties,
    options: RouteOptions,
    resume: (result: Effect.Effect<A, AmqpPublishError>) => void
  ) {
    this.body = body
    this.properties = properties
    this.options = options
    this.resume = resume
  }

  get index(): number {
    return 0
  }

  next(): boolean {
    return true
  }

  get hasMore(): boolean {
    return false
  }

  hold(): void {}

  failed(thrown: unknown): void {
    this.fail((target) => notEncoded(thrown, target))
  }

  refuse(error: AmqpChannelError): void {
    this.fail((target) => notSent(error, target))
  }

  settled(_index: number, outcome: Outcome): void {
    if (outcome === "Acked") this.confirmed()
    else this.fail((target) => notConfirmed(outcome, target))
  }

  /** The broker has the message. */
  protected abstract confirmed(): void

  /** Ends the wait of the caller. */
  end(result: Effect.Effect<A, AmqpPublishError>): void {
    this.resume(result)
  }

  /** Fails the caller. If one of its own objects throws while the error is made, that is the caller's defect. */
  fail(error: (target: PublishTarget) => AmqpPublishError): void {
    this.end(Effect.suspend(() => Effect.fail(error(targetOf(this.options, this.properties)))))
  }
}

/** Publishes a message; its caller waits for the confirm. */
export class PublishOne extends OneMessage<void> {
  protected confirmed(): void {
    this.end(Effect.void)
  }
}
