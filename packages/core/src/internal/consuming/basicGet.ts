/**
 * Messages that are fetched one at a time (`basic.get`) and settled as their handler decides.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type { Settlement } from "../../AmqpDelivery.ts"
import { AmqpChannelError, ContentTooLarge } from "../../AmqpError.ts"
import { ReplyCode } from "../../protocol/constants.ts"
import type { Content } from "../../protocol/ContentAssembler.ts"
import type { BasicGetOk } from "../../protocol/methods.generated.ts"
import type { Channel } from "../channel/channel.ts"
import { invalid } from "../options/validation.ts"
import { isSettlement } from "./settlement.ts"

type Handle<E, R> = (content: Content<BasicGetOk>) => Effect.Effect<unknown, E, R>

const requeueNow = (channel: Channel, deliveryTag: number): boolean =>
  channel.acknowledgements.reject(deliveryTag, true)

/** Fetches a message and has it handled. One that fails its handler goes back at once, others that go back as `requeue` says. */
const fetchAs = <E, R>(
  channel: Channel,
  queue: string,
  handle: Handle<E, R>,
  requeue: (channel: Channel, deliveryTag: number) => boolean
): Effect.Effect<Option.Option<unknown>, E | AmqpChannelError, R> =>
  // From the arrival of the message to its settlement nothing may get lost by an interruption.
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(
      restore(get(channel, queue, false)),
      (answer): Effect.Effect<Option.Option<unknown>, E | AmqpChannelError, R> => {
        if ("_tag" in answer) return Effect.succeedNone
        const deliveryTag = Number(answer.method.deliveryTag)
        // Its body was dropped as it came, and a reject would drop the message where no queue takes dead letters.
        if (answer.oversized) {
          requeueNow(channel, deliveryTag)
          return Effect.fail(tooLarge(answer, "It is back in its queue"))
        }
        return Effect.flatMap(
          Effect.exit(restore(Effect.suspend(() => handle(answer)))),
          (exit): Effect.Effect<Option.Option<unknown>, E | AmqpChannelError> => {
            if (Exit.isFailure(exit) || !isSettlement(exit.value)) requeueNow(channel, deliveryTag)
            if (Exit.isFailure(exit)) return Effect.failCause(exit.cause)
            const { value: settlement } = exit
            if (!isSettlement(settlement)) return Effect.die(noSettlement(settlement))
            return settle(channel, deliveryTag, settlement, requeue)
              ? Effect.succeedSome(settlement.value)
              : Effect.fail(unsettled(channel))
          }
        )
      }
    )
  )

/** Answers whether the settlement is on its way. */
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

/** What a handler decides with: of the type, and made by this package. */
type Handler<A, E, R> = (content: Content<BasicGetOk>) => Effect.Effect<Settlement<A>, E, R>

/** Fetches a message and settles it as its handler decides. */
export const fetch = <A, E, R>(
  channel: Channel,
  queue: string,
  handle: Handler<A, E, R>
): Effect.Effect<Option.Option<A>, E | AmqpChannelError, R> =>
  // The value is that of the handler's settlement.
  fetchAs(channel, queue, handle, requeueNow) as Effect.Effect<Option.Option<A>, E | AmqpChannelError, R>

/**
 * Fetches until the queue is empty, at most `limit` messages. Those that go back do so at the end: at once they would be the next
 * to be fetched, and that without end.
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
    const release = Effect.sync(() =>
      held.splice(0).filter((deliveryTag) => !requeueNow(channel, deliveryTag)).length === 0
    )
    const loop = Effect.gen(function*() {
      while (values.length < limit) {
        const found = yield* fetchAs(channel, queue, handle, hold)
        if (Option.isNone(found)) break
        // As in `fetch`.
        values.push(found.value as A)
      }
      return (yield* release) ? values : yield* Effect.fail(unsettled(channel))
    })
    return Effect.ensuring(loop, release)
  })

/** Fetches a message that the broker forgets as it sends it. */
export const fetchAutoAck = (
  channel: Channel,
  queue: string
): Effect.Effect<Option.Option<Content<BasicGetOk>>, AmqpChannelError> =>
  Effect.flatMap(get(channel, queue, true), (answer) => {
    if ("_tag" in answer) return Effect.succeedNone
    return answer.oversized
      ? Effect.fail(tooLarge(answer, "It is lost, as automatic acknowledgement was asked for"))
      : Effect.succeedSome(answer)
  })

/**
 * `basic.get`. When a queue is deleted and declared with another type, RabbitMQ ends the whole connection (541) for the next
 * `basic.get` on a channel that has read the old one. So the channel is not kept for another program, and a program is refused it.
 */
const get = (channel: Channel, queue: string, noAck: boolean) =>
  Effect.suspend(() => {
    if (channel.queuesRead.get(queue) === "deleted") return Effect.fail(readBeforeDelete(queue))
    channel.queuesRead.set(queue, "there")
    channel.isAltered = true
    return channel.get(queue, noAck)
  })

const readBeforeDelete = (queue: string) =>
  new AmqpChannelError({
    reason: invalid(
      `queue: this program has read from ${
        JSON.stringify(queue)
      } and deleted it; read from a new queue of that name with ` +
        "another program"
    )
  })

/** Why a message that was handled could not be settled. */
const unsettled = ({ failure }: Channel): AmqpChannelError =>
  failure ?? new AmqpChannelError({
    reason: invalid("the message was given back by AmqpChannel.recover before its handler settled it")
  })

const noSettlement = (value: unknown): TypeError => {
  const what = value === null ? "null" : Array.isArray(value) ? "an array" : `a value of type ${typeof value}`
  return new TypeError(
    `A message was not handled: its handler returned ${what} instead of a settlement. Return AmqpDelivery.ack, ` +
      "AmqpDelivery.reject or AmqpDelivery.requeue. The message is back in its queue."
  )
}

/** A message that is larger than the connection takes. */
const tooLarge = ({ bodySize }: { readonly bodySize: number }, fate: string): AmqpChannelError =>
  new AmqpChannelError({
    reason: new ContentTooLarge({
      replyCode: ReplyCode.contentTooLarge,
      replyText: `a message of ${bodySize} bytes is larger than the connection's maxBodySize. ${fate}`,
      method: "basic.get-ok"
    })
  })
