/**
 * Messages that are fetched one at a time (`basic.get`) and settled as their handler decides.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { AmqpChannelError, ContentTooLarge } from "../AmqpError.ts"
import { ReplyCode } from "../protocol/constants.ts"
import type { Content } from "../protocol/ContentAssembler.ts"
import type { BasicGetOk } from "../protocol/methods.generated.ts"
import type { Channel } from "./channel.ts"

/** What a handler decides. */
interface Decision<out A> {
  readonly _tag: "Ack" | "Reject" | "Requeue"
  readonly value: A
}

type Handle<A, E, R> = (content: Content<BasicGetOk>) => Effect.Effect<Decision<A>, E, R>

const requeueNow = (channel: Channel, deliveryTag: number): unknown =>
  channel.acknowledgements.reject(deliveryTag, true)

/** Fetches a message and has it handled. One that fails its handler goes back at once, others that go back as `requeue` says. */
export const fetch = <A, E, R>(
  channel: Channel,
  queue: string,
  handle: Handle<A, E, R>,
  requeue: (channel: Channel, deliveryTag: number) => unknown = requeueNow
): Effect.Effect<Option.Option<A>, E | AmqpChannelError, R> =>
  // From the arrival of the message to its settlement nothing may get lost by an interruption.
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(
      restore(channel.get(queue, false)),
      (answer): Effect.Effect<Option.Option<A>, E | AmqpChannelError, R> => {
        if ("_tag" in answer) return Effect.succeedNone
        const { acknowledgements } = channel
        const deliveryTag = Number(answer.method.deliveryTag)
        // Its body was dropped as it came. Where there is a dead-letter exchange it goes there.
        if (answer.oversized) {
          acknowledgements.reject(deliveryTag, false)
          return Effect.fail(tooLarge(answer))
        }
        return restore(Effect.suspend(() => handle(answer))).pipe(
          Effect.onExit((exit) =>
            Effect.sync(() => {
              if (!Exit.isSuccess(exit)) requeueNow(channel, deliveryTag)
              else if (exit.value._tag === "Ack") acknowledgements.ack(deliveryTag)
              else if (exit.value._tag === "Reject") acknowledgements.reject(deliveryTag, false)
              else requeue(channel, deliveryTag)
            })
          ),
          Effect.map(({ value }) => Option.some(value))
        )
      }
    )
  )

/**
 * Fetches until the queue is empty, at most `limit` messages. Those that go back do so at the end: at once they would be the next
 * to be fetched, and that without end.
 */
export const fetchAll = <A, E, R>(
  channel: Channel,
  queue: string,
  limit: number,
  handle: Handle<A, E, R>
): Effect.Effect<Array<A>, E | AmqpChannelError, R> =>
  Effect.suspend(() => {
    const values: Array<A> = []
    const held: Array<number> = []
    const hold = (_channel: Channel, deliveryTag: number) => held.push(deliveryTag)
    const loop = Effect.gen(function*() {
      while (values.length < limit) {
        const found = yield* fetch(channel, queue, handle, hold)
        if (Option.isNone(found)) break
        values.push(found.value)
      }
      return values
    })
    return Effect.ensuring(loop, Effect.sync(() => held.forEach((deliveryTag) => requeueNow(channel, deliveryTag))))
  })

/** Fetches a message that the broker forgets as it sends it. */
export const fetchAutoAck = (
  channel: Channel,
  queue: string
): Effect.Effect<Option.Option<Content<BasicGetOk>>, AmqpChannelError> =>
  Effect.flatMap(channel.get(queue, true), (answer) => {
    if ("_tag" in answer) return Effect.succeedNone
    return answer.oversized ? Effect.fail(tooLarge(answer)) : Effect.succeedSome(answer)
  })

/** A message that is larger than the connection takes. */
const tooLarge = ({ bodySize }: { readonly bodySize: number }): AmqpChannelError =>
  new AmqpChannelError({
    reason: new ContentTooLarge({
      replyCode: ReplyCode.contentTooLarge,
      replyText: `a message of ${bodySize} bytes is larger than the connection's maxBodySize`,
      method: "basic.get-ok"
    })
  })
