import type { Confirmation } from "@effect-amqp/core/testing/AmqpBroker"
import { Confirms } from "@effect-amqp/core/testing/internal/channel/confirms"
import { assert, describe, it } from "@effect/vitest"

/** What is sent for publishes with these confirmations in one step, and then for the late ones. */
const sentFor = (...confirmations: ReadonlyArray<Confirmation>): ReadonlyArray<string> => {
  const sent: Array<string> = []
  const late: Array<() => void> = []
  const confirms = new Confirms(
    (tag, deliveryTag, multiple) => sent.push(`${tag} ${deliveryTag}${multiple ? " multiple" : ""}`),
    { now: () => 0, schedule: (_, action) => (late.push(action), () => {}) }
  )
  for (const confirmation of confirmations) confirms.add(confirmation)
  confirms.flush()
  for (const action of late) action()
  return sent
}

describe("the confirms of a channel", () => {
  it.each<[string, ReadonlyArray<Confirmation>, ReadonlyArray<string>]>([
    ["an ack", ["ack"], ["basic.ack 1"]],
    ["several acks", ["ack", "ack", "ack"], ["basic.ack 3 multiple"]],
    ["a nack", ["nack"], ["basic.nack 1 multiple"]],
    ["a nack after an ack", ["ack", "nack"], ["basic.ack 1", "basic.nack 2 multiple"]],
    ["an ack after nacks", ["nack", "nack", "ack"], ["basic.nack 1 multiple", "basic.nack 2 multiple", "basic.ack 3"]],
    ["a nack after a publish without a confirm", ["hold", "nack"], ["basic.nack 2"]],
    [
      "a nack after a late confirm that is due",
      [{ confirmation: "ack", after: 5 }, "nack"],
      ["basic.nack 2", "basic.ack 1"]
    ]
  ])("equal RabbitMQ's for %s", (_, confirmations, expected) => {
    assert.deepStrictEqual(sentFor(...confirmations), expected)
  })
})
