/**
 * A consumer: what lasts from one subscription to the next, and what its program can do with it.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { ConnectionReplaced } from "../../AmqpError.ts"
import type { AmqpChannelError } from "../../AmqpError.ts"
import { closedHere, lostChannel } from "../channel/channelErrors.ts"
import { Signal } from "../common/signal.ts"
import { connectionError } from "../connection/connectionErrors.ts"
import type { Session } from "../connection/session.ts"
import type { Supervisor } from "../connection/supervisor.ts"
import * as Validation from "../options/validation.ts"
import { Restarts } from "./consumerRecovery.ts"
import type { ConsumerRecovery } from "./consumerRecovery.ts"
import type { Inbox, SubscriptionError } from "./inbox.ts"
import { InboxLimit } from "./inboxLimit.ts"
import { StreamPosition } from "./streamPosition.ts"
import { check, labelOf } from "./subscription.ts"
import type { Decode, Subscription, SubscriptionOptions, SubscriptionOwner } from "./subscription.ts"

/** What a consumer needs of its connection. */
export type ConsumerConnection = Pick<
  Supervisor,
  "awaitSession" | "awaitToConsume" | "failure" | "nextToConsume" | "options" | "preparations" | "session"
>

/** A channel whose consumer the broker cancelled is closed. */
const asChannelError = (error: SubscriptionError): AmqpChannelError =>
  error._tag === "AmqpChannelError" ? error : closedHere

const replaced = lostChannel(connectionError(new ConnectionReplaced()))

export class Consumer implements SubscriptionOwner {
  readonly connection: ConsumerConnection
  readonly options: SubscriptionOptions
  readonly decode: Decode
  readonly inbox: Inbox
  readonly inboxLimit: InboxLimit
  readonly positions: ReadonlyArray<StreamPosition>
  readonly restarts: Restarts
  /** The prefetch of this and later subscriptions. */
  prefetch: number
  /** Whether the program has cancelled the consumer, or closes its scope. */
  isCancelled = false
  /** The session on which the described queues were declared, and the names of all queues there. */
  private declared: { readonly session: Session; readonly names: ReadonlyArray<string> } | undefined
  private current: Subscription | undefined
  /** Why the consumer does not consume or has ended, if it does not or has. */
  private error: SubscriptionError = replaced
  private hasEnded = false
  /** Notified when a subscription has begun, and when the consumer has ended. */
  private readonly changed = new Signal()

  constructor(
    connection: ConsumerConnection,
    options: SubscriptionOptions,
    recovery: ConsumerRecovery,
    decode: Decode,
    inbox: Inbox
  ) {
    this.connection = connection
    this.options = options
    this.decode = decode
    this.inbox = inbox
    this.prefetch = options.prefetch
    this.positions = options.queues.map(() => new StreamPosition())
    this.restarts = new Restarts(recovery, connection.options.recovery.isEnabled)
    const label = () => this.label
    this.inboxLimit = new InboxLimit({
      get buffered() {
        return inbox.size
      },
      get label() {
        return label()
      }
    })
  }

  /** How logs call the consumer. */
  get label(): string {
    return labelOf(
      this.declared?.names ?? this.options.queues.map((queue) => typeof queue === "string" ? queue : queue.name)
    )
  }

  /** The current subscription, while it consumes. */
  get subscription(): Subscription | undefined {
    return this.current
  }

  /** Whether the consumer does not go on: the program has cancelled it, or it has ended. */
  get isDone(): boolean {
    return this.isCancelled || this.hasEnded || this.inbox.hasEnded
  }

  // ---------------------------------------------------------------------------
  // called by the fiber of the consumer
  // ---------------------------------------------------------------------------

  /** The names of the queues on this session, if they were declared on it. */
  namesOn(session: Session): ReadonlyArray<string> | undefined {
    return this.declared?.session === session ? this.declared.names : undefined
  }

  declaredOn(session: Session, names: ReadonlyArray<string>): void {
    this.declared = { session, names }
  }

  /** The broker has closed the channel, and with its last consumer an auto-delete queue is gone: it has to be declared again. */
  channelClosed(): void {
    if (this.options.queues.some((queue) => typeof queue === "object" && queue.autoDelete)) this.declared = undefined
  }

  begin(subscription: Subscription): void {
    this.current = subscription
    this.restarts.started()
    this.inbox.begin(subscription)
    this.changed.notify()
  }

  /** The consumer does not consume until another subscription begins. Without an error, it leaves a session that is being replaced. */
  lost(error: SubscriptionError = replaced): void {
    this.current = undefined
    this.error = error
  }

  /** The consumer has ended. */
  end(error: SubscriptionError): void {
    this.hasEnded = true
    this.error = error
    // The connection must not wait for an inbox that gets nothing more.
    this.inboxLimit.detach()
    this.inbox.fail(error)
    this.changed.notify()
  }

  // ---------------------------------------------------------------------------
  // called by the fiber of the program
  // ---------------------------------------------------------------------------

  /** No further message arrives. */
  private readonly endInbox = Effect.ensuring(Effect.sync(() => this.inbox.fail(Cause.Done())))

  /** The names of the queues now. If the broker names some, waits until the consumer consumes. */
  readonly queues: Effect.Effect<ReadonlyArray<string>, SubscriptionError> = Effect.suspend(() => {
    if (this.hasEnded) return Effect.fail(this.error)
    const { declared } = this
    const isNamed = this.options.queues.every((queue) => typeof queue === "string" || queue.name !== "")
    if (declared !== undefined && (isNamed || this.current !== undefined || this.isCancelled)) {
      return Effect.succeed(declared.names)
    }
    const { awaitSession, options: { recovery: { waitTimeout } } } = this.connection
    const hasChanged = this.changed.until(() => this.current !== undefined || this.isCancelled || this.hasEnded)
    return awaitSession.pipe(
      Effect.andThen(
        Effect.timeoutOrElse(hasChanged, { duration: waitTimeout, orElse: () => Effect.fail(this.error) })
      ),
      Effect.andThen(this.queues)
    )
  })

  /** Changes the prefetch, for this and later subscriptions. */
  setPrefetch(prefetch: number): Effect.Effect<void, AmqpChannelError> {
    return Effect.andThen(
      Validation.attempt(() => check({ ...this.options, prefetch })),
      Effect.suspend(() => {
        if (this.hasEnded) return Effect.fail(asChannelError(this.error))
        this.prefetch = prefetch
        const { current } = this
        if (current === undefined) return Effect.void
        // If the consumer goes on after the error, then with the new prefetch.
        return Effect.catch(current.setPrefetch(prefetch), (error) => this.hasEnded ? Effect.fail(error) : Effect.void)
      })
    )
  }

  /** Cancels the consumer. Messages that have arrived can still be taken. */
  readonly cancel: Effect.Effect<void> = Effect.suspend(() => {
    this.isCancelled = true
    this.changed.notify()
    return this.current === undefined ? Effect.void : this.current.cancel
  }).pipe(this.endInbox)

  /** Stops in order, before the channel is closed. */
  readonly stop: Effect.Effect<void> = Effect.suspend(() => {
    this.isCancelled = true
    this.changed.notify()
    return this.current === undefined ? Effect.void : this.current.stop
  }).pipe(this.endInbox)

  /** All messages were taken from the inbox. */
  takenAll(): void {
    this.inboxLimit.remove(Infinity)
  }
}
