import * as AmqpError from "@effect-amqp/core/AmqpError"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** Every reply code of the specification, RabbitMQ's 312 included, with what is made of it. */
const replies = [
  [311, AmqpError.ContentTooLarge, "ContentTooLarge", false],
  [312, AmqpError.NoRoute, "NoRoute", false],
  [313, AmqpError.NoConsumers, "NoConsumers", true],
  [320, AmqpError.ConnectionForced, "ConnectionForced", true],
  [402, AmqpError.InvalidPath, "InvalidPath", false],
  [403, AmqpError.AccessRefused, "AccessRefused", false],
  [404, AmqpError.NotFound, "NotFound", false],
  [405, AmqpError.ResourceLocked, "ResourceLocked", true],
  [406, AmqpError.PreconditionFailed, "PreconditionFailed", false],
  [501, AmqpError.FrameError, "FrameError", false],
  [502, AmqpError.SyntaxError, "SyntaxError", false],
  [503, AmqpError.CommandInvalid, "CommandInvalid", false],
  [504, AmqpError.ChannelError, "ChannelError", false],
  [505, AmqpError.UnexpectedFrame, "UnexpectedFrame", false],
  [506, AmqpError.ResourceError, "ResourceError", true],
  [530, AmqpError.NotAllowed, "NotAllowed", false],
  [540, AmqpError.NotImplemented, "NotImplemented", false],
  [541, AmqpError.InternalError, "InternalError", false]
] as const

const encoded = Schema.toCodecJson(AmqpError.AmqpChannelError)

const channelError = (reason: AmqpError.ChannelErrorReason) => new AmqpError.AmqpChannelError({ reason })

describe("a reply of the server", () => {
  for (const [replyCode, Reason, tag, isRetryable] of replies) {
    it(`${replyCode} is a ${tag} with the reply code, text and method`, () => {
      const reason = AmqpError.replyReason({ replyCode, replyText: "the reply text", method: "queue.declare" })
      assert.strictEqual(reason._tag, tag)
      assert.isTrue(reason instanceof Reason)
      assert.isTrue(reason instanceof AmqpError.ServerReply)
      assert.strictEqual(reason.name, tag)
      assert.strictEqual(reason.replyCode, replyCode)
      assert.strictEqual(reason.replyText, "the reply text")
      assert.strictEqual(reason.method, "queue.declare")
      assert.strictEqual(reason.message, `queue.declare: ${replyCode} the reply text`)
      assert.strictEqual(reason.isRetryable, isRetryable)
      assert.strictEqual(channelError(reason).isRetryable, isRetryable)
    })
  }

  it("E15: with an unknown code keeps its code and text", () => {
    for (const replyCode of [0, 200, 299, 310, 407, 599, 65535]) {
      const reason = AmqpError.replyReason({ replyCode, replyText: "something new", method: "" })
      assert.strictEqual(reason._tag, "UnknownReplyCode")
      assert.strictEqual(reason.replyCode, replyCode)
      assert.strictEqual(reason.message, `${replyCode} something new`)
      assert.isFalse(reason.isRetryable)
    }
  })

  it("is the same after being encoded to JSON and decoded", () => {
    for (const [replyCode] of [...replies, [599]] as const) {
      const error = channelError(AmqpError.replyReason({ replyCode, replyText: "text", method: "basic.get" }))
      const again = Schema.decodeUnknownSync(encoded)(
        JSON.parse(JSON.stringify(Schema.encodeUnknownSync(encoded)(error)))
      )
      assert.strictEqual(again.reason._tag, error.reason._tag)
      assert.strictEqual(again.message, error.message)
      assert.strictEqual(again.isRetryable, error.isRetryable)
    }
  })

  it.effect("is caught by its tag inside the error that wraps it", () =>
    Effect.gen(function*() {
      const reason = AmqpError.replyReason({ replyCode: 404, replyText: "NOT_FOUND", method: "queue.declare" })
      const caught = Effect.fail(channelError(reason)).pipe(
        Effect.catchReason("AmqpChannelError", "NotFound", ({ method }) => Effect.succeed(method))
      )
      assert.strictEqual(yield* caught, "queue.declare")

      const other = yield* Effect.fail(channelError(reason)).pipe(
        Effect.catchReason("AmqpChannelError", "SyntaxError", () => Effect.succeed("no")),
        Effect.flip
      )
      assert.strictEqual(other.reason._tag, "NotFound")

      const connection = Effect.fail(new AmqpError.AmqpConnectionError({ reason })).pipe(
        Effect.catchReason("AmqpConnectionError", "NotFound", ({ replyCode }) => Effect.succeed(replyCode))
      )
      assert.strictEqual(yield* connection, 404)
    }))
})

describe("publish errors", () => {
  const returned = new AmqpError.Returned({
    replyCode: 312,
    replyText: "NO_ROUTE",
    exchange: "orders",
    routingKey: "new"
  })

  it("name the exchange, the routing key and the reply of a returned message", () => {
    assert.strictEqual(
      returned.message,
      "The broker returned a message that was published to exchange \"orders\" with routing key \"new\": 312 NO_ROUTE"
    )
    assert.isFalse(returned.isRetryable)
    assert.include(
      new AmqpError.Returned({ replyCode: 312, replyText: "NO_ROUTE", exchange: "", routingKey: "q" }).message,
      "to the default exchange with routing key \"q\""
    )
  })

  it.effect("share the reason Returned with channel errors", () =>
    Effect.gen(function*() {
      const publish = Effect.fail(new AmqpError.AmqpPublishError({ reason: returned })).pipe(
        Effect.catchReason("AmqpPublishError", "Returned", ({ routingKey }) => Effect.succeed(routingKey))
      )
      assert.strictEqual(yield* publish, "new")
      const channel = Effect.fail(channelError(returned)).pipe(
        Effect.catchReason("AmqpChannelError", "Returned", ({ exchange }) => Effect.succeed(exchange))
      )
      assert.strictEqual(yield* channel, "orders")
    }))

  it("are retryable when the cause is temporary, whether or not the message was sent", () => {
    for (
      const reason of [
        new AmqpError.ConnectionBlocked({ description: "low on memory" }),
        new AmqpError.SendTimeout(),
        new AmqpError.ConfirmTimeout()
      ]
    ) {
      const cause = channelError(reason)
      assert.isTrue(new AmqpError.NotSent({ cause }).isRetryable)
      assert.isTrue(new AmqpError.OutcomeUnknown({ cause }).isRetryable)
    }
    assert.include(new AmqpError.ConnectionBlocked({ description: "low on memory" }).message, "low on memory")
    assert.isTrue(new AmqpError.Nacked().isRetryable)
  })

  it("are not retryable when the broker lacks a feature or the message can't be coded", () => {
    assert.isFalse(channelError(new AmqpError.NotSupported({ capability: "publisher_confirms" })).isRetryable)
    assert.isFalse(new AmqpError.AmqpDecodeError({ problem: "Json", part: "body", description: "" }).isRetryable)
    assert.isFalse(new AmqpError.AmqpCompressionError({ problem: "Platform", description: "" }).isRetryable)
  })
})

it("an error prints its reason as its cause", () => {
  const reason = AmqpError.replyReason({ replyCode: 406, replyText: "PRECONDITION_FAILED", method: "queue.declare" })
  const printed = Cause.pretty(Cause.fail(channelError(reason)))
  assert.include(printed, "AmqpChannelError: queue.declare: 406 PRECONDITION_FAILED")
  assert.include(printed, "[cause]: PreconditionFailed")
})

describe("the error of a consumer that its policy stopped", () => {
  const unreadable = new Error("x")
  Object.defineProperty(unreadable, "message", {
    get: () => {
      throw new Error("no message")
    }
  })
  it.each([
    [new TypeError("no such order"), "TypeError: no such order"],
    ["text", "a failure that is not an Error"],
    [unreadable, "an error whose message can't be read"]
  ])("names the failure, whatever its type: case %#", (cause, words) => {
    const { message } = new AmqpError.AmqpConsumerStopped({ queue: "jobs", cause })
    assert.match(message, new RegExp(`"jobs".*${words}$`))
  })
})
