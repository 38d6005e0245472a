/**
 * Publishing a batch: many messages of one caller, in their order.
 *
 * The messages are taken from an iterable, which may be endless, each when it can be sent.
 */
import * as Effect from "effect/Effect"
import type { AmqpChannelError, AmqpPublishAllError } from "../../AmqpError.ts"
import type { Properties } from "../../AmqpMessage.ts"
import type { Outcome } from "../channel/confirmLedger.ts"
import type { Message } from "../message/message.ts"
import { BatchOutcomes } from "./batchOutcomes.ts"
import { notEncoded, notSent, targetOf } from "./publishErrors.ts"
import type { PublishJob, RouteOptions } from "./publishJob.ts"
import type { PublishQueue } from "./publishQueue.ts"

type Sent = Pick<Message, "body" | "properties">

/** Where the messages of a batch come from and go. `prepare` gets each message before it is sent. */
export interface Batch<M extends Sent> {
  readonly messages: Iterable<M>
  readonly prepare: (message: M) => Sent
  readonly optionsOf: (message: M, index: number) => RouteOptions
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

class PublishMany<M extends Sent> implements PublishJob {
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
  /** Whether the current message was taken before it could be sent. */
  private isHeld = false
  /** Whether no more messages are taken. */
  private isEnded = false
  private failuresInTurn = 0

  constructor(queue: PublishQueue, batch: Batch<M>) {
    this.queue = queue
    this.batch = batch
    this.messages = batch.messages[Symbol.iterator]()
  }

  /** Sends the messages, or after a pause the remaining ones, and waits for the confirms. */
  readonly run: Effect.Effect<void, AmqpPublishAllError> = Effect.callback((resume) => {
    this.resume = resume
    this.queue.submit(this)
  })

  get hasMore(): boolean {
    return !this.isEnded
  }

  next(): boolean {
    if (this.isHeld) {
      this.isHeld = false
      return true
    }
    if (this.failuresInTurn >= failuresPerTurn) return this.pause()
    try {
      return this.take()
    } catch (thrown) {
      this.die(thrown)
      return false
    }
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
    return true
  }

  /** Leaves the queue, and returns to it after other fibers had a turn. */
  private pause(): boolean {
    this.failuresInTurn = 0
    this.resume(Effect.andThen(Effect.yieldNow, this.run))
    return false
  }

  hold(): void {
    this.isHeld = true
  }

  failed(thrown: unknown): void {
    try {
      this.outcomes.addFailure(this.index, notEncoded(thrown, targetOf(this.options, this.properties)))
      this.failuresInTurn++
    } catch (thrown) {
      this.die(thrown)
    }
  }

  refuse(error: AmqpChannelError): void {
    try {
      // Only one more is taken: there may be no end of them.
      if (this.isHeld || this.take()) this.outcomes.addFailure(this.index, notSent(error))
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
    this.resume(Effect.die(thrown))
  }
}
