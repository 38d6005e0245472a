/**
 * The channels of a session, by their numbers, and those that are idle.
 *
 * A channel program runs on a channel that nobody else has. When it leaves the channel clean, that is kept for the next program
 * of the same mode, which saves two round trips. While all numbers are in use, those that want a channel wait in their order: the
 * first gets the number, or the idle channel, that is free next.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as AmqpError from "../../AmqpError.ts"
import { ReplyCode } from "../../protocol/constants.ts"
import { ProtocolError } from "../../protocol/ProtocolError.ts"
import type { SessionOptions } from "../options/sessionOptions.ts"
import { Channel } from "./channel.ts"
import type { ChannelHost, ChannelMode } from "./channel.ts"
import { lostChannel } from "./channelErrors.ts"
import { ChannelNumbers } from "./channelNumbers.ts"

/** What the channels need of their session, besides what each of them needs. */
export interface ChannelsHost extends ChannelHost {
  /** Why there is no session any more. */
  readonly failure: AmqpError.AmqpConnectionError | undefined
  readonly options: Pick<SessionOptions, "channelTimeout" | "closeTimeout" | "maxIdleChannels">
  /** Runs the fiber of a channel, for as long as the session. */
  readonly fork: (loop: Effect.Effect<void, ProtocolError>) => Effect.Effect<unknown>
}

/** Makes an Effect as interruptible as whoever called. */
type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** Something that waits for a channel, and what it was given. */
interface Waiting {
  /** Whether an idle channel of this mode will do; a number will always. */
  readonly leases: ChannelMode | undefined
  granted: number | Channel | undefined
  resume: (effect: Effect.Effect<number | Channel, AmqpError.AmqpChannelError>) => void
}

export class Channels {
  private readonly host: ChannelsHost
  private readonly waiting = new Set<Waiting>()
  private readonly open = new Map<number, Channel>()
  private readonly idle: Record<ChannelMode, Array<Channel>> = { plain: [], confirm: [], transaction: [] }
  private numbers = new ChannelNumbers(0)

  constructor(host: ChannelsHost) {
    this.host = host
  }

  get count(): number {
    return this.open.size
  }

  /** The sum of a value of each. */
  sum(value: (channel: Channel) => number): number {
    let sum = 0
    for (const channel of this.open.values()) sum += value(channel)
    return sum
  }

  /** Whether the broker owes an answer on one of them. */
  get expectsReply(): boolean {
    for (const channel of this.open.values()) if (channel.expectsReply) return true
    return false
  }

  /** How many there may be at once; 0: as many as there are numbers. To be called before the first is opened. */
  limit(channelMax: number): void {
    this.numbers = new ChannelNumbers(channelMax)
  }

  /** The channel with a number, if it is open. Throws a `ProtocolError` for a number that no channel ever had. */
  find(number: number): Channel | undefined {
    const channel = this.open.get(number)
    if (channel === undefined && !this.numbers.wasUsed(number)) {
      throw new ProtocolError({ replyCode: ReplyCode.channelError, message: `channel ${number} was never opened` })
    }
    return channel
  }

  /** Opens a channel in a mode. Its fiber lives as long as the channel. */
  private openOne(
    mode: ChannelMode,
    restore: Restore,
    number: number
  ): Effect.Effect<Channel, AmqpError.AmqpChannelError> {
    return Effect.gen({ self: this }, function*() {
      const { failure } = this.host
      if (failure !== undefined) return yield* Effect.fail(lostChannel(failure))
      const channel = new Channel(number, this.host)
      this.open.set(number, channel)
      yield* this.host.fork(channel.run)
      return yield* restore(Effect.andThen(channel.request({ _tag: "channel.open" }), selectMode(channel, mode))).pipe(
        Effect.as(channel),
        // Even if the caller was interrupted, the number stays reserved until the broker has confirmed the close.
        Effect.onError(() => Effect.sync(() => channel.beginClose()))
      )
    })
  }

  /** A channel in a mode: another one, or where it may be, an idle one for which this had to wait. */
  private openNext(
    mode: ChannelMode,
    mayBeIdle: boolean,
    restore: Restore
  ): Effect.Effect<Channel, AmqpError.AmqpChannelError> {
    return Effect.suspend(() => {
      const { failure } = this.host
      if (failure !== undefined) return Effect.fail(lostChannel(failure))
      const number = this.acquire()
      if (number !== undefined) return this.openOne(mode, restore, number)
      return Effect.flatMap(
        this.await(mayBeIdle ? mode : undefined, restore),
        (granted) => typeof granted === "number" ? this.openOne(mode, restore, granted) : Effect.succeed(granted)
      )
    })
  }

  /** A free number, unless others wait for one. */
  private acquire(): number | undefined {
    return this.waiting.size === 0 ? this.numbers.acquire() : undefined
  }

  /** Waits for a number, or for an idle channel of the mode where one will do. */
  private await(
    leases: ChannelMode | undefined,
    restore: Restore
  ): Effect.Effect<number | Channel, AmqpError.AmqpChannelError> {
    return Effect.suspend(() => {
      const { channelTimeout, closeTimeout } = this.host.options
      const waiting: Waiting = { leases, granted: undefined, resume: () => {} }
      const granted = Effect.callback<number | Channel, AmqpError.AmqpChannelError>((resume) => {
        if (waiting.granted !== undefined) return resume(Effect.succeed(waiting.granted))
        const { failure } = this.host
        if (failure !== undefined) return resume(Effect.fail(lostChannel(failure)))
        waiting.resume = resume
      })
      this.waiting.add(waiting)
      // A number that is about to be free is worth waiting for, also for those that don't wait for others.
      const duration = this.closeIdle() ? Duration.max(channelTimeout, closeTimeout) : channelTimeout
      return restore(Effect.timeoutOrElse(granted, { duration, orElse: () => Effect.fail(this.tooMany) })).pipe(
        Effect.onError(() => Effect.suspend(() => this.abandon(waiting)))
      )
    })
  }

  private get tooMany(): AmqpError.AmqpChannelError {
    return new AmqpError.AmqpChannelError({ reason: new AmqpError.TooManyChannels({ limit: this.numbers.limit }) })
  }

  private grant(waiting: Waiting, granted: number | Channel): void {
    this.waiting.delete(waiting)
    waiting.granted = granted
    waiting.resume(Effect.succeed(granted))
  }

  /** What was granted in the very moment in which its fiber stopped waiting goes to the next one. */
  private abandon(waiting: Waiting): Effect.Effect<void> {
    const { granted } = waiting
    this.waiting.delete(waiting)
    if (granted === undefined) return Effect.void
    return typeof granted === "number" ? Effect.sync(() => this.releaseNumber(granted)) : this.giveBack(granted)
  }

  private releaseNumber(number: number): void {
    const [first] = this.waiting
    if (first === undefined) this.numbers.release(number)
    else this.grant(first, number)
  }

  /** Closes an idle channel, whose number is free after that. Returns whether there was one. */
  private closeIdle(): boolean {
    const { confirm, plain, transaction } = this.idle
    for (;;) {
      const idle = plain.pop() ?? confirm.pop() ?? transaction.pop()
      if (idle === undefined) return false
      // The broker may have closed it meanwhile.
      if (idle.state !== "Open") continue
      idle.beginClose()
      return true
    }
  }

  /** Opens a channel for as long as the scope lives. */
  readonly scoped: Effect.Effect<Channel, AmqpError.AmqpChannelError, Scope.Scope> = Effect.uninterruptibleMask(
    (restore) =>
      Effect.tap(
        this.openNext("plain", false, restore),
        (channel) => Effect.addFinalizer(() => this.close(channel))
      )
  )

  /**
   * A channel in a mode, for as long as nobody else has it: an idle one, or another. To be called where nothing is interrupted;
   * `restore` is for what waits.
   */
  lease(mode: ChannelMode, restore: Restore): Effect.Effect<Channel, AmqpError.AmqpChannelError> {
    return Effect.suspend(() => {
      const idle = this.idle[mode].pop()
      if (idle !== undefined) {
        if (idle.isClean) return Effect.succeed(idle)
        idle.beginClose()
        return this.lease(mode, restore)
      }
      return this.openNext(mode, true, restore)
    })
  }

  /** Takes a channel back: keeps it if it is clean, else closes it. */
  giveBack(channel: Channel): Effect.Effect<void> {
    return Effect.suspend(() => {
      const idle = this.idle[channel.mode]
      channel.programPublisher = undefined
      channel.acknowledgements.flush()
      if (!channel.isClean || idle.length >= this.host.options.maxIdleChannels) return this.close(channel)
      const [first] = this.waiting
      if (first === undefined) return Effect.sync(() => void idle.push(channel))
      return first.leases === channel.mode ? Effect.sync(() => this.grant(first, channel)) : this.close(channel)
    })
  }

  /** Closes a channel, within the close timeout. */
  close(channel: Channel): Effect.Effect<void> {
    return channel.state === "Closed"
      ? Effect.void
      : Effect.asVoid(Effect.timeoutOption(Effect.interruptible(channel.close), this.host.options.closeTimeout))
  }

  /** The number of a channel is free again: the close is complete on both sides. */
  release(channel: Channel): void {
    if (this.open.get(channel.number) !== channel) return
    this.open.delete(channel.number)
    channel.mailbox.fail("Ended")
    this.releaseNumber(channel.number)
  }

  /** The session is over. */
  end(cause: AmqpError.AmqpConnectionError): void {
    const channels = [...this.open.values()]
    this.open.clear()
    const error = lostChannel(cause)
    for (const channel of channels) {
      channel.end(error)
      channel.mailbox.fail("Ended")
    }
    const waiting = [...this.waiting]
    this.waiting.clear()
    for (const { resume } of waiting) resume(Effect.fail(error))
  }
}

const selectMode = (channel: Channel, mode: ChannelMode): Effect.Effect<unknown, AmqpError.AmqpChannelError> =>
  mode === "plain" ? Effect.void : mode === "confirm" ? channel.confirmSelect : channel.transactionSelect
