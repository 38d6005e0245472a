/**
 * The channels of a session.
 *
 * Numbers: each open channel has a number. A closed channel keeps it until both sides have confirmed the close.
 *
 * Leases: a channel program runs on a channel that no other fiber uses. If the program leaves the channel clean, it is kept idle, and leased
 * to the next program of the same mode, which saves the two round trips of opening and closing one. Otherwise it is closed.
 *
 * Waiting: while all numbers are in use, fibers wait for one in their order. To make room, an idle channel is closed for each of them. The
 * first gets the next number that is free, or the next clean channel if it fits.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import { TooManyChannels } from "../../AmqpError.ts"
import type { AmqpChannelError, AmqpConnectionError } from "../../AmqpError.ts"
import { ReplyCode } from "../../protocol/constants.ts"
import { ProtocolError } from "../../protocol/ProtocolError.ts"
import { Signal } from "../common/signal.ts"
import type { SessionOptions } from "../options/sessionOptions.ts"
import type { RequestTimeouts } from "../wire/requestTimeouts.ts"
import { Channel } from "./channel.ts"
import type { ChannelHost, ChannelMode } from "./channel.ts"
import { channelError, lostChannel } from "./channelErrors.ts"
import { ChannelNumbers } from "./channelNumbers.ts"
import { ChannelWaiters } from "./channelWaiters.ts"
import type { Grant } from "./channelWaiters.ts"

/** What the channels need from their session, in addition to what each channel needs. */
export interface ChannelsHost extends ChannelHost {
  /** Why the session has ended. */
  readonly failure: AmqpConnectionError | undefined
  readonly options: Pick<SessionOptions, "channelTimeout" | "closeTimeout" | "maxIdleChannels">
  readonly closeTimeouts: RequestTimeouts
  /** Runs an effect even if the session has ended. */
  afterwards(effect: Effect.Effect<void>): void
}

/** How many channels of a session that has ended are ended in one turn of the event loop. */
const endedPerTurn = 32

/** Makes an effect as interruptible as the caller is. */
type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

export class Channels {
  private readonly host: ChannelsHost
  private numbers = new ChannelNumbers(0)
  /** The channels that have a number, by that number. */
  private readonly open = new Map<number, Channel>()
  private readonly idle: Record<ChannelMode, Array<Channel>> = { plain: [], confirm: [], transaction: [] }
  private readonly waiters = new ChannelWaiters()
  /** The channels of consumers. */
  private readonly consuming = new Set<Channel>()
  /** Notified when a channel is no longer used. */
  private readonly returned = new Signal()

  constructor(host: ChannelsHost) {
    this.host = host
  }

  /** Sets how many channels may be open. To be called before the first is opened. 0 means as many as there are numbers. */
  setLimit(channelMax: number): void {
    this.numbers = new ChannelNumbers(channelMax)
  }

  // ---------------------------------------------------------------------------
  // for the session
  // ---------------------------------------------------------------------------

  get count(): number {
    return this.open.size
  }

  /** The sum of a value of each channel. */
  sum(value: (channel: Channel) => number): number {
    let sum = 0
    for (const channel of this.open.values()) sum += value(channel)
    return sum
  }

  /** Whether a fiber waits for something that the broker has to send on a channel. */
  get expectsReply(): boolean {
    for (const channel of this.open.values()) if (channel.expectsReply) return true
    return false
  }

  /** The channel with a number, unless it has closed. Throws a `ProtocolError` for a number that no channel ever had. */
  find(number: number): Channel | undefined {
    const channel = this.open.get(number)
    if (channel === undefined && !this.numbers.wasUsed(number)) {
      throw new ProtocolError({ replyCode: ReplyCode.channelError, message: `channel ${number} was never opened` })
    }
    return channel
  }

  /** Waits until no program or publisher uses a channel. */
  readonly awaitOnlyConsumers: Effect.Effect<void> = this.returned.until(() => {
    const { confirm, plain, transaction } = this.idle
    return this.open.size <= confirm.length + plain.length + transaction.length + this.consuming.size
  })

  /** Waits until no consumer uses a channel. */
  readonly awaitNoConsumers: Effect.Effect<void> = this.returned.until(() => this.consuming.size === 0)

  /** The close of a channel is complete on both sides, so its number is free again. */
  release(channel: Channel): void {
    if (this.open.get(channel.number) !== channel) return
    this.open.delete(channel.number)
    this.releaseNumber(channel.number)
    this.returned.notify()
  }

  /** The session has ended. */
  end(cause: AmqpConnectionError): void {
    const channels = [...this.open.values()]
    this.open.clear()
    const error = lostChannel(cause)
    // Before fibers are resumed: what they begin on another channel of the session must fail.
    for (const channel of channels) channel.lose(error)
    this.endAll(channels, error)
    this.waiters.fail(error)
    this.returned.notify()
  }

  /** Ends channels, a part of them per turn of the event loop: all at once would keep the process busy for long. */
  private endAll(channels: ReadonlyArray<Channel>, error: AmqpChannelError): void {
    for (const channel of channels.slice(0, endedPerTurn)) channel.end(error)
    if (channels.length <= endedPerTurn) return
    const others = Effect.sync(() => this.endAll(channels.slice(endedPerTurn), error))
    this.host.afterwards(Effect.andThen(Effect.yieldNow, others))
  }

  // ---------------------------------------------------------------------------
  // for programs, publishers and consumers
  // ---------------------------------------------------------------------------

  /** Opens a channel, and closes it with the scope. */
  readonly scoped: Effect.Effect<Channel, AmqpChannelError, Scope.Scope> = Effect.uninterruptibleMask(
    (restore) =>
      Effect.tap(
        this.openNext("plain", undefined, restore),
        (channel) => Effect.addFinalizer(() => this.close(channel))
      )
  )

  /** The same, for a consumer. */
  readonly scopedToConsume: Effect.Effect<Channel, AmqpChannelError, Scope.Scope> = Effect.gen(
    { self: this },
    function*() {
      let channel: Channel | undefined
      // After it is closed.
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          if (channel !== undefined) this.consuming.delete(channel)
          this.returned.notify()
        })
      )
      channel = yield* this.scoped
      this.consuming.add(channel)
      return channel
    }
  )

  /**
   * Leases a channel in a mode: an idle one, or a new one. The caller must be uninterruptible, and return the channel with `giveBack` or
   * `close`. `restore` makes the waiting steps interruptible.
   */
  lease(mode: ChannelMode, restore: Restore): Effect.Effect<Channel, AmqpChannelError> {
    return Effect.suspend(() => {
      const idle = this.idle[mode].pop()
      if (idle === undefined) return this.openNext(mode, mode, restore)
      if (idle.isClean) return Effect.succeed(idle)
      idle.beginClose()
      return this.lease(mode, restore)
    })
  }

  /** Ends a lease. A clean channel is kept for other programs, and any other is closed. */
  giveBack(channel: Channel): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { mode } = channel
      const idle = this.idle[mode]
      channel.programPublisher = undefined
      channel.acknowledgements.flush()
      if (!channel.isClean || idle.length >= this.host.options.maxIdleChannels) return this.close(channel)
      const { first } = this.waiters
      if (first === undefined) return Effect.sync(() => this.keep(idle, channel))
      return first.mode === mode ? Effect.sync(() => this.waiters.grant(first, channel)) : this.close(channel)
    })
  }

  /** Uses a leased channel, which is kept for others if that succeeds, and closed otherwise. */
  leased<A>(use: (channel: Channel) => Effect.Effect<A, AmqpChannelError>): Effect.Effect<A, AmqpChannelError> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(
        this.lease("plain", restore),
        (channel) =>
          Effect.flatMap(
            Effect.exit(restore(use(channel))),
            (exit) => Effect.andThen(Exit.isSuccess(exit) ? this.giveBack(channel) : this.close(channel), exit)
          )
      )
    )
  }

  private keep(idle: Array<Channel>, channel: Channel): void {
    idle.push(channel)
    this.returned.notify()
  }

  /** Closes a channel, within the close timeout. */
  close(channel: Channel): Effect.Effect<void> {
    return channel.state === "Closed" ? Effect.void : this.closeInTime(channel)
  }

  /** One timer for all channels: `Effect.timeout` would take two fibers and a timer for each. */
  private closeInTime(channel: Channel): Effect.Effect<void> {
    return Effect.callback((resume) => {
      channel.beginClose()
      if (channel.hasClosed) return resume(Effect.void)
      const timeout = { isDone: false, expire: () => resume(Effect.void) }
      const cancel = channel.closed.once(() => {
        timeout.isDone = true
        resume(Effect.void)
      })
      this.host.closeTimeouts.add(timeout)
      return Effect.sync(() => {
        timeout.isDone = true
        cancel()
      })
    })
  }

  // ---------------------------------------------------------------------------
  // opening and waiting
  // ---------------------------------------------------------------------------

  /**
   * A channel in a mode: a new one, after waiting for its number if necessary. If it waits, an idle channel in the mode `idleMode` is granted
   * too.
   */
  private openNext(
    mode: ChannelMode,
    idleMode: ChannelMode | undefined,
    restore: Restore
  ): Effect.Effect<Channel, AmqpChannelError> {
    return Effect.suspend(() => {
      const number = this.waiters.first === undefined && this.host.failure === undefined
        ? this.numbers.acquire()
        : undefined
      if (number !== undefined) return this.openWith(number, mode, restore)
      return Effect.flatMap(
        this.awaitGrant(idleMode, restore),
        (granted) => typeof granted === "number" ? this.openWith(granted, mode, restore) : Effect.succeed(granted)
      )
    })
  }

  private openWith(number: number, mode: ChannelMode, restore: Restore): Effect.Effect<Channel, AmqpChannelError> {
    return Effect.gen({ self: this }, function*() {
      const { failure } = this.host
      if (failure !== undefined) return yield* Effect.fail(lostChannel(failure))
      const channel = new Channel(number, this.host)
      this.open.set(number, channel)
      return yield* restore(Effect.andThen(channel.request({ _tag: "channel.open" }), selectMode(channel, mode))).pipe(
        Effect.as(channel),
        // Even if the caller was interrupted, the number stays reserved until the broker has confirmed the close.
        Effect.onError(() => Effect.sync(() => channel.beginClose()))
      )
    })
  }

  private awaitGrant(idleMode: ChannelMode | undefined, restore: Restore): Effect.Effect<Grant, AmqpChannelError> {
    return Effect.suspend(() => {
      const { failure, options: { channelTimeout, closeTimeout } } = this.host
      if (failure !== undefined) return Effect.fail(lostChannel(failure))
      const waiter = this.waiters.add(idleMode)
      // The number of a channel that is being closed is worth waiting for, even if the channel timeout is short.
      const duration = this.closeIdle() ? Duration.max(channelTimeout, closeTimeout) : channelTimeout
      return restore(Effect.timeoutOrElse(waiter.await, { duration, orElse: () => Effect.fail(this.tooMany) })).pipe(
        Effect.onError(() =>
          Effect.suspend(() => {
            this.waiters.remove(waiter)
            // The fiber was interrupted at the moment of the grant, so the next one gets it.
            return waiter.granted === undefined ? Effect.void : this.passOn(waiter.granted)
          })
        )
      )
    })
  }

  private get tooMany(): AmqpChannelError {
    return channelError(new TooManyChannels({ limit: this.numbers.limit }))
  }

  private passOn(granted: Grant): Effect.Effect<void> {
    return typeof granted === "number" ? Effect.sync(() => this.releaseNumber(granted)) : this.giveBack(granted)
  }

  /** Gives a free number to the first fiber that waits, if any. */
  private releaseNumber(number: number): void {
    const { first } = this.waiters
    if (first === undefined) this.numbers.release(number)
    else this.waiters.grant(first, number)
  }

  /** Begins to close an idle channel, whose number is free after that. Returns whether there was one. */
  private closeIdle(): boolean {
    const { confirm, plain, transaction } = this.idle
    for (;;) {
      const idle = plain.pop() ?? confirm.pop() ?? transaction.pop()
      if (idle === undefined) return false
      // The broker may have closed it in the meantime.
      if (idle.state !== "Open") continue
      idle.beginClose()
      return true
    }
  }
}

const selectMode = (channel: Channel, mode: ChannelMode): Effect.Effect<unknown, AmqpChannelError> =>
  mode === "plain" ? Effect.void : mode === "confirm" ? channel.confirmSelect : channel.transactionSelect
