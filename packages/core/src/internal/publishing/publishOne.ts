/**
 * Publishing one message.
 */
import * as Exit from "effect/Exit"
import type { AmqpChannelError, AmqpPublishError } from "../../AmqpError.ts"
import type { Properties } from "../../AmqpMessage.ts"
import type { Outcome, PublishOwner } from "../channel/confirmLedger.ts"
import { Attempts } from "./attempts.ts"
import type { Attempted, Retry } from "./attempts.ts"
import { notConfirmed, notEncoded, notSent, targetOf } from "./publishErrors.ts"
import type { PublishTarget } from "./publishErrors.ts"
import type { PublishJob, RouteOptions } from "./publishJob.ts"

/** The size of a body. JavaScript may pass anything, which is refused when it is sent. */
export const bytesOfBody = (body: unknown): number => ArrayBuffer.isView(body) ? body.byteLength : 0

/** A job of one message whose caller waits for an `A`. */
export abstract class OneMessage<A> implements PublishJob, PublishOwner {
  waitingSince = 0
  readonly body: Uint8Array
  readonly properties: Properties
  readonly options: RouteOptions
  private readonly resume: (exit: Exit.Exit<A, AmqpPublishError>) => void

  constructor(
    body: Uint8Array,
    properties: Properties,
    options: RouteOptions,
    resume: (exit: Exit.Exit<A, AmqpPublishError>) => void
  ) {
    this.body = body
    this.properties = properties
    this.options = options
    this.resume = resume
  }

  get owner(): PublishOwner {
    return this
  }

  get index(): number {
    return 0
  }

  get waitingBytes(): number {
    return bytesOfBody(this.body)
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
  end(exit: Exit.Exit<A, AmqpPublishError>): void {
    this.resume(exit)
  }

  /** Fails the attempt. If one of the caller's objects throws while the error is made, that is the caller's defect. */
  fail(error: (target: PublishTarget | undefined) => AmqpPublishError): void {
    let failure: AmqpPublishError
    try {
      failure = error(this.target)
    } catch (thrown) {
      return this.end(Exit.die(thrown))
    }
    this.attemptFailed(failure)
  }

  /** What the errors name. */
  protected get target(): PublishTarget | undefined {
    return targetOf(this.options, this.properties)
  }

  protected attemptFailed(error: AmqpPublishError): void {
    this.end(Exit.fail(error))
  }
}

/** Publishes a message; its caller waits for the confirm. */
export class PublishOne extends OneMessage<void> {
  protected confirmed(): void {
    this.end(Exit.void)
  }
}

/** A message that is published again after errors, if `retry` is given. */
export abstract class RetriedMessage<A> extends OneMessage<A> implements Attempted {
  private readonly attempts: Attempts | undefined

  constructor(
    retry: Retry | undefined,
    body: Uint8Array,
    properties: Properties,
    options: RouteOptions,
    resume: (exit: Exit.Exit<A, AmqpPublishError>) => void
  ) {
    super(body, properties, options, resume)
    this.attempts = retry && new Attempts(this, retry)
  }

  override next(): boolean {
    this.attempts?.begin()
    return true
  }

  override hold(): void {
    this.attempts?.held()
  }

  protected override attemptFailed(error: AmqpPublishError): void {
    if (this.attempts === undefined) super.attemptFailed(error)
    else this.attempts.failed(error)
  }

  override end(exit: Exit.Exit<A, AmqpPublishError>): void {
    this.stop()
    super.end(exit)
  }

  /** Makes no further attempt. */
  stop(): void {
    this.attempts?.stop()
  }
}

/** Publishes a message by a schedule; its caller waits for the confirm. */
export class PublishWithRetry extends RetriedMessage<void> {
  protected confirmed(): void {
    this.end(Exit.void)
  }
}
