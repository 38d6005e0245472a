/**
 * Messages of a consumer that are larger than the connection's `maxBodySize`. Their bodies were dropped while they arrived, so no handler
 * can have them. They stay in their queues, or in a dead-letter queue, unless an option says otherwise.
 */
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import type { Options } from "../../AmqpConsumer.ts"
import type { AmqpQueue } from "../../AmqpQueue.ts"
import type { Content } from "../../protocol/ContentAssembler.ts"
import { fieldOf } from "../../protocol/fieldTable.ts"
import type { BasicDeliver } from "../../protocol/methods.generated.ts"
import type { Channel } from "../channel/channel.ts"
import { passiveQueueDeclare } from "../channel/methods.ts"
import type { ConsumerHost } from "./consumerHost.ts"
import type { ConsumerSource } from "./delivery.ts"
import { defaultHoldMillis } from "./settlement.ts"

export type OversizedPolicy = NonNullable<Options["onOversized"]>

/** Settles a message at a time when no other is being settled; see `Inbox`. */
export type SettleBetween = (settle: () => boolean) => void

export class OversizedMessages {
  private readonly host: ConsumerHost
  private readonly policy: OversizedPolicy
  private readonly settleBetween: SettleBetween
  private readonly run: (effect: Effect.Effect<unknown>) => unknown

  private constructor(
    host: ConsumerHost,
    policy: OversizedPolicy,
    settleBetween: SettleBetween,
    run: (effect: Effect.Effect<unknown>) => unknown
  ) {
    this.host = host
    this.policy = policy
    this.settleBetween = settleBetween
    this.run = run
  }

  /** The fibers that settle messages end with the scope. */
  static make(
    host: ConsumerHost,
    policy: OversizedPolicy,
    settleBetween: SettleBetween
  ): Effect.Effect<OversizedMessages, never, Scope> {
    return Effect.gen(function*() {
      const scope = yield* Effect.scope
      const fork = Effect.runForkWith(yield* Effect.context())
      return new OversizedMessages(
        host,
        policy,
        settleBetween,
        (effect) => fork(Effect.forkIn(effect, scope, { startImmediately: true }))
      )
    })
  }

  handle(content: Content<BasicDeliver>, channel: Channel, source: ConsumerSource, noAck: boolean): void {
    const { maxBodySize: limit } = this.host
    const queue = JSON.stringify(source.queue)
    const what =
      `A message of ${content.bodySize} bytes from the queue ${queue} is larger than maxBodySize (${limit} bytes)`
    const log = (outcome: string) => Effect.logError(`${what}. ${outcome}`)
    const handled = noAck
      ? log("It is lost, because the consumer acknowledges automatically")
      : this.settle(content, channel, source, log)
    this.run(Effect.annotateLogs(handled, { queue: source.queue, size: content.bodySize, limit }))
  }

  private settle(
    { method, properties }: Content<BasicDeliver>,
    { acknowledgements }: Channel,
    { description, kind }: ConsumerSource,
    log: (outcome: string) => Effect.Effect<void>
  ) {
    return Effect.gen({ self: this }, function*() {
      const tag = Number(method.deliveryTag)
      const mayRefuse = kind.mayRefuse(properties) ?? (yield* kind.ask)
      if (!mayRefuse) {
        yield* log("It is skipped, and stays in the stream")
        return this.settleBetween(() => acknowledgements.ack(tag))
      }
      if (this.policy === "reject") {
        yield* log("It is rejected, because the option onOversized is \"reject\"")
        return this.settleBetween(() => acknowledgements.reject(tag, false))
      }
      const target = this.policy === "keep" ? undefined : deadLetterQueue(description, method.routingKey)
      if (target !== undefined && (yield* exists(this.host, target))) {
        yield* log(`It is rejected, and goes to the dead-letter queue ${JSON.stringify(target)}`)
        return this.settleBetween(() => acknowledgements.reject(tag, false))
      }
      yield* log(
        "It stays in its queue. Raise maxBodySize, describe the queue with a dead-letter queue, or set the option onOversized"
      )
      yield* Effect.sleep(defaultHoldMillis)
      return this.settleBetween(() => acknowledgements.nack(tag, true))
    })
  }
}

/** The queue that a queue dead-letters to, if its description names one that is reached through the default exchange. */
const deadLetterQueue = (description: AmqpQueue | undefined, routingKey: string): string | undefined => {
  if (description === undefined || fieldOf(description.arguments, "x-dead-letter-exchange") !== "") return undefined
  const key = fieldOf(description.arguments, "x-dead-letter-routing-key") ?? routingKey
  return typeof key === "string" && key !== "" && key !== description.name ? key : undefined
}

/** Declares the queue passively, on a separate channel, because the broker closes that if the queue is missing. */
const exists = ({ channels }: ConsumerHost, queue: string): Effect.Effect<boolean> =>
  Effect.scoped(
    Effect.flatMap(channels.scoped, (channel) => channel.request(passiveQueueDeclare(queue)))
  ).pipe(Effect.match({ onSuccess: () => true, onFailure: () => false }))
