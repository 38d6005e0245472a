import { assert, describe, it } from "@effect/vitest"
import type { Operation, Plan } from "../../comparison/operations.ts"
import { defaultSteps, makePlan } from "../../comparison/plan.ts"
import { Dice } from "../../support/dice.ts"

const plans: ReadonlyArray<Plan> = Array.from({ length: 1000 }, (_, seed) => makePlan(seed))

const operations: ReadonlyArray<Operation> = plans.flatMap((plan) => plan.operations)

const text = JSON.stringify(operations)

const requestsOf = (method: string) =>
  operations.flatMap((operation) =>
    operation._tag === "Request" && operation.method === method ? [operation.arguments] : []
  )

const isPredefined = (exchange: unknown): boolean => typeof exchange === "string" && exchange.startsWith("amq.")

describe("the plan of a comparison", () => {
  it("is determined by its seed, and different for each seed", () => {
    assert.deepStrictEqual(plans.map(({ seed }) => makePlan(seed)), plans)
    assert.strictEqual(new Set(plans.map((plan) => JSON.stringify(plan.operations))).size, plans.length)
  })

  it("has the requested number of operations", () => {
    for (const steps of [1, 2, 7, defaultSteps, 100]) {
      for (let seed = 0; seed < 50; seed++) assert.lengthOf(makePlan(seed, steps).operations, steps)
    }
  })

  it("can be represented as JSON", () => {
    assert.deepStrictEqual(JSON.parse(JSON.stringify(plans)), plans)
  })

  it.each([
    "queue.declare",
    "queue.bind",
    "queue.unbind",
    "queue.purge",
    "queue.delete",
    "exchange.declare",
    "exchange.bind",
    "exchange.unbind",
    "exchange.delete",
    "basic.get",
    "basic.consume",
    "basic.cancel",
    "basic.qos",
    "basic.recover",
    "basic.recover-async",
    "tx.select",
    "tx.commit",
    "tx.rollback",
    "confirm.select",
    "channel.open",
    "channel.flow"
  ])("calls %s in some seeds", (method) => {
    assert.isNotEmpty(requestsOf(method))
  })

  it.each([
    "x-message-ttl",
    "x-expires",
    "x-max-length",
    "x-max-length-bytes",
    "x-overflow",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-priority",
    "x-queue-mode",
    "x-queue-type",
    "x-single-active-consumer",
    "x-delivery-limit",
    "x-priority",
    "x-stream-offset",
    "alternate-exchange",
    "x-match",
    "CC",
    "BCC",
    "x-death",
    "contentType",
    "contentEncoding",
    "deliveryMode",
    "priority",
    "correlationId",
    "replyTo",
    "expiration",
    "messageId",
    "timestamp",
    "type",
    "userId",
    "appId",
    "clusterId"
  ])("uses %s in some seeds", (name) => {
    assert.include(text, `"${name}":`)
  })

  it.each(["internal", "autoDelete", "exclusive", "ifUnused", "ifEmpty", "passive", "nowait", "noAck", "mandatory"])(
    "sets %s in some seeds",
    (flag) => assert.include(text, `"${flag}":true`)
  )

  it("settles one delivery and several, by each method, and makes mistakes", () => {
    const settled = operations.filter((operation) => operation._tag === "Settle")
    for (const method of ["basic.ack", "basic.nack", "basic.reject"]) {
      assert.isTrue(settled.some((operation) => operation.method === method && operation.multiple))
      assert.isTrue(settled.some((operation) => operation.method === method && !operation.multiple))
    }
    for (const target of ["all", "unknown", "settledLast"]) {
      assert.isTrue(settled.some((operation) => operation.target === target))
    }
  })

  it("closes channels, and connections in both ways", () => {
    assert.isTrue(operations.some(({ _tag }) => _tag === "CloseChannel"))
    for (const how of ["close", "cut"]) {
      assert.isTrue(operations.some((operation) => operation._tag === "CloseConnection" && operation.how === how))
    }
  })

  it("receives no messages of other users of the predefined exchanges", () => {
    for (const { exchange, routingKey } of requestsOf("queue.bind")) {
      if (isPredefined(exchange)) assert.strictEqual(routingKey, "@a")
    }
    for (const { routingKey, source } of requestsOf("exchange.bind")) {
      if (isPredefined(source)) assert.strictEqual(routingKey, "@a")
    }
    for (const operation of operations) {
      if (operation._tag === "Publish" && isPredefined(operation.exchange)) {
        assert.strictEqual(operation.routingKey, "@a")
      }
    }
  })

  it("consumes from a single queue with a shared prefetch, because RabbitMQ picks one of several at random", () => {
    for (const operation of operations) {
      if (operation._tag !== "Request") continue
      const { arguments: { global, queue }, channel, method } = operation
      if (method === "basic.qos" && global === true) assert.strictEqual(channel, "global")
      if (method === "basic.consume" && channel === "global") assert.include(["@q0", "amq.rabbitmq.reply-to"], queue)
    }
  })
})

describe("dice", () => {
  it("draw the same numbers for the same seed", () => {
    const draws = (seed: number) => {
      const dice = new Dice(seed)
      return Array.from({ length: 100 }, () => dice.between(0, 1_000_000))
    }
    assert.deepStrictEqual(draws(5), draws(5))
    assert.notDeepEqual(draws(5), draws(6))
  })

  it("draw every number within the limits about equally often", () => {
    const dice = new Dice(1)
    const counts = new Map<number, number>()
    for (let draw = 0; draw < 10_000; draw++) {
      const drawn = dice.between(3, 12)
      counts.set(drawn, (counts.get(drawn) ?? 0) + 1)
    }
    assert.deepStrictEqual([...counts.keys()].toSorted((a, b) => a - b), [3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
    for (const count of counts.values()) assert.closeTo(count, 1000, 150)
  })

  it("draw names by weight, and never one with the weight 0", () => {
    const dice = new Dice(1)
    const draws = Array.from({ length: 4000 }, () => dice.weighted({ often: 3, seldom: 1, never: 0 }))
    assert.closeTo(draws.filter((name) => name === "often").length, 3000, 200)
    assert.notInclude(draws, "never")
  })
})
