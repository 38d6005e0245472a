/** Where RabbitMQ and the embedded broker route messages, compared with the rules of the specification. */
import { TypedField } from "@effect-amqp/core/protocol/fieldTable"
import type { FieldTable } from "@effect-amqp/core/protocol/fieldTable"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { afterAll } from "vitest"
import { brokerUrl } from "../../support/brokerUnderTest.ts"
import { bindQueue, declareExchange, declareQueue, publish, purgeQueue } from "../../support/calls.ts"
import { Conversations, versionAt } from "../../support/conversation.ts"
import { headersMatch, topicMatches } from "../../support/routingModel.ts"

const conversations = new Conversations(brokerUrl)

afterAll(() => conversations.close())

interface Published {
  readonly routingKey: string
  readonly headers: FieldTable
}

interface Bound {
  readonly routingKey: string
  readonly arguments: FieldTable
}

/** For each message, the bindings that matched it. Each binding has its own queue. */
const routed = async (
  type: "topic" | "headers",
  bindings: ReadonlyArray<Bound>,
  messages: ReadonlyArray<Published>
): Promise<ReadonlyArray<ReadonlyArray<number>>> => {
  const steps = [
    declareExchange("%x", { type }),
    ...bindings.flatMap((binding, index) => [
      declareQueue(`%q${index}`),
      bindQueue("%x", `%q${index}`, binding.routingKey, binding.arguments)
    ])
  ]
  const published = messages.flatMap(({ headers, routingKey }) => [
    publish("%x", routingKey, { headers }),
    ...bindings.map((_, index) => purgeQueue(`%q${index}`))
  ])
  const replies = (await conversations.replies(...steps, ...published)).slice(steps.length)
  return messages.map((_, index) => {
    const start = index * (bindings.length + 1) + 1
    return bindings.flatMap((_, binding) => replies[start + binding] === "queue.purge-ok 1" ? [binding] : [])
  })
}

const between = (minimum: number, maximum: number): Effect.Effect<number> => Random.nextIntBetween(minimum, maximum)

const pick = <A>(values: ReadonlyArray<A>): Effect.Effect<A> =>
  Effect.map(between(0, values.length - 1), (index) => values[index])

const keyOf = (...words: ReadonlyArray<string>): Effect.Effect<string> =>
  Effect.flatMap(
    between(0, 5),
    (length) => Effect.map(Effect.all(Array.from({ length }, () => pick(words))), (words) => words.join("."))
  )

const tableOf = (names: ReadonlyArray<string>): Effect.Effect<FieldTable> =>
  Effect.gen(function*() {
    const table: Record<string, string | number | boolean | null> = {}
    for (const name of names) {
      if (yield* Random.nextBoolean) continue
      table[name] = yield* pick(["1", 1, 1.5, true, false, null])
    }
    return table
  })

const many = <A>(length: number, make: Effect.Effect<A>) => Effect.all(Array.from({ length }, () => make))

const version = await versionAt(brokerUrl)

describe.runIf(version !== undefined)("a message", () => {
  it.live("is routed by a topic exchange according to its key", () =>
    Effect.gen(function*() {
      const bindings = yield* many(
        30,
        Effect.map(keyOf("a", "b", "", "*", "#"), (routingKey) => ({ routingKey, arguments: {} }))
      )
      const messages = yield* many(60, Effect.map(keyOf("a", "b", ""), (routingKey) => ({ routingKey, headers: {} })))
      const found = yield* Effect.promise(() => routed("topic", bindings, messages))
      messages.forEach(({ routingKey }, message) => {
        const expected = [...bindings.keys()].filter((index) => topicMatches(bindings[index].routingKey, routingKey))
        assert.deepStrictEqual(found[message], expected, routingKey)
      })
    }).pipe(Random.withSeed(1)), 60_000)

  it.live("is routed by a headers exchange according to its headers", () =>
    Effect.gen(function*() {
      const names = ["a", "b", "x-c"]
      const modes = [undefined, "all", "any", "all-with-x", "any-with-x"]
      const bindings = yield* many(
        40,
        Effect.map(
          Effect.all([tableOf(names), pick(modes)]),
          ([table, mode]) => ({ routingKey: "", arguments: mode === undefined ? table : { ...table, "x-match": mode } })
        )
      )
      const messages = yield* many(60, Effect.map(tableOf(names), (headers) => ({ routingKey: "", headers })))
      const found = yield* Effect.promise(() => routed("headers", bindings, messages))
      messages.forEach(({ headers }, message) => {
        const expected = [...bindings.keys()].filter((index) => headersMatch(bindings[index].arguments, headers))
        assert.deepStrictEqual(found[message], expected, JSON.stringify(headers))
      })
    }).pipe(Random.withSeed(2)), 60_000)

  it("has headers that match integers of any size, and up to 3.10 any numeric type", async () => {
    const integers = [1, TypedField.int64(1), TypedField.uint8(1)]
    const text = ["1", new TextEncoder().encode("1")]
    // Since 4.0 a timestamp in a header does not match one in a binding.
    const numbers = version === "3.10" ? [[...integers, TypedField.double(1), new Date(1000)]] : [integers]
    const classes = [...numbers, text, [true], [[1, "a"]], [[1, "b"]], [{ a: 1 }], [{ a: 2 }]]
    const values = classes.flat()
    const same = (table: FieldTable) => ({ routingKey: "", arguments: table, headers: table })
    const all = classes.flatMap((each) => each.map((a) => same({ a })))
    const expected = classes.flatMap((each) => each.map(() => each.map((value) => values.indexOf(value))))
    assert.deepStrictEqual(await routed("headers", all, all), expected)
  })
})
