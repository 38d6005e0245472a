import { matchesTopic, wordsOf } from "@effect-amqp/core/testing/internal/routing/topicPattern"
import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Schema from "effect/Schema"
import { topicMatches } from "../../../../support/routingModel.ts"

const matches = (bindingKey: string, routingKey: string): boolean =>
  matchesTopic(wordsOf(bindingKey), wordsOf(routingKey))

const keyOf = (...words: ReadonlyArray<string>): Arbitrary.Arbitrary<string> =>
  Arbitrary.map(
    Arbitrary.schema(Schema.Array(Schema.Literals(words)).check(Schema.isMaxLength(7))),
    (words) => words.join(".")
  )

describe("the binding key of a topic exchange", () => {
  it.each([
    ["a.b", "a.b", true],
    ["a.b", "a.b.c", false],
    ["a.b.c", "a.b", false],
    ["*", "a", true],
    ["*", "", false],
    ["*", "a.b", false],
    ["a.*.c", "a.b.c", true],
    ["a.*.c", "a..c", true],
    ["#", "", true],
    ["#", "a.b", true],
    ["a.#", "a", true],
    ["a.#", "b", false],
    ["#.b", "a.b", true],
    ["#.b", "b", true],
    ["a.#.c", "a.c", true],
    ["a.#.c", "a.b.b.c", true],
    ["a.#.c", "a.c.b", false],
    ["#.*", "", false],
    ["#.#", "", true],
    ["", "", true],
    ["", "a", false],
    [".", ".", true],
    [".", "", false],
    ["*.*", ".", true],
    ["a*", "ab", false]
  ])("%j and the routing key %j: %s", (bindingKey, routingKey, expected) => {
    assert.strictEqual(matches(bindingKey, routingKey), expected)
    assert.strictEqual(topicMatches(bindingKey, routingKey), expected)
  })

  it.prop(
    "matches the same routing keys as exhaustive search",
    [keyOf("a", "b", "", "*", "#"), keyOf("a", "b", "")],
    ([bindingKey, routingKey]) => {
      assert.strictEqual(matches(bindingKey, routingKey), topicMatches(bindingKey, routingKey))
    },
    { arbitrary: { runs: 2000 } }
  )

  it("takes time proportional to the number of # times the number of words", () => {
    const pattern = wordsOf(`a.${"#.b.".repeat(50)}#.c`)
    let reads = 0
    const words = new Proxy(wordsOf(`a.${"b.".repeat(500)}d`), {
      get: (target, property, receiver) => {
        if (property !== "length") reads++
        return Reflect.get(target, property, receiver) as unknown
      }
    })
    assert.isFalse(matchesTopic(pattern, words))
    assert.isBelow(reads, pattern.length * words.length)
  })
})
