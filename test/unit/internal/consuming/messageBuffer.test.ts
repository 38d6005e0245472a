import { MessageBuffer } from "@effect-amqp/core/internal/consuming/messageBuffer"
import { assert, describe, it } from "@effect/vitest"

describe("a buffer of messages", () => {
  it("returns messages in the order in which they were offered, also while more are offered", () => {
    const buffer = new MessageBuffer<number>()
    let offered = 0
    for (let taken = 0; taken < 10_000; taken++) {
      while (offered < taken + 1 + taken % 3000) buffer.offer(offered++)
      assert.strictEqual(buffer.take(), taken)
      assert.strictEqual(buffer.size, offered - taken - 1)
    }
    assert.deepStrictEqual(buffer.clear(), Array.from({ length: offered - 10_000 }, (_, index) => 10_000 + index))
    assert.isUndefined(buffer.take())
  })

  it("keeps no entries for taken messages when it is never empty", () => {
    const buffer = new MessageBuffer<number>()
    buffer.offer(0)
    for (let number = 1; number <= 100_000; number++) {
      buffer.offer(number)
      buffer.take()
    }
    assert.isBelow(Reflect.get(buffer, "items").length, 3000)
  })
})
