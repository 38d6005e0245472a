import { Returned } from "@effect-amqp/core/AmqpError"
import { Lease } from "@effect-amqp/core/internal/channel/lease"
import { assert, describe, it } from "@effect/vitest"

const returned = (exchange: string) => new Returned({ exchange, routingKey: "", replyCode: 312, replyText: "NO_ROUTE" })

describe("a channel can be used by another program", () => {
  it("if nothing was done on it", () => {
    assert.isTrue(new Lease().isClean)
  })

  it("after publishes without confirmation only if they were committed", () => {
    const lease = new Lease()
    lease.published()
    assert.isFalse(lease.isClean)
    lease.committed()
    assert.isTrue(lease.isClean)
  })

  it("after a returned message only if it was reported, the first one", () => {
    const lease = new Lease()
    lease.returned(returned("first"))
    lease.returned(returned("second"))
    assert.isFalse(lease.isClean)
    assert.strictEqual(lease.firstReturned?.exchange, "first")
    lease.clearReturned()
    assert.isTrue(lease.isClean)
  })

  it("never after its state at the broker was changed", () => {
    const lease = new Lease()
    lease.altered()
    lease.committed()
    lease.clearReturned()
    assert.isFalse(lease.isClean)
  })

  it("never after a message was fetched on it", () => {
    const lease = new Lease()
    assert.isTrue(lease.fetchesFrom("q"))
    assert.isFalse(lease.isClean)
  })
})

describe("a queue that was deleted on a channel", () => {
  it("is not fetched from again, if messages were fetched from it before", () => {
    const lease = new Lease()
    lease.fetchesFrom("q")
    lease.deleted("q")
    assert.isFalse(lease.fetchesFrom("q"))
    assert.isTrue(lease.fetchesFrom("other"))
  })

  it("is fetched from, if none were", () => {
    const lease = new Lease()
    lease.deleted("q")
    assert.isTrue(lease.fetchesFrom("q"))
  })
})
