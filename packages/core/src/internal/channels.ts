/**
 * The channels of a session, by their numbers, and those that are idle.
 *
 * A channel program runs on a channel that nobody else has. When it leaves the channel clean, that is kept for the next program
 * of the same mode, which saves two round trips.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as AmqpError from "../AmqpError.ts"
import { ReplyCode } from "../protocol/constants.ts"
import { ProtocolError } from "../protocol/ProtocolError.ts"
import { Channel } from "./channel.ts"
import type { ChannelHost, ChannelMode } from "./channel.ts"
import { ChannelNumbers } from "./channelNumbers.ts"
import type { SessionOptions } from "./sessionOptions.ts"

/** What the channels need of their session, besides what each of them needs. */
export interface ChannelsHost extends ChannelHost {
  /** Why there is no session any more. */
  readonly failure: AmqpError.AmqpConnectionError | undefined
  readonly options: Pick<SessionOptions, "closeTimeout" | "maxIdleChannels">
  /** Runs the fiber of a channel, for as long as the session. */
  readonly fork: (loop: Effect.Effect<void, ProtocolError>) => Effect.Effect<unknown>
}

/** Makes an Effect as interruptible as whoever called. */
type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

export class Channels {
  private readonly host: ChannelsHost
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
  get expectReply(): boolean {
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
  private openOne(mode: ChannelMode, restore: Restore): Effect.Effect<Channel, AmqpError.AmqpChannelError> {
    return Effect.gen({ self: this }, function*() {
      const { failure } = this.host
      if (failure !== undefined) return yield* Effect.fail(lostChannel(failure))
      const number = this.numbers.acquire() ?? (yield* this.freeNumber(restore))
      const channel = new Channel(number, this.host)
      this.open.set(number, channel)
      yield* this.host.fork(channel.run)
      return yield* restore(Effect.andThen(channel.request({ _tag: "channel.open" }), selectMode(channel, mode))).pipe(
        Effect.as(channel),
        // Whoever gave up: the number stays taken until the broker has closed what it may have opened.
        Effect.onError(() => Effect.sync(() => channel.beginClose()))
      )
    })
  }

  /** The number of an idle channel, which is closed for it. */
  private freeNumber(restore: Restore): Effect.Effect<number, AmqpError.AmqpChannelError> {
    return Effect.gen({ self: this }, function*() {
      const { confirm, plain, transaction } = this.idle
      let number: number | undefined
      while (number === undefined) {
        const idle = plain.pop() ?? confirm.pop() ?? transaction.pop()
        if (idle === undefined) {
          const reason = new AmqpError.TooManyChannels({ limit: this.numbers.limit })
          return yield* Effect.fail(new AmqpError.AmqpChannelError({ reason }))
        }
        idle.beginClose()
        yield* restore(this.close(idle))
        number = this.numbers.acquire()
      }
      return number
    })
  }

  /** Opens a channel for as long as the scope lives. */
  readonly scoped: Effect.Effect<Channel, AmqpError.AmqpChannelError, Scope.Scope> = Effect.uninterruptibleMask(
    (restore) =>
      Effect.tap(
        this.openOne("plain", restore),
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
      if (idle === undefined) return this.openOne(mode, restore)
      if (idle.isClean) return Effect.succeed(idle)
      idle.beginClose()
      return this.lease(mode, restore)
    })
  }

  /** Takes a channel back: keeps it if it is clean, else closes it. */
  giveBack(channel: Channel): Effect.Effect<void> {
    return Effect.suspend(() => {
      const idle = this.idle[channel.mode]
      channel.programPublisher = undefined
      channel.acknowledgements.flush()
      if (!channel.isClean || idle.length >= this.host.options.maxIdleChannels) return this.close(channel)
      idle.push(channel)
      return Effect.void
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
    this.numbers.release(channel.number)
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
  }
}

const selectMode = (channel: Channel, mode: ChannelMode): Effect.Effect<unknown, AmqpError.AmqpChannelError> =>
  mode === "plain" ? Effect.void : mode === "confirm" ? channel.confirmSelect : channel.transactionSelect

/** How the loss of the connection looks to what used a channel of it. */
export const lostChannel = (cause: AmqpError.AmqpConnectionError): AmqpError.AmqpChannelError =>
  new AmqpError.AmqpChannelError({ reason: new AmqpError.ConnectionLost({ cause }) })
