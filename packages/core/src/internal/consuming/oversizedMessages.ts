/**
 * Messages of consumers that are larger than the connection's `maxBodySize`. Their bodies were dropped as they came, so no handler can have
 * them. They are not dropped from their queues, unless an option says so.
 */
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import type { Content } from "../../protocol/ContentAssembler.ts"
import { fieldOf } from "../../protocol/fieldTable.ts"
import type { BasicDeliver } from "../../protocol/methods.generated.ts"
import type { Channel } from "../channel/channel.ts"
import { passiveQueueDeclare } from "../channel/methods.ts"
import type { Session } from "../connection/session.ts"
import type { QueueDescription } from "../topology/descriptions.ts"
import type { ConsumerSource } from "./delivery.ts"
import { defaultHoldMillis } from "./settlement.ts"

export type OversizedPolicy = "deadLetter" | "keep" | "reject"

/** Settles a message between those that are handled; see `Serving`. */
export type SettleBetween = (settle: () => boolean) => void

export class OversizedMessages {
  private readonly session: Session
  private readonly policy: OversizedPolicy
  private readonly settleBetween: SettleBetween
  private readonly run: (effect: Effect.Effect<unknown>) => unknown

  private constructor(
    session: Session,
    policy: OversizedPolicy,
    settleBetween: SettleBetween,
    run: (effect: Effect.Effect<unknown>) => unknown
  ) {
    this.session = session
    this.policy = policy
    this.settleBetween = settleBetween
    this.run = run
  }

  /** What it does in the background ends with the scope. */
  static make(
    session: Session,
    policy: OversizedPolicy,
    settleBetween: SettleBetween
  ): Effect.Effect<OversizedMessages, never, Scope> {
    return Effect.gen(function*() {
      const scope = yield* Effect.scope
      const fork = Effect.runForkWith(yield* Effect.context())
      return new OversizedMessages(
        session,
        policy,
        settleBetween,
        (effect) => fork(Effect.forkIn(effect, scope, { startImmediately: true }))
      )
    })
  }

  handle(content: Content<BasicDeliver>, channel: Channel, source: ConsumerSource, noAck: boolean): void {
    this.run(Effect.annotateLogs(noAck ? lost(content, source, this.limit) : this.settle(content, channel, source), {
      queue: source.queue,
      size: content.bodySize,
      limit: this.limit
    }))
  }

  private get limit(): number {
    return this.session.maxBodySize
  }

  private settle(content: Content<BasicDeliver>, { acknowledgements }: Channel, source: ConsumerSource) {
    return Effect.gen({ self: this }, function*() {
      const tag = Number(content.method.deliveryTag)
      const say = (fate: string) => sentence(content, source, this.limit, fate)
      const mayRefuse = source.kind.mayRefuse(content.properties) ?? (yield* source.kind.ask)
      if (!mayRefuse) {
        yield* Effect.logError(say("and is skipped; it stays in the stream"))
        return this.settleBetween(() => acknowledgements.ack(tag))
      }
      if (this.policy === "reject") {
        yield* Effect.logError(say("and is rejected, as the option onOversized says"))
        return this.settleBetween(() => acknowledgements.reject(tag, false))
      }
      const target = this.policy === "keep" ? undefined : deadLetterQueue(source.description, content.method.routingKey)
      if (target !== undefined && (yield* isThere(this.session, target))) {
        yield* Effect.logError(say(`and is rejected, to the dead-letter queue ${JSON.stringify(target)}`))
        return this.settleBetween(() => acknowledgements.reject(tag, false))
      }
      yield* Effect.logError(say(
        "and stays in its queue. Raise maxBodySize, describe the queue with a dead-letter queue, or decide with the option onOversized"
      ))
      yield* Effect.sleep(defaultHoldMillis)
      return this.settleBetween(() => acknowledgements.nack(tag, true))
    })
  }
}

const lost = (content: Content, source: ConsumerSource, limit: number) =>
  Effect.logError(sentence(content, source, limit, "and is lost: the consumer acknowledges automatically"))

const sentence = ({ bodySize }: Content, { queue }: ConsumerSource, limit: number, fate: string): string =>
  `A message of ${bodySize} bytes from the queue ${
    JSON.stringify(queue)
  } is larger than maxBodySize, ${limit} bytes, ${fate}`

/** The queue that rejected messages of a queue go to, where its description names one and no exchange is in between. */
const deadLetterQueue = (description: QueueDescription | undefined, routingKey: string): string | undefined => {
  if (description === undefined || fieldOf(description.arguments, "x-dead-letter-exchange") !== "") return undefined
  const key = fieldOf(description.arguments, "x-dead-letter-routing-key") ?? routingKey
  return typeof key === "string" && key !== "" && key !== description.name ? key : undefined
}

/** Asks on a channel of its own, which ends if the queue is not there. */
const isThere = ({ channels }: Session, queue: string): Effect.Effect<boolean> =>
  Effect.scoped(
    Effect.flatMap(channels.scoped, (channel) => channel.request(passiveQueueDeclare(queue)))
  ).pipe(Effect.match({ onSuccess: () => true, onFailure: () => false }))
