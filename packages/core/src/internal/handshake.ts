/**
 * From the protocol header to connection.open-ok (section 2.2.4 of the AMQP 0-9-1 specification). Each step is bounded.
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as AmqpError from "../AmqpError.ts"
import { frameMinSize, ReplyCode } from "../protocol/constants.ts"
import type { FieldTable } from "../protocol/fieldTable.ts"
import type { Method } from "../protocol/methods.generated.ts"
import type { Mailbox } from "./mailbox.ts"
import type { SessionOptions, Tuning } from "./sessionOptions.ts"

/** What the handshake needs of a session. */
export interface HandshakeSession {
  /** The method that the handshake waits for, for errors. */
  phase: string | undefined
  serverProperties: FieldTable
  readonly control: Mailbox<Method, AmqpError.AmqpConnectionError>
  sendProtocolHeader(): void
  sendControl(method: Method): Effect.Effect<void, AmqpError.AmqpConnectionError>
  tuned(tuning: Tuning): void
  closedByServer(close: MethodOf<"connection.close">): void
}

type MethodOf<Tag extends Method["_tag"]> = Extract<Method, { readonly _tag: Tag }>

const fail = (reason: AmqpError.ConnectionErrorReason) => Effect.fail(new AmqpError.AmqpConnectionError({ reason }))

/** Waits for one method of channel 0, and no other. */
const expect = <Tag extends Method["_tag"]>(
  session: HandshakeSession,
  options: SessionOptions,
  tag: Tag
): Effect.Effect<MethodOf<Tag>, AmqpError.AmqpConnectionError> =>
  Effect.suspend(() => {
    session.phase = tag
    return session.control.takeAll
  }).pipe(
    Effect.timeoutOrElse({
      duration: options.handshakeTimeout,
      orElse: () => fail(new AmqpError.HandshakeTimeout({ phase: tag }))
    }),
    Effect.flatMap(([method, ...more]) => {
      // The tag was compared, so this is the method it names.
      if (method._tag === tag && more.length === 0) return Effect.succeed(method as MethodOf<Tag>)
      if (method._tag === "connection.close") {
        session.closedByServer(method)
        return session.control.takeAll.pipe(Effect.andThen(Effect.never))
      }
      const description = `${method._tag} arrived where ${tag} was expected`
      return fail(new AmqpError.ProtocolViolation({ replyCode: ReplyCode.commandInvalid, description }))
    })
  )

const smaller = (ours: number, theirs: number): number =>
  ours === 0 ? theirs : theirs === 0 ? ours : Math.min(ours, theirs)

const encoder = new TextEncoder()

export const handshake = Effect.fnUntraced(function*(
  session: HandshakeSession,
  options: SessionOptions
): Effect.fn.Return<void, AmqpError.AmqpConnectionError> {
  session.sendProtocolHeader()
  const start = yield* expect(session, options, "connection.start")
  if (start.versionMajor !== 0 || start.versionMinor !== 9) {
    const description = `the server speaks AMQP ${start.versionMajor}-${start.versionMinor}, not 0-9-1`
    return yield* fail(new AmqpError.ProtocolViolation({ replyCode: ReplyCode.notImplemented, description }))
  }
  session.serverProperties = start.serverProperties
  if (!start.mechanisms.split(" ").includes("PLAIN")) {
    const description = `the server offers the SASL mechanisms ${start.mechanisms}; this client has PLAIN`
    return yield* fail(new AmqpError.ProtocolViolation({ replyCode: ReplyCode.notImplemented, description }))
  }
  yield* session.sendControl({
    _tag: "connection.start-ok",
    clientProperties: options.clientProperties,
    mechanism: "PLAIN",
    response: encoder.encode(`\u0000${options.username}\u0000${Redacted.value(options.password)}`),
    locale: options.locale
  })
  const tune = yield* expect(session, options, "connection.tune")
  if (tune.frameMax !== 0 && tune.frameMax < frameMinSize) {
    const description =
      `the server asks for a frame-max of ${tune.frameMax} bytes; the least there is, is ${frameMinSize}`
    return yield* fail(new AmqpError.ProtocolViolation({ replyCode: ReplyCode.notAllowed, description }))
  }
  const tuning: Tuning = {
    frameMax: smaller(options.frameMax, tune.frameMax),
    channelMax: smaller(options.channelMax, tune.channelMax),
    // Unlike the limits, 0 from either side means that there are no heartbeats.
    heartbeatSeconds: Math.min(options.heartbeatSeconds, tune.heartbeat)
  }
  yield* session.sendControl({
    _tag: "connection.tune-ok",
    channelMax: tuning.channelMax,
    frameMax: tuning.frameMax,
    heartbeat: tuning.heartbeatSeconds
  })
  session.tuned(tuning)
  yield* session.sendControl({ _tag: "connection.open", virtualHost: options.virtualHost })
  yield* expect(session, options, "connection.open-ok")
})
