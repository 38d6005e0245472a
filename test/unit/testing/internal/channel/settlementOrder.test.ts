/** The order in which messages come back or are dead-lettered that are settled together. */
import type { Version } from "@effect-amqp/core/testing/AmqpBroker"
import { versions } from "@effect-amqp/core/testing/internal/common/versionRules"
import { assert, describe, it } from "@effect/vitest"
import { TestChannel } from "./channelSupport.ts"

/** A queue whose messages 1 and 4 were fetched by `basic.get`, 2 delivered to the consumer "z", and 3 to the younger consumer "a". */
const received = (version: Version): TestChannel => {
  const channel = new TestChannel(version)
  channel.declare("dead")
  channel.declare("q", {
    "x-queue-type": "quorum",
    "x-delivery-limit": 9,
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": "dead"
  })
  channel.publish("q", "1")
  channel.get("q")
  channel.consume("q", "z")
  channel.publish("q", "2")
  channel.cancel("z")
  channel.consume("q", "a")
  channel.publish("q", "3")
  channel.cancel("a")
  channel.publish("q", "4")
  channel.get("q")
  return channel
}

describe("messages of several consumers that are settled together", () => {
  it.each(versions)("come back to a quorum queue of %s by consumer tag, after those of basic.get", (version) => {
    const channel = received(version)
    channel.call({ _tag: "basic.nack", deliveryTag: 0, multiple: true, requeue: true })
    assert.deepStrictEqual(channel.messages("q"), ["1", "4", "3", "2"])
  })

  it.each(versions)("are dead-lettered in %s by consumer tag, after those of basic.get", (version) => {
    const channel = received(version)
    channel.call({ _tag: "basic.nack", deliveryTag: 0, multiple: true, requeue: false })
    assert.deepStrictEqual(channel.messages("dead"), ["1", "4", "3", "2"])
  })

  it.each(
    [
      ["3.10", ["1", "4", "3", "2"]],
      ["4.0", ["2", "3", "1", "4"]],
      ["4.3", ["2", "3", "1", "4"]]
    ] as const
  )("come back to a quorum queue of %s when their channel is closed, by consumer tag or age", (version, order) => {
    const channel = received(version)
    channel.close()
    assert.deepStrictEqual(channel.messages("q"), [...order])
  })
})
