import { assert, describe, it } from "@effect/vitest"
import { refusal } from "../queues/queueSupport.ts"
import { TestChannel } from "./channelSupport.ts"

describe("a transaction", () => {
  it("that publishes to a full queue fails when it is committed, after everything else is done", () => {
    const channel = new TestChannel()
    channel.declare("full", { "x-max-length": 0, "x-overflow": "reject-publish" })
    channel.declare("q")
    channel.publish("q", "before")
    channel.call({ _tag: "tx.select" })
    channel.get("q")
    channel.publish("full", "refused")
    channel.publish("q", "taken")
    channel.call({ _tag: "basic.ack", deliveryTag: 1, multiple: false })
    assert.strictEqual(
      refusal(() => channel.call({ _tag: "tx.commit" })),
      "406 PRECONDITION_FAILED - partial tx completion"
    )
    assert.deepStrictEqual(channel.messages("q"), ["taken"])
    channel.close()
    assert.deepStrictEqual(channel.messages("q"), ["taken"])
  })

  it("that publishes to a full quorum queue succeeds, as RabbitMQ forgets that the queue refused the message", () => {
    const channel = new TestChannel()
    channel.declare("full", { "x-queue-type": "quorum", "x-max-length": 0, "x-overflow": "reject-publish" })
    channel.publish("full", "one too many")
    channel.call({ _tag: "tx.select" })
    channel.publish("full", "lost")
    channel.call({ _tag: "tx.commit" })
    assert.deepStrictEqual(channel.sent.slice(1), ["tx.select-ok", "tx.commit-ok"])
    assert.deepStrictEqual(channel.messages("full"), ["one too many"])
  })

  it("succeeds although a message was unroutable", () => {
    const channel = new TestChannel()
    channel.call({ _tag: "tx.select" })
    channel.publish("missing", "lost")
    channel.call({ _tag: "tx.commit" })
    assert.deepStrictEqual(channel.sent, ["tx.select-ok", "tx.commit-ok"])
  })
})
