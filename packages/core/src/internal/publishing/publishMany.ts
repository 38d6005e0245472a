/**
 * Publishing a batch: many messages of one caller, in their order.
 *
 * The messages are taken from an iterable, which may be endless, each when it can be sent. With a retry, each message that was taken is kept
 * until it is confirmed, and is published again separately.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { AmqpChannelError, AmqpPublishAllError, AmqpPublishError } from "../../AmqpError.ts"
import type { Properties } from "../../AmqpMessage.ts"
import type { Outcome, PublishOwner } from "../channel/confirmLedger.ts"
import { Signal } from "../common/signal.ts"
import type { Message } from "../message/message.ts"
import type { Retry } from "./attempts.ts"
import { BatchOutcomes } from "./batchOutcomes.ts"
import { notEncoded, notSent, targetOf } from "./publishErrors.ts"
import type { PublishJob, RouteOptions } from "./publishJob.ts"
import { bytesOfBody, RetriedMessage } from "./publishOne.ts"
import type { PublishQueue } from "./publishQueue.ts"

type Sent = Pick<Message, "body" | "properties">

/** Where the messages of a batch come from and go. `prepare` gets each message before it is sent. */
export interface Batch<M extends Sent> {
  readonly messages: Iterable<M>
  readonly prepare: (message: M) => Sent
  readonly optionsOf: (message: M, index: number) => RouteOptions
  /** How its messages are published again. */
  readonly retry?: Retry | undefined
}

/** Publishes a batch, and waits for its confirms. An interruption stops it from taking more messages. */
export const publishMany = <M extends Sent>(
  queue: PublishQueue,
  batch: Batch<M>
): Effect.Effect<void, AmqpPublishAllError> =>
  Effect.suspend(() => {
    const job = new PublishMany(queue, batch)
    return Effect.onInterrupt(job.run, () => Effect.sync(() => job.stop()))
  })

/** After this many messages that can't be encoded, other fibers get a turn: nothing else would make such a batch wait. */
const failuresPerTurn = 100

const noBody = new Uint8Array()

/** A message of a batch that is published again after errors. */
class BatchMessage extends RetriedMessage<void> {
  protected confirmed(): void {
    this.end(Exit.void)
  }

  /** Its index identifies it. */
  protected override get target(): undefined {
    return undefined
  }
}

class PublishMany<M extends Sent> implements PublishJob, PublishOwner {
  waitingSince = 0
  body: Uint8Array = noBody
  properties: Properties = {}
  options: RouteOptions = { exchange: "", routingKey: "" }
  index = -1
  private readonly queue: PublishQueue
  private readonly messages: Iterator<M>
  private readonly batch: Batch<M>
  private readonly outcomes = new BatchOutcomes()
  private resume: (result: Effect.Effect<void, AmqpPublishAllError>) => void = () => {}
  /** With a retry: the current message, and all that have no outcome yet. */
  private current: BatchMessage | undefined
  private readonly pending = new Set<BatchMessage>()
  /** Whether the current message was taken before it could be sent. */
  private isHeld = false
  /** Whether no more messages are taken. */
  private isEnded = false
  private failuresInTurn = 0
  /** Set when the batch has died, which may happen in a pause. */
  private defect: { readonly thrown: unknown } | undefined
  private readonly died = new Signal()

  constructor(queue: PublishQueue, batch: Batch<M>) {
    this.queue = queue
    this.batch = batch
    this.messages = batch.messages[Symbol.iterator]()
  }

  /** Sends the messages, and waits for the confirms. */
  readonly run: Effect.Effect<void, AmqpPublishAllError> = this.waiting(() => this.queue.submit(this))

  /** After a pause, sends the remaining messages. */
  private readonly goOn: Effect.Effect<void, AmqpPublishAllError> = this.waiting(() => {
    if (this.defect !== undefined) this.resume(Effect.die(this.defect.thrown))
    else this.queue.submitAgain(this)
  })

  private waiting(begin: () => void): Effect.Effect<void, AmqpPublishAllError> {
    return Effect.callback((resume) => {
      this.resume = resume
      begin()
    })
  }

  get hasMore(): boolean {
    return !this.isEnded
  }

  get owner(): PublishOwner {
    return this.current ?? this
  }

  get waitingBytes(): number {
    return this.isHeld ? bytesOfBody(this.body) : 0
  }

  next(): boolean {
    if (!this.isHeld) {
      if (this.failuresInTurn >= failuresPerTurn) return this.pause(Effect.yieldNow)
      try {
        if (!this.take()) return false
      } catch (thrown) {
        this.die(thrown)
        return false
      }
    }
    // This one is kept in addition to those that pause, as only the iterable knows whether there is one more.
    if (this.batch.retry?.queue.resends.hasRoom === false) {
      this.hold()
      return this.pause(Effect.andThen(this.batch.retry.queue.resends.awaitRoom, Effect.yieldNow))
    }
    this.isHeld = false
    this.current?.next()
    return true
  }

  private take(): boolean {
    if (this.isEnded) return false
    const { done, value } = this.messages.next()
    if (done === true) {
      this.isEnded = true
      this.finish()
      return false
    }
    this.index = this.outcomes.taken++
    const { body, properties } = this.batch.prepare(value)
    this.body = body
    this.properties = properties
    this.options = this.batch.optionsOf(value, this.index)
    if (this.batch.retry !== undefined) this.keep(this.batch.retry)
    return true
  }

  /** Keeps the current message until it has an outcome. */
  private keep(retry: Retry): void {
    const { index } = this
    const message: BatchMessage = new BatchMessage(retry, this.body, this.properties, this.options, (exit) => {
      this.pending.delete(message)
      this.ended(index, exit)
    })
    this.pending.add(message)
    this.current = message
  }

  private ended(index: number, exit: Exit.Exit<void, AmqpPublishError>): void {
    const error = Exit.findErrorOption(exit)
    if (error._tag === "Some") this.outcomes.addFailure(index, error.value)
    else if (Exit.isSuccess(exit)) this.outcomes.add(index, "Acked")
    else return this.die(Cause.squash(exit.cause))
    this.finish()
  }

  /** Leaves the queue, and returns to it later. */
  private pause(until: Effect.Effect<void>): boolean {
    this.failuresInTurn = 0
    this.resume(Effect.andThen(Effect.raceFirst(until, this.died.next), this.goOn))
    return false
  }

  hold(): void {
    this.isHeld = true
    this.current?.hold()
  }

  failed(thrown: unknown): void {
    this.failuresInTurn++
    if (this.current !== undefined) return this.current.failed(thrown)
    try {
      this.outcomes.addFailure(this.index, notEncoded(thrown, targetOf(this.options, this.properties)))
    } catch (thrown) {
      this.die(thrown)
    }
  }

  refuse(error: AmqpChannelError): void {
    try {
      // Only one more is taken: there may be no end of them.
      if (this.isHeld || this.take()) {
        this.outcomes.addFailure(this.index, notSent(error))
        this.outcomes.isRestUnread = true
        if (this.current !== undefined) this.pending.delete(this.current)
      }
      this.isHeld = false
      this.isEnded = true
      this.finish()
      this.messages.return?.()
    } catch (thrown) {
      this.die(thrown)
    }
  }

  settled(index: number, outcome: Outcome): void {
    this.outcomes.add(index, outcome)
    this.finish()
  }

  /** Takes no more messages, and sends none of those that wait. */
  stop(): void {
    this.queue.withdraw(this)
    for (const message of this.pending) message.stop()
    this.isHeld = false
    if (this.isEnded) return
    this.isEnded = true
    this.messages.return?.()
  }

  private finish(): void {
    if (this.isEnded && this.outcomes.pending === 0) this.resume(this.outcomes.result)
  }

  /** The iterable, or a function of the caller, threw. */
  private die(thrown: unknown): void {
    this.isEnded = true
    this.defect = { thrown }
    for (const message of this.pending) message.stop()
    this.resume(Effect.die(thrown))
    this.died.notify()
  }
}
