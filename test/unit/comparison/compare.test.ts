import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { endpointOf, startBrokers, startEmbedded, versionOf } from "../../comparison/brokers.ts"
import type { EmbeddedBroker } from "../../comparison/brokers.ts"
import { comparePlan, firstDifference, kindOf } from "../../comparison/compare.ts"
import type { Brokers } from "../../comparison/compare.ts"
import { compareSeeds, smallestDifference } from "../../comparison/compareSeeds.ts"
import type { Found } from "../../comparison/compareSeeds.ts"
import type { Operation, Plan, Publish } from "../../comparison/operations.ts"
import { makePlan } from "../../comparison/plan.ts"
import { describeDifference, describeRun } from "../../comparison/report.ts"
import { runPlan } from "../../comparison/run.ts"
import type { Step, Trace } from "../../comparison/run.ts"

const local = endpointOf("amqp://127.0.0.1") ?? assert.fail("this is a URL")

const traceOf = (...steps: ReadonlyArray<ReadonlyArray<string>>): Trace =>
  steps.map((lines): Step => ({ title: "at the end: something", lines }))

const names = { reference: "The one", embedded: "The other" }

const planOf = (...operations: ReadonlyArray<Operation>): Plan => ({ seed: 1, theme: "flow", operations })

const request = (method: string, values: Extract<Operation, { _tag: "Request" }>["arguments"]): Operation => ({
  _tag: "Request",
  channel: "plain",
  method,
  arguments: values
})

const publish = (routingKey: string): Publish => ({
  _tag: "Publish",
  channel: "confirm",
  exchange: "",
  routingKey,
  mandatory: false,
  immediate: false,
  properties: {},
  body: "m1"
})

/** What the broker holds when all is done. */
const leftIn = ({ broker }: EmbeddedBroker) =>
  Effect.gen(function*() {
    const exchanges = yield* broker.exchanges()
    return {
      queues: (yield* broker.queues()).map(({ name }) => name),
      exchanges: exchanges.map(({ name }) => name).filter((name) => name !== "" && !name.startsWith("amq.")),
      connections: (yield* broker.connections).length
    }
  })

const nothing = { queues: [], exchanges: [], connections: 0 }

/** Two embedded brokers, of which the one that stands for RabbitMQ refuses messages with this text. */
const brokersThatDiffer = (text: string) =>
  Effect.gen(function*() {
    const refusing = yield* startEmbedded(local)
    yield* refusing.broker.confirmWith((message) => message.text === text ? "nack" : "ack")
    const brokers: Brokers = { reference: refusing.endpoint, embedded: (yield* startEmbedded(local)).endpoint }
    return brokers
  })

describe("the first difference", () => {
  it("is the first step with different lines", () => {
    const trace = traceOf(["a"], ["b", "c"], ["d"])
    assert.isUndefined(firstDifference(trace, traceOf(["a"], ["b", "c"], ["d"])))
    assert.strictEqual(firstDifference(trace, traceOf(["a"], ["c", "b"], ["x"])), 1)
    assert.strictEqual(firstDifference(trace, traceOf(["a"], ["b", "c"], [])), 2)
    assert.strictEqual(firstDifference(trace, traceOf(["a"], ["b", "c"])), 2)
  })

  it("has the same kind for any channel, names and numbers", () => {
    const plan = planOf()
    const kind = (reference: string, embedded: string) =>
      kindOf({ plan, reference: traceOf(["same", reference]), embedded: traceOf(["same", embedded]) })
    assert.strictEqual(
      kind("plain: channel.close replyCode=406 replyText=\"PRECONDITION_FAILED - 'a' 1\"", "plain: basic.ack"),
      kind("tx: channel.close replyCode=406 replyText=\"PRECONDITION_FAILED - 'b' 22\"", "other: basic.ack")
    )
    assert.notStrictEqual(
      kind("plain: channel.close replyText=\"NOT_FOUND\"", "plain: basic.ack"),
      kind("plain: channel.close replyText=\"NOT_ALLOWED\"", "plain: basic.ack")
    )
    assert.notStrictEqual(kind("plain: basic.nack", "same"), kind("plain: basic.ack", "same"))
  })
})

describe("a report", () => {
  const plan = planOf(request("queue.declare", { queue: "@q0" }), publish("@q0"))

  it("lists the operations up to the difference, and both replies to the last one", () => {
    const reference = traceOf(["plain: queue.declare-ok"], ["confirm: basic.ack"], ["later"])
    const embedded = traceOf(["plain: queue.declare-ok"], [], ["different too"])
    const [declared, published, ...answers] = describeDifference({ plan, reference, embedded }, names).split("\n")
    assert.strictEqual(declared, "   1. plain: queue.declare {\"queue\":\"@q0\"}")
    assert.strictEqual(published, "   2. confirm: basic.publish \"m1\" to {\"exchange\":\"\",\"routingKey\":\"@q0\"}")
    assert.deepStrictEqual(answers.map((line) => line.trim()), [
      "The one:",
      "confirm: basic.ack",
      "The other:",
      "nothing"
    ])
  })

  it("names the remaining state if all operations had the same replies", () => {
    const reference = traceOf([], [], ["a message"])
    const report = describeDifference({ plan, reference, embedded: traceOf([], [], []) }, names)
    assert.include(report, "at the end: something:")
    assert.include(report, "a message")
  })

  it("of a whole run lists the reply to each step, and both where they differ", () => {
    const reference = traceOf(["first"], ["second"], ["third"])
    const report = describeRun({ plan, reference, embedded: traceOf(["first"], ["2nd"], ["third"]) }, names)
    assert.deepStrictEqual(report.split("\n").map((line) => line.trim()).filter((line) => !line.includes(". ")), [
      "first",
      "The one:",
      "second",
      "The other:",
      "2nd",
      "third"
    ])
  })
})

describe("a run", () => {
  it.live("records replies, deliveries and what is left", () =>
    Effect.gen(function*() {
      const { endpoint } = yield* startEmbedded(local)
      const plan = planOf(
        request("queue.declare", { queue: "@q0" }),
        publish("@q0"),
        publish("@q0"),
        request("basic.qos", { prefetchCount: 1 }),
        request("basic.consume", { queue: "@q0", consumerTag: "t0" }),
        { _tag: "Settle", channel: "plain", method: "basic.ack", target: 0, multiple: false, requeue: false },
        {
          _tag: "Settle",
          channel: "plain",
          method: "basic.ack",
          target: "settledLast",
          multiple: false,
          requeue: false
        },
        request("queue.purge", { queue: "@none" })
      )
      const trace = yield* runPlan(plan, endpoint, { prefix: "a-run-", quietMillis: 10 })
      const delivery = (redelivered: boolean) =>
        `plain: basic.deliver consumerTag="t0" redelivered=${redelivered} exchange="" routingKey="@q0"` +
        " body=\"m1\" properties: none"
      const answers = trace.slice(0, plan.operations.length).map(({ lines }) => lines)
      assert.deepStrictEqual(answers.slice(0, 6), [
        ["plain: queue.declare-ok queue=\"@q0\" messageCount=0 consumerCount=0"],
        ["confirm: basic.ack deliveryTag=1 multiple=false"],
        ["confirm: basic.ack deliveryTag=2 multiple=false"],
        ["plain: basic.qos-ok"],
        ["plain: basic.consume-ok consumerTag=\"t0\"", delivery(false)],
        [delivery(false)]
      ])
      assert.match(answers[6].join(), /channel.close replyCode=406 .*unknown delivery tag 1/)
      assert.match(answers[7].join(), /channel.close replyCode=404 .*no queue '@none'/)
      const contents = trace.find(({ title }) => title.includes("@q0"))?.lines ?? []
      assert.lengthOf(contents, 3)
      assert.include(contents[1], "basic.get-ok redelivered=true")
      assert.include(contents[2], "basic.get-empty")
    }))

  it.live("leaves nothing behind, whatever the plan declares", () =>
    Effect.gen(function*() {
      const started = yield* startEmbedded(local)
      yield* Effect.forEach(Array.from({ length: 40 }, (_, seed) => seed), (seed) =>
        runPlan(makePlan(seed, 12), started.endpoint, { prefix: `left-${seed}-`, quietMillis: 1 }), {
        concurrency: 10,
        discard: true
      })
      yield* Effect.sleep(20)
      assert.deepStrictEqual(yield* leftIn(started), nothing)
    }))

  it.live("leaves nothing behind when it is interrupted", () =>
    Effect.gen(function*() {
      const started = yield* startEmbedded(local)
      const declare = ["@q0", "@q1", "@q2"].map((queue) => request("queue.declare", { queue, durable: true }))
      const exclusive = request("queue.declare", { queue: "@q3", exclusive: true })
      const plan = planOf(...declare, exclusive, ...Array.from({ length: 1000 }, () => publish("@q0")))
      const options = { prefix: "interrupted-", quietMillis: 2 }
      const running = yield* Effect.forkChild(runPlan(plan, started.endpoint, options))
      while ((yield* leftIn(started)).queues.length < 4) yield* Effect.sleep(5)
      yield* Fiber.interrupt(running)
      yield* Effect.sleep(20)
      assert.deepStrictEqual(yield* leftIn(started), nothing)
    }))

  it.live("reports that there is no broker", () =>
    Effect.gen(function*() {
      const { endpoint } = yield* Effect.scoped(startEmbedded(local))
      const trace = yield* runPlan(planOf(publish("@q0")), endpoint, { prefix: "none-", quietMillis: 1 })
      assert.include(trace[0].lines.join(), "ECONNREFUSED")
    }))
})

describe("a comparison", () => {
  it.live("of two equal brokers finds no difference", () =>
    Effect.gen(function*() {
      const brokers = {
        reference: (yield* startEmbedded(local)).endpoint,
        embedded: (yield* startEmbedded(local)).endpoint
      }
      for (let seed = 0; seed < 5; seed++) {
        assert.notStrictEqual((yield* comparePlan(makePlan(seed, 10), brokers))._tag, "Different")
      }
    }))

  it.live("finds the one operation with different replies, and removes the others", () =>
    Effect.gen(function*() {
      const brokers = yield* brokersThatDiffer("refused")
      const { operations } = makePlan(7, 8)
      const refused: Publish = { ...publish("@q0"), body: "refused" }
      const unneeded: Publish = { ...refused, mandatory: true, properties: { priority: 1, headers: { a: 1, b: 2 } } }
      const plan = planOf(...operations.slice(0, 4), unneeded, ...operations.slice(4))
      const comparison = yield* comparePlan(plan, brokers)
      if (comparison._tag !== "Different") return assert.fail(`they are ${comparison._tag}`)
      const smallest = yield* smallestDifference(comparison, brokers)
      assert.deepStrictEqual(smallest.plan.operations, [{ ...refused, properties: {} }])
      assert.include(describeDifference(smallest, names), "confirm: basic.nack")
    }))

  it.live("of many seeds counts the differences, and reports each kind once with its seeds", () =>
    Effect.gen(function*() {
      const refusing = yield* startEmbedded(local)
      yield* refusing.broker.confirmWith(() => "nack")
      const brokers = { reference: refusing.endpoint, embedded: (yield* startEmbedded(local)).endpoint }
      const found: Array<Found> = []
      const progress: Array<number> = []
      const summary = yield* compareSeeds(brokers, {
        seed: 100,
        runs: 20,
        steps: 3,
        concurrency: 10,
        onProgress: (done) => Effect.sync(() => void progress.push(done)),
        onDifference: (difference) => Effect.sync(() => void found.push(difference))
      })
      assert.deepStrictEqual(progress, Array.from({ length: 20 }, (_, index) => index + 1))
      assert.strictEqual(summary.compared, 20)
      assert.isAbove(summary.differences, found.length)
      const seeds = found.flatMap(({ alsoSeeds, difference }) => [difference.plan.seed, ...alsoSeeds])
      assert.lengthOf(seeds, summary.differences)
      assert.strictEqual(new Set(seeds).size, seeds.length)
      for (const { difference, planned } of found) {
        assert.strictEqual(planned, 3)
        assert.isBelow(difference.plan.operations.length, 4)
      }
    }))

  it.live("attributes a difference that does not recur to timing", () =>
    Effect.gen(function*() {
      const brokers = yield* Effect.gen(function*() {
        const refusing = yield* startEmbedded(local)
        let refused = 0
        yield* refusing.broker.confirmWith(() => refused++ === 0 ? "nack" : "ack")
        return { reference: refusing.endpoint, embedded: (yield* startEmbedded(local)).endpoint }
      })
      assert.strictEqual((yield* comparePlan(planOf(publish("@q0")), brokers))._tag, "Timing")
    }))

  it.live.each([
    ["amqp://127.0.0.1:1", "ECONNREFUSED"],
    ["amqps://127.0.0.1", "The URL must be like"],
    ["no URL", "The URL must be like"]
  ])("without a broker at %s fails with a reason", ([url, reason]) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(startBrokers(url))
      assert.include(error.message, reason)
    }))

  it("uses the embedded broker of the same version", () => {
    const versions = [
      "RabbitMQ 3.8.0",
      "RabbitMQ 3.10.8",
      "RabbitMQ 4.0.5",
      "RabbitMQ 4.2.1",
      "RabbitMQ 4.3.6",
      "LavinMQ 2.0"
    ]
    assert.deepStrictEqual(versions.map(versionOf), ["3.10", "3.10", "4.0", "4.0", "4.3", "3.10"])
  })
})
