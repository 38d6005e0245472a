/**
 * The requests of a channel. They are sent one at a time, each after the reply to the one before.
 *
 * If the caller of a request is interrupted, the request stays in the queue until its reply arrives. Otherwise that reply would be mistaken
 * for the reply to the next request. After a timeout, the next request is sent as well: a broker replies to the requests of a channel in
 * their order.
 */
import * as Effect from "effect/Effect"
import * as AmqpError from "../../AmqpError.ts"
import { ReplyCode } from "../../protocol/constants.ts"
import type { Content } from "../../protocol/ContentAssembler.ts"
import { replyTags } from "../../protocol/methods.generated.ts"
import type {
  BasicGetEmpty,
  BasicGetOk,
  Method,
  MethodTag,
  ReplyOf,
  SynchronousMethod
} from "../../protocol/methods.generated.ts"
import { ProtocolError } from "../../protocol/ProtocolError.ts"
import type { Outbound } from "../wire/outbound.ts"
import type { ReadGate } from "../wire/readGate.ts"
import type { Expiring, RequestTimeouts } from "../wire/requestTimeouts.ts"
import type { Acknowledgements } from "./acknowledgements.ts"
import { channelError, failureOfStep } from "./channelErrors.ts"

/** A method, or a method with its content. */
export type ChannelEvent = Method | Content

export const tagOf = (event: ChannelEvent): MethodTag => "_tag" in event ? event._tag : event.method._tag

type Reply = Effect.Effect<ChannelEvent, AmqpError.AmqpChannelError>

/** `Waiting` for its turn, `Sent`, or `Expired`: the request timed out, and its reply will be dropped. */
type RequestState = "Waiting" | "Sent" | "Expired"

interface Request extends Expiring {
  readonly method: SynchronousMethod
  state: RequestState
  isDone: boolean
  /** Absent when no fiber waits for the reply any longer. */
  resume: ((reply: Reply) => void) | undefined
}

/** What the requests of a channel need from its session. */
export interface RequestHost {
  readonly outbound: Outbound
  readonly readGate: ReadGate
  readonly requestTimeouts: RequestTimeouts
  warn(message: string): void
}

export class RequestQueue {
  private readonly channel: number
  private readonly host: RequestHost
  private readonly acknowledgements: Acknowledgements
  /** Why the channel is not open, so that every request fails. */
  private readonly failure: () => AmqpError.AmqpChannelError | undefined
  private requests: Array<Request> = []
  /** Whether a request was sent, so that the broker knows the channel. */
  hasSent = false

  constructor(
    channel: number,
    host: RequestHost,
    acknowledgements: Acknowledgements,
    failure: () => AmqpError.AmqpChannelError | undefined
  ) {
    this.channel = channel
    this.host = host
    this.acknowledgements = acknowledgements
    this.failure = failure
  }

  get isEmpty(): boolean {
    return this.requests.length === 0
  }

  /** Sends a request after the replies to earlier ones, and waits for its own reply. */
  readonly request = <M extends SynchronousMethod>(
    method: M
  ): Effect.Effect<ReplyOf<M>, AmqpError.AmqpChannelError> =>
    // `reply` checks that the tag of the reply is one of `replyTags[method._tag]`, which are the tags of `ReplyOf`.
    this.exchange(method) as Effect.Effect<ReplyOf<M>, AmqpError.AmqpChannelError>

  /** Sends `basic.get`. The reply is a message, or that the queue is empty. */
  get(queue: string, noAck: boolean): Effect.Effect<Content<BasicGetOk> | BasicGetEmpty, AmqpError.AmqpChannelError> {
    // As in `request`. A message arrives as content.
    return this.exchange({ _tag: "basic.get", queue, noAck }) as Effect.Effect<
      Content<BasicGetOk> | BasicGetEmpty,
      AmqpError.AmqpChannelError
    >
  }

  private exchange(method: SynchronousMethod): Reply {
    return Effect.callback((resume) => {
      const failure = this.failure()
      if (failure !== undefined) return resume(Effect.fail(failure))
      const request: Request = {
        method,
        state: "Waiting",
        isDone: false,
        resume,
        expire: () => this.expire(request)
      }
      this.requests.push(request)
      this.sendNext()
      return Effect.sync(() => {
        request.resume = undefined
      })
    })
  }

  /**
   * Sends the next request and resumes the fiber that waits for this reply. Returns whether there was one. `accept` is called first, with the
   * method of the request: if it throws, the request stays in the queue, and fails with all others when the channel closes. Throws a
   * `ProtocolError` if the event is not a reply to the first request.
   */
  reply(event: ChannelEvent, tag: MethodTag, accept: (method: SynchronousMethod, isAwaited: boolean) => void): boolean {
    const request = this.requests.at(0)
    if (request === undefined || request.state === "Waiting") throw unexpected(`${tag} arrived without a request`)
    const { method } = request
    const replies: ReadonlyArray<MethodTag> = replyTags[method._tag]
    if (!replies.includes(tag)) throw unexpected(`${tag} arrived in reply to ${method._tag}`)
    accept(method, request.resume !== undefined)
    this.requests.shift()
    request.isDone = true
    this.sendNext()
    // Sending may have run code that interrupted the waiting fiber.
    const { resume } = request
    resume?.(Effect.succeed(event))
    return resume !== undefined
  }

  /** The channel has closed: fails every request that waits. */
  fail(error: AmqpError.AmqpChannelError): void {
    const { requests } = this
    this.requests = []
    for (const request of requests) {
      request.isDone = true
      request.resume?.(Effect.fail(error))
    }
  }

  /** Sends the first waiting request, unless the reply to an earlier one is pending and has not timed out. */
  private sendNext(): void {
    let index = 0
    while (index < this.requests.length) {
      const request = this.requests[index]
      if (request.state === "Sent") return
      if (request.state === "Expired") {
        index++
        continue
      }
      if (request.resume === undefined) {
        this.requests.splice(index, 1)
        continue
      }
      // Set before sending, because a peer in this process may reply within the write.
      request.state = "Sent"
      this.host.requestTimeouts.add(request)
      const failure = this.send(request.method)
      if (failure === undefined) return
      request.isDone = true
      this.requests.splice(index, 1)
      request.resume(Effect.fail(failure))
    }
  }

  private send(method: SynchronousMethod): AmqpError.AmqpChannelError | undefined {
    try {
      this.acknowledgements.flush()
      this.host.outbound.sendMethod(this.channel, method)
    } catch (error) {
      return failureOfStep(error)
    }
    this.hasSent = true
    this.host.readGate.replyExpected()
    return undefined
  }

  private expire(request: Request): void {
    const { method: { _tag: method }, resume } = request
    request.state = "Expired"
    request.resume = undefined
    this.sendNext()
    resume?.(Effect.fail(this.timedOut(method)))
  }

  private timedOut(method: string): AmqpError.AmqpChannelError {
    const { blocked } = this.host.outbound
    if (blocked === undefined) return channelError(new AmqpError.RequestTimeout({ method }))
    const message = this.host.outbound.noteTimeout(method)
    if (message !== undefined) this.host.warn(message)
    return channelError(new AmqpError.RequestTimeout({ method, blocked }))
  }
}

export const unexpected = (message: string): ProtocolError =>
  new ProtocolError({ replyCode: ReplyCode.commandInvalid, message })
