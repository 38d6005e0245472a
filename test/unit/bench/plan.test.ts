import { assert, describe, it } from "@effect/vitest"
import { plan } from "../../../bench/src/plan.ts"
import { countsFor, familyNames, scenarioNamed, scenarios, selectScenarios } from "../../../bench/src/scenarios.ts"
import { windowFor } from "../../../bench/src/workload.ts"

const namesOf = (...selected: ReadonlyArray<string>) => selectScenarios(selected).map(({ name }) => name)

describe("the scenarios of the benchmark", () => {
  it("have distinct names, which are not names of families", () => {
    const names = [...scenarios.map(({ name }) => name), ...familyNames, "all"]
    assert.strictEqual(new Set(names).size, names.length)
  })

  it("are selected by name and by family, each once, in the order of the report", () => {
    assert.deepStrictEqual(namesOf("declare", "publish"), ["publish", "declare"])
    assert.deepStrictEqual(namesOf("publishers", "publishers-10"), ["publishers-1", "publishers-10"])
    assert.strictEqual(namesOf("all").length, scenarios.length)
  })

  it("send large bodies less often, unless a count is given", () => {
    const scenario = scenarioNamed("publish")
    assert.deepStrictEqual(countsFor(scenario, 16, undefined), { count: 200_000, warmUp: 20_000 })
    assert.deepStrictEqual(countsFor(scenario, 2 ** 20, undefined), { count: 256, warmUp: 25 })
    assert.deepStrictEqual(countsFor(scenario, 2 ** 29, undefined), { count: 1, warmUp: 1 })
    assert.deepStrictEqual(countsFor(scenario, 2 ** 20, 7), { count: 7, warmUp: 7 })
  })

  it("have fewer large bodies in flight", () => {
    assert.deepStrictEqual([0, 16, 2 ** 14, 2 ** 20, 2 ** 27].map(windowFor), [1000, 1000, 1000, 16, 1])
  })
})

describe("the plan of a benchmark", () => {
  it("rotates the clients each round", () => {
    const planned = plan({
      scenarios: selectScenarios(["publish"]),
      clients: ["effect-amqp", "amqplib", "cloudamqp"],
      size: 16,
      count: 10,
      rounds: 3
    })
    assert.deepStrictEqual(planned.map(({ client, round }) => `${round} ${client}`), [
      "1 effect-amqp",
      "1 amqplib",
      "1 cloudamqp",
      "2 amqplib",
      "2 cloudamqp",
      "2 effect-amqp",
      "3 cloudamqp",
      "3 effect-amqp",
      "3 amqplib"
    ])
  })

  it("prefers the size of a scenario to the general one", () => {
    const planned = plan({
      scenarios: selectScenarios(["publish", "publish-1KiB"]),
      clients: ["amqplib"],
      size: 100,
      count: 1,
      rounds: 1
    })
    assert.deepStrictEqual(planned.map(({ size }) => size), [100, 1024])
  })
})
