/**
 * The requests of a channel: one at a time is with the broker, the others wait for their turn, and each gets its own reply.
 *
 * A request whose caller was interrupted keeps its place until its reply has come; otherwise that would be taken for the reply to the next
 * one. The next request is also sent when a reply did not come in time, since a broker replies to the requests of a channel in their order.
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

/** `Waiting` for its turn, `Sent`, or `Expired`: the reply did not come in time, and is dropped when it does. */
type RequestState = "Waiting" | "Sent" | "Expired"

interface Request extends Expiring {
  readonly method: SynchronousMethod
  state: RequestState
  isDone: boolean
  /** Absent when no fiber waits for the reply any more. */
  resume: ((reply: Reply) => void) | undefined
}

/** What the requests of a channel need of its session. */
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
  /** Why nothing can be requested any more. */
  private failure: AmqpError.AmqpChannelError | undefined
  private requests: Array<Request> = []
  /** Whether anything was sent, so that the broker knows the channel. */
  hasSent = false

  constructor(channel: number, host: RequestHost, acknowledgements: Acknowledgements) {
    this.channel = channel
    this.host = host
    this.acknowledgements = acknowledgements
  }

  get isEmpty(): boolean {
    return this.requests.length === 0
  }

  /** Sends a request when the earlier ones have their replies, and waits for its own. */
  readonly request = <M extends SynchronousMethod>(
    method: M
  ): Effect.Effect<ReplyOf<M>, AmqpError.AmqpChannelError> =>
    // `reply` lets only events with a tag of `replyTags[method._tag]` through, and those are what `ReplyOf` names.
    this.exchange(method) as Effect.Effect<ReplyOf<M>, AmqpError.AmqpChannelError>

  /** `basic.get`: a message with its content, or the reply that the queue is empty. */
  get(queue: string, noAck: boolean): Effect.Effect<Content<BasicGetOk> | BasicGetEmpty, AmqpError.AmqpChannelError> {
    // As in `request`; of the two replies the one with content arrives as a content.
    return this.exchange({ _tag: "basic.get", queue, noAck }) as Effect.Effect<
      Content<BasicGetOk> | BasicGetEmpty,
      AmqpError.AmqpChannelError
    >
  }

  private exchange(method: SynchronousMethod): Reply {
    return Effect.callback((resume) => {
      if (this.failure !== undefined) return resume(Effect.fail(this.failure))
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
   * Resumes the request that a reply is for; the next one has its turn before. Returns whether a fiber waited for the reply. `accept` is
   * called with the request's method first: if it throws, the request fails with all others when the channel ends. Throws a
   * `ProtocolError` when it is no reply to the first request.
   */
  reply(event: ChannelEvent, tag: MethodTag, accept: (method: SynchronousMethod, isAwaited: boolean) => void): boolean {
    const request = this.requests.at(0)
    if (request === undefined || request.state === "Waiting") throw unexpected(`${tag} without a request`)
    const { method } = request
    const replies: ReadonlyArray<MethodTag> = replyTags[method._tag]
    if (!replies.includes(tag)) throw unexpected(`${tag} in reply to ${method._tag}`)
    accept(method, request.resume !== undefined)
    this.requests.shift()
    request.isDone = true
    this.sendNext()
    // What was sent may have interrupted the fiber that waited.
    const { resume } = request
    resume?.(Effect.succeed(event))
    return resume !== undefined
  }

  /** Ends every request: no reply comes any more. */
  fail(error: AmqpError.AmqpChannelError): void {
    this.failure = error
    const { requests } = this
    this.requests = []
    for (const request of requests) {
      request.isDone = true
      request.resume?.(Effect.fail(error))
    }
  }

  /** Sends the first request that waits, unless one before it may still get its reply in time. */
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
      // Before it is sent: a peer in this process may reply within the write.
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
