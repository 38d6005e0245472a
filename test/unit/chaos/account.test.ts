import { assert, describe, it } from "@effect/vitest"
import { Account } from "../../chaos/account.ts"
import type { Outcome } from "../../chaos/account.ts"
import { Violations } from "../../chaos/violations.ts"
import { textOf } from "../../simulation/seeded/history.ts"

interface How {
  readonly redelivered?: boolean
  readonly by?: string
  readonly acknowledged?: boolean
  readonly text?: string
  readonly messageId?: string
  readonly queue?: string
}

const setup = (options: { readonly isOrdered?: boolean } = {}) => {
  const violations = new Violations()
  let time = 0
  const account = new Account(violations, () => time++)
  const source = account.source({ name: "orders", queue: "queue", isOrdered: options.isOrdered ?? true })
  const publish = (outcome: Outcome = "confirmed", isSingle = true): number => {
    const number = source.publish()
    source.settle(number, outcome, isSingle)
    return number
  }
  const deliver = (number: number, how: How = {}): void => {
    const delivered = account.deliver({
      text: textOf(source.idOf(number), 60),
      messageId: source.idOf(number),
      queue: "queue",
      redelivered: false,
      by: "consumer 1",
      ...how
    })
    if (delivered !== undefined && how.acknowledged !== false) account.acknowledge(delivered)
  }
  /** The kinds of violations, with their examples. */
  const check = (): Readonly<Record<string, ReadonlyArray<string>>> => {
    account.check()
    return Object.fromEntries(violations.all.map(({ examples, kind }) => [kind, examples]))
  }
  return { account, check, deliver, publish, source }
}

describe("the account of a chaos run", () => {
  it("has no objection to messages that are confirmed, delivered and acknowledged", () => {
    const { check, deliver, publish } = setup()
    for (let count = 0; count < 3; count++) deliver(publish())
    assert.deepStrictEqual(check(), {})
  })

  it("finds a confirmed message that is lost", () => {
    const { check, deliver, publish } = setup()
    deliver(publish())
    publish()
    assert.deepStrictEqual(check(), { "a confirmed message was not delivered": ["orders.1"] })
  })

  it("counts a committed message that is lost", () => {
    const { account, check, deliver, publish } = setup()
    deliver(publish("committed"))
    publish("committed")
    assert.deepStrictEqual(check(), {})
    assert.strictEqual(account.totals.outcomes.committed, 2)
    assert.strictEqual(account.totals.committedButLost, 1)
  })

  it("finds a confirmed message that no handler acknowledged", () => {
    const { check, deliver, publish } = setup()
    deliver(publish(), { acknowledged: false })
    assert.deepStrictEqual(check(), { "a confirmed message was not acknowledged": ["orders.0"] })
  })

  it.each(["notSent", "nacked", "returned"] as const)("finds a delivered message whose outcome is %s", (outcome) => {
    const { check, deliver, publish } = setup()
    deliver(publish(outcome))
    publish(outcome)
    assert.deepStrictEqual(check(), { [`a message was delivered although it was ${outcome}`]: ["orders.0"] })
  })

  it("allows a message of unknown outcome to arrive or not", () => {
    const { check, deliver, publish } = setup()
    deliver(publish("unknown"))
    publish("unknown")
    assert.deepStrictEqual(check(), {})
  })

  it("finds a publish that did not end", () => {
    const { check, source } = setup()
    source.publish()
    assert.deepStrictEqual(check(), { "a publish did not end": ["orders.0"] })
  })

  it("finds messages in the wrong order", () => {
    const { check, deliver, publish } = setup()
    const [first, second] = [publish(), publish()]
    deliver(second)
    deliver(first)
    assert.deepStrictEqual(check(), {
      "messages arrived in another order than they were published in": [
        "orders.0 after orders.1, to consumer 1 at 0.0 s"
      ]
    })
  })

  it("allows a copy to arrive late while a lost consumer holds the message", () => {
    const { check, deliver, publish } = setup()
    const [first, second] = [publish("confirmed", false), publish()]
    deliver(second)
    deliver(first)
    deliver(first, { redelivered: true, by: "consumer 2" })
    assert.deepStrictEqual(check(), {})
  })

  it("allows a message that the broker refused once to arrive late", () => {
    const { check, deliver, publish, source } = setup()
    const [first, second] = [publish(), publish()]
    source.outOfOrder.add(first)
    deliver(second)
    deliver(first)
    assert.deepStrictEqual(check(), {})
  })

  it("allows any order where none is promised", () => {
    const { check, deliver, publish } = setup({ isOrdered: false })
    const [first, second] = [publish(), publish()]
    deliver(second)
    deliver(first)
    assert.deepStrictEqual(check(), {})
  })

  it("allows redelivered messages in any order", () => {
    const { check, deliver, publish } = setup()
    const [first, second] = [publish(), publish()]
    deliver(second)
    deliver(first, { redelivered: true })
    assert.deepStrictEqual(check(), {})
  })

  it("allows messages that were published again after newer ones had arrived", () => {
    const { check, deliver, publish } = setup()
    const [first, second] = [publish("confirmed", false), publish("confirmed", false)]
    for (const number of [first, second, first, second]) deliver(number)
    assert.deepStrictEqual(check(), {})
  })

  it("finds a second copy of a message that was published once", () => {
    const { check, deliver, publish } = setup()
    const number = publish()
    deliver(number)
    deliver(number)
    assert.deepStrictEqual(check(), { "a message that was published once arrived twice": ["orders.0"] })
  })

  it("finds a message that comes back to the consumer and session that acknowledged it", () => {
    const { check, deliver, publish } = setup()
    const number = publish()
    deliver(number)
    deliver(number, { redelivered: true })
    assert.deepStrictEqual(check(), {
      "a message was redelivered to the consumer that acknowledged it": ["orders.0, to consumer 1 at 0.0 s"]
    })
  })

  it("allows a message to come back in another session, or before it was acknowledged", () => {
    const { check, deliver, publish } = setup()
    const number = publish()
    deliver(number, { acknowledged: false })
    deliver(number, { redelivered: true })
    deliver(number, { redelivered: true, by: "consumer 2" })
    assert.deepStrictEqual(check(), {})
  })

  it.each<readonly [string, How]>([
    ["a body that was cut", { text: textOf("orders.0", 60).slice(0, -1) }],
    ["an unknown publisher", { text: textOf("invoices.0", 60) }],
    ["an unknown number", { text: textOf("orders.1", 60) }],
    ["another message id", { messageId: "orders.1" }],
    ["another queue", { queue: "other" }]
  ])("finds a message with %s", (_, how) => {
    const { account, deliver, publish } = setup()
    publish()
    deliver(0, how)
    assert.deepStrictEqual(
      account.violations.all.map(({ kind }) => kind),
      ["a message arrived that was not published like this"]
    )
  })

  it("excuses only what was published before a queue was deleted", () => {
    const { account, check, publish } = setup()
    publish()
    account.deleting("other")()
    account.deleting("queue")()
    publish()
    assert.deepStrictEqual(check(), { "a confirmed message was not delivered": ["orders.1"] })
  })

  it("counts messages, outcomes and duplicates", () => {
    const { account, deliver, publish } = setup({ isOrdered: false })
    const [once, again, twice, late] = [publish(), publish(), publish("confirmed", false), publish()]
    publish("unknown", false)
    deliver(once)
    deliver(again)
    deliver(again, { redelivered: true, by: "consumer 2" })
    deliver(twice)
    deliver(twice)
    deliver(twice, { redelivered: true, by: "consumer 2" })
    deliver(late, { redelivered: true })
    assert.deepStrictEqual(account.totals, {
      published: 5,
      outcomes: { pending: 0, confirmed: 4, committed: 0, unknown: 1, notSent: 0, nacked: 0, returned: 0 },
      committedButLost: 0,
      deliveries: 7,
      duplicates: { redelivered: 2, publishedAgain: 1 }
    })
  })
})
