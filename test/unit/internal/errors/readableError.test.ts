import * as AmqpError from "@effect-amqp/core/AmqpError"
import { AmqpUriError } from "@effect-amqp/core/AmqpUri"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Logger from "effect/Logger"
import * as util from "node:util"

const reply = AmqpError.replyReason({
  replyCode: 404,
  replyText: "NOT_FOUND - no exchange 'x' in vhost '/'",
  method: "basic.publish"
})
const inChannel = (reason: AmqpError.ChannelErrorReason) => new AmqpError.AmqpChannelError({ reason })
const connection = new AmqpError.AmqpConnectionError({
  reason: new AmqpError.SocketLost({
    description: "read ECONNRESET",
    peer: "broker.example:5672",
    cause: new Error("x")
  })
})
const target = { exchange: "orders", routingKey: "new", messageId: "id-42" }
const published = (reason: AmqpError.PublishErrorReason) => new AmqpError.AmqpPublishError({ reason, target })
const unknown = published(new AmqpError.OutcomeUnknown({ cause: inChannel(reply) }))
const batch = (count: number) => {
  const failures = Array.from({ length: count }, (_, index) => ({ index: index * 2, error: unknown }))
  const [first, ...rest] = failures
  return new AmqpError.AmqpPublishAllError({ taken: count * 2, confirmed: count, failures: [first, ...rest] })
}

/** Errors as programs get them, with words that must be visible wherever they are printed. */
const errors: ReadonlyArray<readonly [string, Error, ReadonlyArray<string>]> = [
  ["a lost connection", connection, ["broker.example:5672", "ECONNRESET"]],
  ["a channel of a lost connection", inChannel(new AmqpError.ConnectionLost({ cause: connection })), ["ECONNRESET"]],
  ["a refused request", inChannel(reply), ["404", "no exchange 'x'"]],
  ["a message that closed its channel", unknown, ["orders", "new", "id-42", "404", "no exchange 'x'"]],
  [
    "a message whose channel another one closed",
    published(
      new AmqpError.OutcomeUnknown({ cause: inChannel(new AmqpError.ChannelLost({ cause: reply, isCertain: true })) })
    ),
    ["id-42", "another operation", "no exchange 'x'"]
  ],
  ["a nack", published(new AmqpError.Nacked()), ["orders", "new", "id-42", "basic.nack"]],
  ["a message that was not sent", published(new AmqpError.NotSent({ cause: inChannel(new AmqpError.SendTimeout()) })), [
    "id-42"
  ]],
  [
    "a returned message",
    published(new AmqpError.Returned({ replyCode: 312, replyText: "NO_ROUTE", exchange: "orders", routingKey: "new" })),
    ["312", "NO_ROUTE", "orders", "id-42"]
  ],
  ["one failure of a batch", batch(1), ["1 of 2 messages failed", "  0: ", "no exchange 'x'"]],
  ["many failures of a batch", batch(5000), ["5000 of 10000 messages failed", "  0: ", "  4: ", "and 4997 more"]],
  [
    "a move that was not completed",
    new AmqpError.AmqpMoveError({ from: "jobs", total: 9, moved: 4, skipped: 0, failed: 1, cause: unknown }),
    ["jobs", "4 were moved", "1 failed", "id-42", "no exchange 'x'"]
  ],
  ["a cancelled consumer", new AmqpError.AmqpConsumerCancelled({ queue: "jobs", consumerTag: "t" }), ["jobs"]],
  [
    "a consumer that its policy stopped",
    new AmqpError.AmqpConsumerStopped({ queue: "jobs", cause: new TypeError("no such order") }),
    ["jobs", "TypeError: no such order"]
  ],
  [
    "a message that can't be decoded",
    new AmqpError.AmqpDecodeError({ problem: "Json", part: "body", description: "not JSON" }),
    ["not JSON"]
  ],
  ["a URI", new AmqpUriError({ part: "Port", message: "the port is wrong" }), ["the port is wrong"]]
]

/** What a logger prints while an effect runs. */
const written = (logger: Logger.Logger<unknown, unknown>, effect: Effect.Effect<void>) =>
  Effect.suspend(() => {
    const lines: Array<string> = []
    const write = (...values: ReadonlyArray<unknown>) => void lines.push(util.format(...values))
    // Loggers print with nothing else.
    const console = new Proxy(globalThis.console, { get: () => write })
    return effect.pipe(
      Effect.provideService(Console.Console, console),
      Effect.provide(Logger.layer([logger])),
      Effect.map(() => lines.join("\n"))
    )
  })

const loggers = {
  pretty: Logger.consolePretty({ colors: false }),
  json: Logger.consoleJson,
  logfmt: Logger.consoleLogFmt,
  structured: Logger.consoleStructured
}

describe("an error in a log", () => {
  for (const [what, error, words] of errors) {
    const assertReadable = (text: string) => {
      assert.notInclude(text, "[Object]")
      assert.notInclude(text, "[object Object]")
      assert.notInclude(text, "class 0 method 0")
      // The structured logger breaks texts into lines.
      const plain = text.replaceAll("\\\"", "\"").replaceAll("\\'", "'")
      for (const word of words) assert.include(plain, word)
      assert.isBelow(text.length, 30_000)
    }

    it(`shows the essentials: ${what}`, () => {
      assertReadable(String(error))
      assertReadable(util.inspect(error))
      assertReadable(util.inspect(error, { depth: 0 }))
      assertReadable(util.format(error))
      assertReadable(JSON.stringify(error))
      assertReadable(Cause.pretty(Cause.fail(error)))
      assertReadable(JSON.stringify(Exit.fail(error)))
      assertReadable(util.inspect({ what: { error } }))
    })

    it.effect(`shows the essentials with each logger: ${what}`, () =>
      Effect.gen(function*() {
        for (const logger of Object.values(loggers)) {
          assertReadable(yield* written(logger, Effect.logError("failed", error)))
          assertReadable(yield* written(logger, Effect.logError("failed", Cause.fail(error))))
        }
      }))
  }

  it("is readable for every error class", () => {
    const classes = Object.values<unknown>({ ...AmqpError, AmqpUriError })
      .flatMap((value) => typeof value === "function" && value.prototype instanceof Error ? [value] : [])
    assert.isAbove(classes.length, 40)
    const { toJSON } = AmqpError.Nacked.prototype as { readonly toJSON?: unknown }
    for (const { name, prototype } of classes) assert.strictEqual(Reflect.get(prototype, "toJSON"), toJSON, name)
  })

  it("is one flat record, with the tags of its reason and its cause", () => {
    assert.deepStrictEqual(JSON.parse(JSON.stringify(unknown)), {
      _tag: "AmqpPublishError",
      message: unknown.message,
      exchange: "orders",
      routingKey: "new",
      messageId: "id-42",
      reason: "OutcomeUnknown",
      replyCode: 404,
      replyText: "NOT_FOUND - no exchange 'x' in vhost '/'",
      method: "basic.publish",
      cause: "NotFound",
      isRetryable: false
    })
  })

  it("shows only the message of an error of the program", () => {
    const cause = Object.assign(new Error("no token"), { token: "s3cret" })
    const reason = new AmqpError.CredentialsUnavailable({ description: "the endpoint failed", cause })
    const error = new AmqpError.AmqpConnectionError({ reason })
    assert.notInclude(JSON.stringify(error), "s3cret")
    assert.notInclude(util.inspect(error, { depth: 9 }), "s3cret")
  })
})
