/**
 * The requests of a channel: one at a time is with the broker, the others wait for their turn, and each gets its own reply.
 *
 * A request that nobody waits for any more keeps its place until its reply has come, or that would be taken for the reply to
 * the next one. Behind one whose reply did not come in time the next is sent all the same, since a broker answers the requests of
 * a channel in their order.
 */
import * as Effect from "effect/Effect"
import type { AmqpChannelError } from "../../AmqpError.ts"
import { ReplyCode } from "../../protocol/constants.ts"
import type { Content } from "../../protocol/ContentAssembler.ts"
import { replyTags } from "../../protocol/methods.generated.ts"
import type { Method, MethodTag, SynchronousMethod } from "../../protocol/methods.generated.ts"
import { ProtocolError } from "../../protocol/ProtocolError.ts"
import type { Deadline, Deadlines } from "../wire/requestTimeouts.ts"

/** A method, or a method with its content. */
export type ChannelEvent = Method | Content

export const tagOf = (event: ChannelEvent): MethodTag => "_tag" in event ? event._tag : event.method._tag

/** `Waiting` for its turn, `Sent`, or `Expired`: the reply did not come in time, and is dropped when it does. */
type RequestState = "Waiting" | "Sent" | "Expired"

export interface Request extends Deadline {
  readonly method: SynchronousMethod
  state: RequestState
  done: boolean
  /** Absent when nobody waits any more. */
  resume: ((reply: Effect.Effect<ChannelEvent, AmqpChannelError>) => void) | undefined
}

export class RequestQueue {
  private readonly deadlines: Deadlines
  /** Sends a method. Answers why it could not be sent. */
  private readonly send: (method: SynchronousMethod) => AmqpChannelError | undefined
  /** What a request whose reply did not come in time fails with. */
  private readonly timedOut: (method: SynchronousMethod) => AmqpChannelError
  private requests: Array<Request> = []

  constructor(
    deadlines: Deadlines,
    send: (method: SynchronousMethod) => AmqpChannelError | undefined,
    timedOut: (method: SynchronousMethod) => AmqpChannelError
  ) {
    this.deadlines = deadlines
    this.send = send
    this.timedOut = timedOut
  }

  get isEmpty(): boolean {
    return this.requests.length === 0
  }

  /** Sends a request when it is its turn, and has `resume` called with the reply. Answers how to stop waiting. */
  add(
    method: SynchronousMethod,
    resume: (reply: Effect.Effect<ChannelEvent, AmqpChannelError>) => void
  ): Effect.Effect<void> {
    const request: Request = {
      method,
      state: "Waiting",
      done: false,
      resume,
      expire: () => {
        const resume = request.resume
        request.state = "Expired"
        request.resume = undefined
        this.sendNext()
        resume?.(Effect.fail(this.timedOut(method)))
      }
    }
    this.requests.push(request)
    this.sendNext()
    return Effect.sync(() => {
      request.resume = undefined
    })
  }

  /**
   * The request that a reply is for. It keeps its place until `finishFirst`, so that it fails with the others when there is
   * something wrong with the reply. Throws a `ProtocolError` when it is no reply to the first request.
   */
  answeredBy(tag: MethodTag): Request {
    const request = this.requests.at(0)
    if (request === undefined || request.state === "Waiting") throw unexpected(`${tag} without a request`)
    const replies: ReadonlyArray<MethodTag> = replyTags[request.method._tag]
    if (!replies.includes(tag)) throw unexpected(`${tag} in reply to ${request.method._tag}`)
    return request
  }

  /** The first request has its reply, and the next one its turn. To resume the first is the caller's affair. */
  finishFirst(): void {
    const request = this.requests.shift()
    if (request !== undefined) request.done = true
    this.sendNext()
  }

  /** Sends the first request that waits, unless one before it may still be answered in time. */
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
      // Before it is sent: a peer in this process may answer within the write.
      request.state = "Sent"
      this.deadlines.add(request)
      const refusal = this.send(request.method)
      if (refusal === undefined) return
      request.done = true
      this.requests.splice(index, 1)
      request.resume(Effect.fail(refusal))
    }
  }

  /** No reply comes any more. */
  fail(error: AmqpChannelError): void {
    const requests = this.requests
    this.requests = []
    for (const request of requests) {
      request.done = true
      request.resume?.(Effect.fail(error))
    }
  }
}

export const unexpected = (message: string): ProtocolError =>
  new ProtocolError({ replyCode: ReplyCode.commandInvalid, message })
