import * as AmqpError from "@effect-amqp/core/AmqpError"
import { assert, describe, it } from "@effect/vitest"
import * as fs from "node:fs"

const document = fs.readFileSync(new URL("../../docs/errors.md", import.meta.url), "utf8")

/** The rows of the table below a heading, without its head. */
const rowsOf = (heading: string): ReadonlyArray<ReadonlyArray<string>> => {
  const section = document.split("\n## ").find((text) => text.startsWith(heading)) ??
    assert.fail(`no section ${heading}`)
  const rows = section.split("\n").filter((line) => line.startsWith("|")).slice(2)
  return rows.map((row) => row.split("|").slice(1, -1).map((cell) => cell.trim().replaceAll("`", "")))
}

const connectionLost = (reason: AmqpError.ConnectionErrorReason) =>
  new AmqpError.ConnectionLost({ cause: new AmqpError.AmqpConnectionError({ reason }) })
const channelError = (reason: AmqpError.ChannelErrorReason) => new AmqpError.AmqpChannelError({ reason })
const moveError = (cause: AmqpError.AmqpMoveError["cause"]) =>
  new AmqpError.AmqpMoveError({ from: "", total: 1, moved: 0, skipped: 0, failed: 1, cause })
const socketLost = new AmqpError.SocketLost({ description: "", cause: undefined })
const closed = new AmqpError.ConnectionClosed()
const failed = (reason: AmqpError.EndpointsFailed["failures"][number]["reason"]) => ({ endpoint: "", reason })
const notFound = AmqpError.replyReason({ replyCode: 404, replyText: "NOT_FOUND", method: "" })
const invalid = new AmqpError.InvalidArgument({ description: "" })
const limit = "NOT_ALLOWED - connection refused for user 'u': user connection limit (5) is reached"

type Tag =
  | AmqpError.ConnectionErrorReason["_tag"]
  | AmqpError.ChannelErrorReason["_tag"]
  | AmqpError.PublishErrorReason["_tag"]
  | "AmqpMoveError"
  | "AmqpConsumerCancelled"
  | "AmqpConsumerStopped"
  | "AmqpDecodeError"
  | "AmqpCompressionError"

interface Judged {
  readonly isRetryable: boolean
}

/** Each reason that is no reply of the broker; both kinds where it depends on what it holds. */
const reasons: Record<Exclude<Tag, AmqpError.ReplyReason["_tag"]>, ReadonlyArray<Judged>> = {
  ConnectFailed: [
    new AmqpError.ConnectFailed({ description: "", cause: undefined }),
    new AmqpError.ConnectFailed({ description: "", cause: undefined, isRetryable: false })
  ],
  HandshakeTimeout: [new AmqpError.HandshakeTimeout({ phase: "" })],
  AuthenticationFailed: [new AmqpError.AuthenticationFailed({ username: "", replyText: "" })],
  NoCommonMechanism: [new AmqpError.NoCommonMechanism({ offered: [], supported: [] })],
  MechanismFailed: [new AmqpError.MechanismFailed({ mechanism: "", description: "" })],
  CredentialsUnavailable: [new AmqpError.CredentialsUnavailable({ description: "" })],
  UpdateSecretFailed: [new AmqpError.UpdateSecretFailed({ description: "" })],
  VirtualHostRefused: [
    new AmqpError.VirtualHostRefused({ virtualHost: "", replyCode: 530, replyText: limit }),
    new AmqpError.VirtualHostRefused({ virtualHost: "", replyCode: 530, replyText: "" })
  ],
  ProtocolViolation: [new AmqpError.ProtocolViolation({ replyCode: 501, description: "" })],
  HeartbeatTimeout: [new AmqpError.HeartbeatTimeout({ intervalSeconds: 1 })],
  SocketLost: [socketLost, new AmqpError.SocketLost({ description: "", cause: undefined, isRetryable: false })],
  ConnectionClosed: [closed],
  ConnectionReplaced: [new AmqpError.ConnectionReplaced()],
  ConfirmsOverdue: [new AmqpError.ConfirmsOverdue({ confirmTimeoutMillis: 1 })],
  EndpointsFailed: [
    new AmqpError.EndpointsFailed({ failures: [failed(closed), failed(socketLost)] }),
    new AmqpError.EndpointsFailed({ failures: [failed(closed), failed(invalid)] })
  ],
  InvalidArgument: [invalid],
  ConnectionLost: [connectionLost(socketLost), connectionLost(closed)],
  ChannelLost: [new AmqpError.ChannelLost({ cause: notFound, isCertain: true })],
  RequestTimeout: [new AmqpError.RequestTimeout({ method: "" })],
  TooManyChannels: [new AmqpError.TooManyChannels({ limit: 1 })],
  TooManyPublishes: [new AmqpError.TooManyPublishes({ waiting: 1, waitingBytes: 1 })],
  ChannelClosed: [new AmqpError.ChannelClosed()],
  NotSupported: [new AmqpError.NotSupported({ capability: "" })],
  Returned: [new AmqpError.Returned({ replyCode: 312, replyText: "", exchange: "", routingKey: "" })],
  ConnectionBlocked: [new AmqpError.ConnectionBlocked({ description: "" })],
  SendTimeout: [new AmqpError.SendTimeout()],
  ConfirmTimeout: [new AmqpError.ConfirmTimeout({})],
  Nacked: [new AmqpError.Nacked()],
  OutcomeUnknown: [
    new AmqpError.OutcomeUnknown({ cause: channelError(connectionLost(socketLost)) }),
    new AmqpError.OutcomeUnknown({ cause: channelError(notFound) })
  ],
  NotSent: [
    new AmqpError.NotSent({ cause: channelError(new AmqpError.SendTimeout()) }),
    new AmqpError.NotSent({ cause: channelError(invalid) })
  ],
  AmqpMoveError: [moveError(channelError(connectionLost(socketLost))), moveError(channelError(notFound))],
  AmqpConsumerCancelled: [new AmqpError.AmqpConsumerCancelled({ queue: "", consumerTag: "" })],
  AmqpConsumerStopped: [new AmqpError.AmqpConsumerStopped({ queue: "", cause: new Error() })],
  AmqpDecodeError: [new AmqpError.AmqpDecodeError({ problem: "Json", part: "body", description: "" })],
  AmqpCompressionError: [new AmqpError.AmqpCompressionError({ problem: "Platform", description: "" })]
}

const answersOf = (cell: string): ReadonlyArray<boolean> =>
  cell === "yes" ? [true] : cell === "no" ? [false] : [true, false]

describe("the table of retryable errors", () => {
  it("has each reason of the client, with its isRetryable", () => {
    const rows = rowsOf("What the client reports")
    assert.sameMembers(rows.map(([reason]) => reason), Object.keys(reasons))
    for (const [reason, retryable] of rows) {
      // Each row's reason is one of the keys, as was just asserted.
      const judged = reasons[reason as keyof typeof reasons]
      assert.deepStrictEqual(judged.map(({ isRetryable }) => isRetryable), [...answersOf(retryable)], reason)
    }
  })

  it("is right that a ConnectionLost with since is retryable, whatever its cause", () => {
    const cause = new AmqpError.AmqpConnectionError({ reason: closed })
    assert.isTrue(new AmqpError.ConnectionLost({ cause, since: new Date(0) }).isRetryable)
  })

  const replies = rowsOf("What the broker replies")

  for (const [code, reason, text, retryable] of replies) {
    it(`is right about ${code} ${text}: ${retryable}`, () => {
      // Long texts are shortened in the table.
      const replyText = text.replace("…", "and something more")
      const reply = AmqpError.replyReason({ replyCode: Number(code), replyText, method: "" })
      assert.strictEqual(reply._tag, reason)
      assert.strictEqual(reply.isRetryable, retryable === "yes")
    })
  }

  it("has every code of the specification", () => {
    const codes = new Set(replies.map(([code]) => Number(code)))
    for (const code of [311, 312, 313, 320, 402, 403, 404, 405, 406, 501, 502, 503, 504, 505, 506, 530, 540, 541]) {
      assert.isTrue(codes.has(code), String(code))
    }
  })
})

describe("a name that contains a reply text", () => {
  for (
    const [replyCode, replyText] of [
      [403, "ACCESS_REFUSED - read access to queue ' in exclusive use' in vhost '/' refused for user 'u'"],
      [404, "NOT_FOUND - no queue 'x process is stopped by supervisor' in vhost '/'"],
      [404, "NOT_FOUND - no queue 'q' in vhost 'home node is down or inaccessible'"],
      [406, "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'partial tx completion' in vhost '/'"],
      [406, "PRECONDITION_FAILED - queue 'delivery acknowledgement on channel 1 timed out' in vhost '/' in use"],
      [530, "NOT_ALLOWED - vhost connection limit (5) is reached not found"],
      [541, "INTERNAL_ERROR - queue 'timed out' in vhost '/' failed"]
    ] as const
  ) {
    it(`changes nothing: ${replyCode} ${replyText}`, () => {
      assert.isFalse(AmqpError.replyReason({ replyCode, replyText, method: "" }).isRetryable)
    })
  }
})
