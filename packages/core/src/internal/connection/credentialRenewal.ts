/**
 * Sends new secrets on an open connection (`connection.update-secret`), before a token expires or when the program asks for it.
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
import { connectionError, updateSecretFailed } from "./connectionErrors.ts"
import type { ControlChannel } from "./controlChannel.ts"

/** What new secrets need from their session. */
export interface SecretHost {
  readonly options: SessionOptions
  readonly control: ControlChannel
  readonly requestTimeouts: RequestTimeouts
  readonly readGate: ReadGate
  readonly failure: AmqpConnectionError | undefined
  /** Closes the connection without waiting for the broker's reply. */
  closeWith(error: AmqpConnectionError): void
}

/** A new secret that was sent. */
interface Update {
  readonly reply: Deferred.Deferred<void, AmqpConnectionError>
  /** Called when the broker has accepted it, even if the caller was interrupted meanwhile. */
  readonly accepted: () => void
}

const encoder = new TextEncoder()

/** The new secrets that the broker has not replied to. It replies in their order. */
export class SecretUpdates {
  private readonly host: SecretHost
  private readonly waiting: Array<Update> = []

  constructor(host: SecretHost) {
    this.host = host
  }

  get expectsReply(): boolean {
    return this.waiting.length > 0
  }

  /** Succeeds when the broker has accepted the secret. */
  update(
    secret: Redacted.Redacted<string>,
    reason: string,
    accepted: () => void = () => {}
  ): Effect.Effect<void, AmqpConnectionError> {
    return Effect.suspend(() => {
      const { failure } = this.host
      if (failure !== undefined) return Effect.fail(failure)
      if (!Redacted.isRedacted(secret)) {
        return Effect.fail(connectionError(new InvalidArgument({ description: "secret: must be a Redacted" })))
      }
      const update: Update = { reply: Deferred.makeUnsafe(), accepted }
      // An interrupted caller keeps its place in the queue, because the broker replies to it all the same.
      return Effect.andThen(Effect.uninterruptible(this.send(update, secret, reason)), Deferred.await(update.reply))
    }).pipe(
      // The login has not warned if its mechanism does not reveal the password.
      (update) => Effect.andThen(warnOfExposure(this.host.options.transport), update)
    )
  }

  private send(update: Update, secret: Redacted.Redacted<string>, reason: string) {
    return Effect.suspend(() => {
      const { host, waiting } = this
      // Added before sending, so that the order of the queue is the order of sending.
      waiting.push(update)
      return Effect.tapError(
        host.control.sendSecret({
          _tag: "connection.update-secret",
          newSecret: encoder.encode(Redacted.value(secret)),
          reason
        }),
        () => Effect.sync(() => waiting.splice(waiting.indexOf(update), 1))
      )
    }).pipe(Effect.andThen(Effect.sync(() => this.await(update))))
  }

  private await(update: Update): void {
    const { host, waiting } = this
    host.readGate.replyExpected()
    host.requestTimeouts.add({
      get isDone() {
        return !waiting.includes(update)
      },
      expire: () => {
        host.closeWith(updateSecretFailed(`it did not reply within ${Duration.format(host.options.requestTimeout)}`))
      }
    })
  }

  /** The broker has accepted the oldest secret. Returns `false` if no update was sent. */
  confirm(): boolean {
    const update = this.waiting.shift()
    if (update === undefined) return false
    update.accepted()
    Deferred.doneUnsafe(update.reply, Effect.void)
    return true
  }

  fail(error: AmqpConnectionError): void {
    for (const { reply } of this.waiting.splice(0)) Deferred.doneUnsafe(reply, Effect.fail(error))
  }
}

/** When credentials expire, in milliseconds since 1970. `undefined` if they do not. */
export const expiryOf = ({ expiresAt }: Credentials): number | undefined =>
  expiresAt === undefined
    ? undefined
    : expiresAt instanceof Date
    ? expiresAt.getTime()
    : DateTime.toEpochMillis(expiresAt)

/** Runs the credentials effect, for at most the handshake timeout, and checks its result. */
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
      () => new CredentialsUnavailable({ description: "expiresAt is not a valid date", isRetryable: false })
    ),
    Effect.filterOrFail(
      ({ password }) => Redacted.isRedacted(password) && typeof Redacted.value(password) === "string",
      () => new CredentialsUnavailable({ description: "the password is not a Redacted string", isRetryable: false })
    )
  )

/** The minimum time between two runs of the credentials effect, however soon a token expires, in milliseconds. */
const minPause = 1_000
/** The maximum time between two attempts to get credentials, in milliseconds. */
const maxPause = 30_000
/** The maximum time without a look at the wall clock while waiting for an expiry, in milliseconds. */
const maxSleep = 30_000

/**
 * The milliseconds until a time of the wall clock.
 *
 * An expiry is a time of the wall clock, which may be set in the meantime. If the program computed the expiry from the lifetime of the token,
 * the monotonic clock is right even if the wall clock is wrong. If it read the expiry from the token, the wall clock is right as soon as it
 * is set correctly. The smaller value is at worst too early, which does no harm.
 */
const timeUntil = (clock: Clock.Clock, at: number): () => number => {
  const monotonicAt = monotonicMillis(clock) + at - clock.currentTimeMillisUnsafe()
  return () => Math.min(monotonicAt - monotonicMillis(clock), at - clock.currentTimeMillisUnsafe())
}

/** Waits until credentials should be renewed: the margin before they expire, but not in the first half of the remaining time. */
const sleepUntilDue = (left: () => number, marginMillis: number): Effect.Effect<void> =>
  Effect.gen(function*() {
    const life = left()
    const early = life - Math.max(life - marginMillis, life / 2, minPause)
    for (let rest = life - early; rest > 0; rest = left() - early) {
      yield* Effect.sleep(sleepMillis(Math.min(rest, maxSleep)))
    }
  })

/** Runs the credentials effect until it succeeds, fails permanently, or the current credentials have expired. */
const retryCredentials = Effect.fnUntraced(function*(
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
  for (let pause = minPause;; pause = Math.min(pause * 2, maxPause)) {
    const result = yield* Effect.result(ask)
    if (result._tag === "Success") return result.success
    const left = timeLeft()
    if (!result.failure.isRetryable || left <= 0) return yield* Effect.fail(result.failure)
    yield* Effect.logWarning(
      `${result.failure.message}. The current credentials of the AMQP connection expire in ${Math.ceil(left / 1000)} s.`
    )
    yield* Effect.sleep(sleepMillis(Math.min(pause, left)))
  }
})

/** The loop of the fiber that renews the secret of a session before it expires. If it cannot, it ends the session. */
export const renewSecret = Effect.fnUntraced(
  function*(host: SecretHost, updates: SecretUpdates, firstExpiry: number) {
    const clock = yield* Clock.Clock
    let expiresAt: number | undefined = firstExpiry
    while (expiresAt !== undefined) {
      const left = timeUntil(clock, expiresAt)
      yield* sleepUntilDue(left, Duration.toMillis(host.options.refreshMargin))
      const credentials: Credentials = yield* Effect.mapError(
        retryCredentials(host.options, left),
        connectionError
      )
      yield* updates.update(credentials.password, "the old one expires")
      yield* Effect.logDebug("The AMQP connection has a new secret")
      expiresAt = expiryOf(credentials)
    }
  },
  (self, host) => Effect.catch(self, (error) => Effect.sync(() => host.closeWith(error)))
)
