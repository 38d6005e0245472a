/**
 * A publisher that publishes again whatever is lost, and the only consumer of its queue: nothing is missing, and the order is that of the
 * publishes. For a stream, also: no offset is left out, and none that was handled comes again.
 */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { idOf, textOf } from "../history.ts"
import type { Published, Received } from "../history.ts"
import { followedQueue, followedStream } from "../plan.ts"
import type { FollowerPlan } from "../plan.ts"
import { started } from "../role.ts"
import type { Role } from "../role.ts"
import { settleBatch } from "./publishing.ts"

/** How long the consumer may take to get what was confirmed, in seconds: the faults have ended by then. */
const maxSeconds = 600

const bodySize = 40

export const follow = (plan: FollowerPlan, role: Role) =>
  Effect.scoped(Effect.gen(function*() {
    const { actor, history } = role
    const queue = queueOf(plan, actor)
    yield* started(role, AmqpChannel.run(AmqpQueue.declare(queue)))
    const follower = new Follower(plan, role, queue.name)
    const consuming = yield* started(role, follower.consume(queue))
    yield* Effect.forkScoped(Effect.catch(consuming, (error) => Effect.sync(() => history.fail(actor, error))))
    yield* follower.publish
    const connection = yield* AmqpConnection.AmqpConnection
    for (let second = 0; follower.missing.length > 0; second++) {
      if (second === maxSeconds) {
        return void history.violations.push(`the consumer of ${queue.name} does not get ${follower.missing.join(", ")}`)
      }
      if ((yield* connection.state)._tag === "Closed" || history.hasFailed(actor)) return
      yield* Effect.sleep(1_000)
    }
  }))

const queueOf = ({ type }: FollowerPlan, actor: number): AmqpQueue.AmqpQueue => {
  switch (type) {
    case "classic":
      return AmqpQueue.classic(followedQueue(actor))
    case "quorum":
      return AmqpQueue.quorum(followedQueue(actor))
    case "stream":
      return AmqpQueue.stream(followedStream(actor))
  }
}

class Follower {
  private readonly plan: FollowerPlan
  private readonly role: Role
  private readonly queue: string
  private readonly published: Array<Published> = []
  private readonly received = new Set<string>()
  /** The greatest number that was received. */
  private lastNumber = -1
  private lastOffset = -1
  private readonly handledOffsets = new Set<number>()

  constructor(plan: FollowerPlan, role: Role, queue: string) {
    this.plan = plan
    this.role = role
    this.queue = queue
  }

  /** The confirmed messages that were not received. */
  get missing(): ReadonlyArray<string> {
    return this.published.filter(({ id, outcome }) => outcome === "confirmed" && !this.received.has(id))
      .map(({ id }) => id)
  }

  private wrong(text: string): void {
    this.role.history.violations.push(`${this.queue}: ${text}`)
  }

  // ---------------------------------------------------------------------------
  // publishing
  // ---------------------------------------------------------------------------

  private next(number: number): Published {
    const { actor, history } = this.role
    const published: Published = {
      id: `${actor}.${number}`,
      actor,
      number,
      queue: this.queue,
      size: bodySize,
      transaction: undefined,
      mandatory: false,
      outcome: "pending"
    }
    history.publish(published)
    this.published.push(published)
    return published
  }

  readonly publish = Effect.scoped(Effect.gen({ self: this }, function*() {
    const { count, pauseMillis, publishing } = this.plan
    const { actor, history } = this.role
    const publisher = yield* started(this.role, AmqpPublisher.make({ retry: Schedule.spaced(100) }))
    const numbers = Array.from({ length: count }, (_, number) => number)
    const pause = pauseMillis > 0 ? Effect.sleep(pauseMillis) : Effect.void
    const messageOf = ({ id }: Published) => AmqpMessage.text(textOf(id, bodySize), { messageId: id })
    const route = { exchange: "", routingKey: this.queue }
    if (publishing === "batch") {
      for (let first = 0; first < count; first += 10) {
        const batch = numbers.slice(first, first + 10).map((number) => this.next(number))
        yield* publisher.publishAll(batch.map(messageOf), route).pipe(
          Effect.match({
            onSuccess: () => settleBatch(batch, undefined),
            onFailure: (error) => {
              settleBatch(batch, error)
              history.fail(actor, error)
            }
          })
        )
        yield* pause
      }
      return
    }
    const publishOne = (number: number) =>
      Effect.suspend(() => {
        const published = this.next(number)
        return publisher.publish(messageOf(published), route).pipe(
          Effect.match({
            onSuccess: () => void (published.outcome = "confirmed"),
            onFailure: (error) => {
              published.outcome = "unknown"
              history.fail(actor, error)
            }
          })
        )
      })
    if (publishing === "oneByOne") {
      for (const number of numbers) yield* Effect.andThen(publishOne(number), pause)
      return
    }
    // Without waiting for the confirms of earlier ones.
    yield* Effect.forEach(numbers, (number) => Effect.andThen(Effect.sleep(number * pauseMillis), publishOne(number)), {
      concurrency: "unbounded",
      discard: true
    })
  }))

  // ---------------------------------------------------------------------------
  // consuming
  // ---------------------------------------------------------------------------

  /** Starts the consumer. Yields what waits for its end. */
  consume(queue: AmqpQueue.AmqpQueue) {
    const { mode, prefetch, type } = this.plan
    const options = { prefetch, ...type === "stream" ? { offset: "first" as const } : {} }
    return mode === "serve"
      ? AmqpConsumer.startServing(
        queue,
        (delivery) => Effect.as(this.handle(delivery, Effect.succeed(true)), AmqpDelivery.ack),
        options
      )
      : Effect.map(
        AmqpConsumer.make(queue, options),
        ({ stream }) => Stream.runForEach(stream, (delivery) => this.handle(delivery, delivery.ack))
      )
  }

  private handle(delivery: AmqpDelivery.ReceivedMessage, settle: Effect.Effect<boolean>): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      const { client, history } = this.role
      const disturbances = history.disturbancesOf(client)
      const received = this.receive(delivery)
      if (received === undefined) return
      if (this.plan.handlerMillis > 0) yield* Effect.sleep(this.plan.handlerMillis)
      received.decision = "ack"
      const offset = this.offsetOf(delivery)
      const isSettled = yield* settle
      if (offset !== undefined && isSettled && history.disturbancesOf(client) === disturbances) {
        this.handledOffsets.add(offset)
      }
    })
  }

  /** The offset of a message, if the queue is a stream. */
  private offsetOf({ properties }: AmqpDelivery.ReceivedMessage): number | undefined {
    return this.plan.type === "stream" ? Number(properties.headers?.["x-stream-offset"]) : undefined
  }

  /** Checks that a message is the next one. */
  private receive(delivery: AmqpDelivery.ReceivedMessage): Received | undefined {
    const { properties, text } = delivery
    const { actor, client, history, leavesAtOnce } = this.role
    const id = idOf(text)
    if (id === undefined || properties.messageId !== id) {
      this.wrong(`a message arrived that was not published: ${text.slice(0, 80)} with id ${properties.messageId}`)
      return undefined
    }
    const number = Number(id.slice(`${actor}.`.length))
    if (!this.received.has(id)) {
      // A quorum queue puts a message that is requeued behind the others. A dead connection may have the first copy of a message, or send it
      // late, when its network goes on.
      const mayBeLate = delivery.redelivered || history.arrivedCount(id) > 1
      const keepsOrder = this.plan.type !== "quorum" && (leavesAtOnce || !mayBeLate)
      if (number < this.lastNumber && keepsOrder) this.wrong(`${id} arrived after ${actor}.${this.lastNumber}`)
      this.lastNumber = Math.max(this.lastNumber, number)
    }
    this.received.add(id)
    if (this.plan.mode === "serve" && history.openCount(id) === 0) {
      this.wrong(`${id} is handled, which was delivered on a session or channel that has ended`)
    }
    const offset = this.offsetOf(delivery)
    if (offset !== undefined) {
      if (this.handledOffsets.has(offset)) this.wrong(`offset ${offset} was handled, and arrives again`)
      if (offset > this.lastOffset + 1) this.wrong(`offset ${offset} arrived after ${this.lastOffset}`)
      this.lastOffset = Math.max(this.lastOffset, offset)
    }
    return history.receive({
      id,
      receiver: this.queue,
      session: history.sessionOf(client),
      queue: this.queue,
      redelivered: true,
      inOrder: false,
      decision: undefined,
      isSettled: false
    })
  }
}
