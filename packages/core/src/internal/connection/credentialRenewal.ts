/**
 * New secrets for an open connection (`connection.update-secret`): when a token is about to expire, or when the program asks for it.
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { CredentialsUnavailable, InvalidArgument } from "../../AmqpError.ts"
import type { AmqpConnectionError } from "../../AmqpError.ts"
import type { Credentials } from "../../AmqpSasl.ts"
import { monotonicMillis, sleepMillis } from "../common/time.ts"
import { warnOfExposure } from "../options/passwordExposure.ts"
import type { SessionOptions } from "../options/sessionOptions.ts"
import type { ReadGate } from "../wire/readGate.ts"
import type { RequestTimeouts } from "../wire/requestTimeouts.ts"
import { connectionError, updateFailed } from "./closeReasons.ts"
import type { ControlChannel } from "./controlChannel.ts"

/** What updating the secret needs of a session. */
export interface SecretHost {
  readonly options: SessionOptions
  readonly control: ControlChannel
  readonly requestTimeouts: RequestTimeouts
  readonly readGate: ReadGate
  readonly failure: AmqpConnectionError | undefined
  /** Closes the connection without waiting for the reply. */
  giveUp(error: AmqpConnectionError): void
}

type Reply = Deferred.Deferred<void, AmqpConnectionError>

const encoder = new TextEncoder()

/** The updates that the broker has not replied to. It replies in their order. */
export class SecretUpdates {
  private readonly host: SecretHost
  private readonly waiting: Array<Reply> = []

  constructor(host: SecretHost) {
    this.host = host
  }

  get expectsReply(): boolean {
    return this.waiting.length > 0
  }

  /** Succeeds when the broker has accepted the secret. */
  update(secret: Redacted.Redacted<string>, reason: string): Effect.Effect<void, AmqpConnectionError> {
    return Effect.suspend(() => {
      const { failure } = this.host
      if (failure !== undefined) return Effect.fail(failure)
      if (!Redacted.isRedacted(secret)) {
        return Effect.fail(connectionError(new InvalidArgument({ description: "secret: must be a Redacted" })))
      }
      const reply: Reply = Deferred.makeUnsafe()
      // If the caller stops waiting, its place in the queue stays: the broker's reply is for it.
      return Effect.andThen(Effect.uninterruptible(this.send(reply, secret, reason)), Deferred.await(reply))
    }).pipe(
      // A mechanism that does not reveal the password has not warned.
      (update) => Effect.andThen(warnOfExposure(this.host.options.transport), update)
    )
  }

  private send(reply: Reply, secret: Redacted.Redacted<string>, reason: string) {
    return Effect.suspend(() => {
      const { host, waiting } = this
      // Before it is sent, so that nothing can come between.
      waiting.push(reply)
      return Effect.tapError(
        host.control.sendSecret({
          _tag: "connection.update-secret",
          newSecret: encoder.encode(Redacted.value(secret)),
          reason
        }),
        () => Effect.sync(() => waiting.splice(waiting.indexOf(reply), 1))
      )
    }).pipe(Effect.andThen(Effect.sync(() => this.await(reply))))
  }

  private await(reply: Reply): void {
    const { host, waiting } = this
    host.readGate.replyExpected()
    host.requestTimeouts.add({
      get isDone() {
        return !waiting.includes(reply)
      },
      expire: () => {
        host.giveUp(updateFailed(`it did not answer within ${Duration.format(host.options.requestTimeout)}`))
      }
    })
  }

  /** The broker has accepted the oldest one. Returns `false` when there is none. */
  confirm(): boolean {
    const reply = this.waiting.shift()
    if (reply === undefined) return false
    Deferred.doneUnsafe(reply, Effect.void)
    return true
  }

  fail(error: AmqpConnectionError): void {
    for (const reply of this.waiting.splice(0)) Deferred.doneUnsafe(reply, Effect.fail(error))
  }
}

/** When credentials expire, in milliseconds since 1970. */
export const expiryOf = ({ expiresAt }: Credentials): number | undefined =>
  expiresAt === undefined
    ? undefined
    : expiresAt instanceof Date
    ? expiresAt.getTime()
    : DateTime.toEpochMillis(expiresAt)

/** Asks for the credentials, for at most a handshake timeout. */
export const askCredentials = (
  { credentials, handshakeTimeout }: SessionOptions
): Effect.Effect<Credentials, CredentialsUnavailable> =>
  credentials.pipe(
    Effect.timeoutOrElse({
      duration: handshakeTimeout,
      orElse: () => {
        const description = `the credentials effect timed out after ${Duration.format(handshakeTimeout)}`
        return Effect.fail(new CredentialsUnavailable({ description }))
      }
    }),
    Effect.filterOrFail(
      (given) => !Number.isNaN(expiryOf(given)),
      () => new CredentialsUnavailable({ description: "their expiresAt is not a valid date", isRetryable: false })
    ),
    Effect.filterOrFail(
      ({ password }) => Redacted.isRedacted(password) && typeof Redacted.value(password) === "string",
      () => new CredentialsUnavailable({ description: "their password is not a Redacted string", isRetryable: false })
    )
  )

/** However short a token lives, nobody is asked for another one more often than this, in milliseconds. */
const leastPause = 1_000
/** The longest pause between attempts to get one, in milliseconds. */
const longestPause = 30_000
/** How often a wait for an expiry looks at the wall clock, in milliseconds. */
const longestSleep = 30_000

/**
 * How much is left until a point in time of the wall clock, in milliseconds.
 *
 * An expiry is of the wall clock by nature, and that may be set meanwhile. A program that computed the expiry from the life of
 * the token is right by the monotonic clock whatever the wall clock says; one that has it from the token itself is right by the
 * wall clock once that is set right. The smaller of both is at most too early, which does no harm.
 */
const timeUntil = (clock: Clock.Clock, at: number): () => number => {
  const monotonicAt = monotonicMillis(clock) + at - clock.currentTimeMillisUnsafe()
  return () => Math.min(monotonicAt - monotonicMillis(clock), at - clock.currentTimeMillisUnsafe())
}

/** Waits until it is time to renew what expires then: the margin before, but not in the first half of what is left. */
const sleepUntilDue = (left: () => number, marginMillis: number): Effect.Effect<void> =>
  Effect.gen(function*() {
    const life = left()
    const early = life - Math.max(life - marginMillis, life / 2, leastPause)
    for (let rest = life - early; rest > 0; rest = left() - early) {
      yield* Effect.sleep(sleepMillis(Math.min(rest, longestSleep)))
    }
  })

/** Asks until there is an answer, it is no use, or what there was has expired. */
const askAgain = Effect.fnUntraced(function*(
  options: SessionOptions,
  timeLeft: () => number
): Effect.fn.Return<Credentials, CredentialsUnavailable> {
  const ask = Effect.catchDefect(
    askCredentials(options),
    (cause) =>
      Effect.fail(
        new CredentialsUnavailable({ description: "the credentials effect died", cause, isRetryable: false })
      )
  )
  for (let pause = leastPause;; pause = Math.min(pause * 2, longestPause)) {
    const answer = yield* Effect.result(ask)
    if (answer._tag === "Success") return answer.success
    const left = timeLeft()
    if (!answer.failure.isRetryable || left <= 0) return yield* Effect.fail(answer.failure)
    yield* Effect.logWarning(
      `${answer.failure.message}. What the AMQP connection has expires in ${Math.ceil(left / 1000)} s.`
    )
    yield* Effect.sleep(sleepMillis(Math.min(pause, left)))
  }
})

/** The fiber that renews the secret of a session before it expires, for as long as secrets do. Ends the session when it cannot. */
export const renewSecret = Effect.fnUntraced(
  function*(host: SecretHost, updates: SecretUpdates, firstExpiry: number) {
    const clock = yield* Clock.Clock
    let expiresAt: number | undefined = firstExpiry
    while (expiresAt !== undefined) {
      const left = timeUntil(clock, expiresAt)
      yield* sleepUntilDue(left, Duration.toMillis(host.options.refreshMargin))
      const credentials: Credentials = yield* Effect.mapError(
        askAgain(host.options, left),
        connectionError
      )
      yield* updates.update(credentials.password, "the old one expires")
      yield* Effect.logDebug("The AMQP connection has a new secret")
      expiresAt = expiryOf(credentials)
    }
  },
  (self, host) => Effect.catch(self, (error) => Effect.sync(() => host.giveUp(error)))
)
