/**
 * Fetches messages one at a time (`basic.get`), and settles each as its handler decides.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type { AmqpChannelError } from "../../AmqpError.ts"
import type { Content } from "../../protocol/ContentAssembler.ts"
import type { BasicGetOk } from "../../protocol/methods.generated.ts"
import type { Channel } from "../channel/channel.ts"
import { bodyTooLarge, channelError } from "../channel/channelErrors.ts"
import { invalid } from "../options/validation.ts"
import { notASettlement } from "./handlerResult.ts"
import { isSettlement } from "./settlement.ts"
import type { Settlement } from "./settlement.ts"

/** A handler as its type has it. */
type Handler<A, E, R> = (content: Content<BasicGetOk>) => Effect.Effect<Settlement<A>, E, R>

/** A handler as it may be in code without types. */
type UncheckedHandler<E, R> = (content: Content<BasicGetOk>) => Effect.Effect<unknown, E, R>

const getOk = "basic.get-ok"

const requeueNow = (channel: Channel, deliveryTag: number): boolean =>
  channel.acknowledgements.reject(deliveryTag, true)

/**
 * Fetches a message and runs its handler. If the handler fails, the message is requeued at once. If it decides to requeue the message,
 * `requeue` does that.
 */
const fetchAs = <E, R>(
  channel: Channel,
  queue: string,
  handle: UncheckedHandler<E, R>,
  requeue: (channel: Channel, deliveryTag: number) => boolean
): Effect.Effect<Option.Option<unknown>, E | AmqpChannelError, R> =>
  // An interruption must not leave a message unsettled.
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(
      restore(get(channel, queue, false)),
      (reply): Effect.Effect<Option.Option<unknown>, E | AmqpChannelError, R> => {
        if ("_tag" in reply) return Effect.succeedNone
        const deliveryTag = Number(reply.method.deliveryTag)
        // The body was dropped while it arrived. A reject would drop the message too if the queue has no dead-letter queue.
        if (reply.oversized) {
          requeueNow(channel, deliveryTag)
          return Effect.fail(bodyTooLarge(reply, getOk, "It is back in its queue"))
        }
        return Effect.flatMap(
          Effect.exit(restore(Effect.suspend(() => handle(reply)))),
          (exit): Effect.Effect<Option.Option<unknown>, E | AmqpChannelError> => {
            if (Exit.isFailure(exit) || !isSettlement(exit.value)) requeueNow(channel, deliveryTag)
            if (Exit.isFailure(exit)) return Effect.failCause(exit.cause)
            const { value: settlement } = exit
            if (!isSettlement(settlement)) {
              return Effect.die(notASettlement(settlement, "handler", " The message is back in its queue."))
            }
            return settle(channel, deliveryTag, settlement, requeue)
              ? Effect.succeedSome(settlement.value)
              : Effect.fail(notSettled(channel))
          }
        )
      }
    )
  )

/** Returns whether the message could be settled. */
const settle = (
  channel: Channel,
  deliveryTag: number,
  { _tag }: Settlement<unknown>,
  requeue: (channel: Channel, deliveryTag: number) => boolean
): boolean => {
  const { acknowledgements } = channel
  if (_tag === "Requeue") return requeue(channel, deliveryTag)
  if (_tag === "Reject") return acknowledgements.reject(deliveryTag, false)
  const isOpen = acknowledgements.ack(deliveryTag)
  acknowledgements.flush()
  return isOpen
}

/** Fetches a message and settles it as its handler decides. */
export const fetch = <A, E, R>(
  channel: Channel,
  queue: string,
  handle: Handler<A, E, R>
): Effect.Effect<Option.Option<A>, E | AmqpChannelError, R> =>
  // The value is that of the handler's settlement.
  fetchAs(channel, queue, handle, requeueNow) as Effect.Effect<Option.Option<A>, E | AmqpChannelError, R>

/**
 * Fetches until the queue is empty, at most `limit` messages. Messages that handlers decide to requeue are requeued at the end: before
 * that, they would be fetched again, without an end.
 */
export const fetchAll = <A, E, R>(
  channel: Channel,
  queue: string,
  limit: number,
  handle: Handler<A, E, R>
): Effect.Effect<Array<A>, E | AmqpChannelError, R> =>
  Effect.suspend(() => {
    const values: Array<A> = []
    const held: Array<number> = []
    const hold = (channel: Channel, deliveryTag: number): boolean => {
      held.push(deliveryTag)
      return channel.failure === undefined
    }
    const requeueHeld = Effect.sync(() =>
      held.splice(0).filter((deliveryTag) => !requeueNow(channel, deliveryTag)).length === 0
    )
    const loop = Effect.gen(function*() {
      while (values.length < limit) {
        const found = yield* fetchAs(channel, queue, handle, hold)
        if (Option.isNone(found)) break
        // As in `fetch`.
        values.push(found.value as A)
      }
      return (yield* requeueHeld) ? values : yield* Effect.fail(notSettled(channel))
    })
    return Effect.ensuring(loop, requeueHeld)
  })

/** Fetches a message that the broker regards as acknowledged when it has sent it. */
export const fetchAutoAck = (
  channel: Channel,
  queue: string
): Effect.Effect<Option.Option<Content<BasicGetOk>>, AmqpChannelError> =>
  Effect.flatMap(get(channel, queue, true), (reply) => {
    if ("_tag" in reply) return Effect.succeedNone
    return reply.oversized
      ? Effect.fail(bodyTooLarge(reply, getOk, "It is lost, because it was fetched with automatic acknowledgement"))
      : Effect.succeedSome(reply)
  })

const get = (channel: Channel, queue: string, noAck: boolean) =>
  Effect.suspend(() => {
    if (!channel.lease.fetchesFrom(queue)) return Effect.fail(readAfterDelete(queue))
    return channel.get(queue, noAck)
  })

const readAfterDelete = (queue: string): AmqpChannelError =>
  channelError(
    invalid(
      `queue: this program has read from ${JSON.stringify(queue)} and deleted it. ` +
        "Read from a new queue of that name in another program"
    )
  )

/** A message was handled, but could not be settled. */
const notSettled = ({ failure }: Channel): AmqpChannelError =>
  failure ?? channelError(invalid("the message was requeued by AmqpChannel.recover before its handler settled it"))
