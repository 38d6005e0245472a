/**
 * The embedded broker as each version of RabbitMQ. The expected replies were compared with RabbitMQ 4.0.5 and 4.3.6 by the other tests
 * of this folder, which run on any version: `AMQP_URL` for RabbitMQ, `EMBEDDED_VERSION` for the embedded broker.
 */
import type { AmqpBroker } from "@effect-amqp/core/testing"
import { assert, describe, it } from "@effect/vitest"
import { isEmbedded } from "../../support/brokerUnderTest.ts"
import { consume, declareExchange, declareQueue, publish } from "../../support/calls.ts"
import type { Step } from "../../support/calls.ts"
import { Conversations, versionAt } from "../../support/conversation.ts"
import { startEmbeddedBroker } from "../../support/embeddedBroker.ts"
import { RawConnection } from "../../support/rawConnection.ts"

const qos = (prefetchCount: number, global = false): Step => ({
  method: { _tag: "basic.qos", prefetchSize: 0, prefetchCount, global }
})

const acknowledging = (queue: string): Step => {
  const step = consume(queue)
  return step.method._tag === "basic.consume" ? { ...step, method: { ...step.method, noAck: false } } : step
}

const ofType = (type: string): Step => declareQueue("%q", { durable: true, arguments: { "x-queue-type": type } })

const cases: ReadonlyArray<
  readonly [what: string, steps: ReadonlyArray<Step>, replies: Readonly<Record<AmqpBroker.Version, string>>]
> = [
  ["an exchange of an unknown type", [declareExchange("%x", { type: "nonsense" })], {
    "3.10": "connection: 503 COMMAND_INVALID - unknown exchange type 'nonsense'",
    "4.0": "406 PRECONDITION_FAILED - unknown exchange type 'nonsense'",
    "4.3": "406 PRECONDITION_FAILED - unknown exchange type 'nonsense'"
  }],
  ["an unknown delivery mode", [declareQueue("%q"), publish("", "%q", { deliveryMode: 7 })], {
    "3.10": "406 PRECONDITION_FAILED - invalid message: {delivery_mode_unknown,7}",
    "4.0": "routed",
    "4.3": "routed"
  }],
  ["a wrong user id and a wrong expiration", [publish("", "%q", { userId: "nobody", expiration: "a" })], {
    "3.10": "406 PRECONDITION_FAILED - user_id property set to 'nobody' but authenticated user was 'guest'",
    "4.0": "406 PRECONDITION_FAILED - invalid expiration 'a': no_integer",
    "4.3": "406 PRECONDITION_FAILED - invalid expiration 'a': no_integer"
  }],
  ["a consumer of a quorum queue on a channel with a global prefetch", [
    ofType("quorum"),
    qos(1, true),
    acknowledging("%q")
  ], {
    "3.10": "connection: 540 NOT_IMPLEMENTED - queue 'q' in vhost '/' does not support global qos",
    "4.0": "connection: 540 NOT_IMPLEMENTED - queue 'q' in vhost '/' does not support global qos",
    "4.3": "basic.consume-ok t"
  }],
  [
    "a consumer of a stream on a channel with a global prefetch",
    [ofType("stream"), qos(1, true), acknowledging("%q")],
    {
      "3.10": "406 PRECONDITION_FAILED - consumer prefetch count is not set for 'queue 'q' in vhost '/''",
      "4.0": "406 PRECONDITION_FAILED - consumer prefetch count is not set for stream queue 'q' in vhost '/'",
      "4.3": "basic.consume-ok t"
    }
  ],
  ["a consumer of a stream without acknowledgements", [ofType("stream"), qos(1), consume("%q")], {
    "3.10":
      "connection: 540 NOT_IMPLEMENTED - automatic acknowledgement not supported by stream queues queue 'q' in vhost '/'",
    "4.0": "connection: 540 NOT_IMPLEMENTED - automatic acknowledgement not supported by stream queue 'q' in vhost '/'",
    "4.3": "connection: 540 NOT_IMPLEMENTED - automatic acknowledgement not supported by stream queue 'q' in vhost '/'"
  }]
]

describe.runIf(isEmbedded).each(["3.10", "4.0", "4.3"] as const)("the embedded broker as RabbitMQ %s", (version) => {
  it("reports that version", async () => {
    const broker = await startEmbeddedBroker({ version })
    try {
      assert.strictEqual(await versionAt(broker.url), version)
    } finally {
      await broker.stop()
    }
  })

  it.each(cases)("replies to %s like that version", async (_, steps, replies) => {
    const broker = await startEmbeddedBroker({ version })
    const conversations = new Conversations(broker.url)
    try {
      assert.strictEqual((await conversations.replies(...steps)).at(-1), replies[version])
      await conversations.close()
    } finally {
      await broker.stop()
    }
  })

  it("applies a global prefetch to the channel, or since 4.3 to each consumer", async () => {
    const broker = await startEmbeddedBroker({ version })
    try {
      const connection = await RawConnection.open(broker.url)
      await connection.call(declareQueue("q"))
      connection.post(publish("", "q"), 10)
      await connection.call(qos(2, true))
      connection.post(acknowledging("q"))
      await connection.expect("basic.deliver", 2)
      const other = acknowledging("q")
      if (other.method._tag === "basic.consume") connection.post({ method: { ...other.method, consumerTag: "other" } })
      await connection.expect("basic.consume-ok", 1)
      const left = await connection.call(declareQueue("q", { passive: true }))
      assert.match(left, version === "4.3" ? /^(basic\.deliver other|queue\.declare-ok q 6)/ : /^queue\.declare-ok q 8/)
      await connection.close()
    } finally {
      await broker.stop()
    }
  })
})
