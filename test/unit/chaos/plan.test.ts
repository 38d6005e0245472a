import { assert, describe, it } from "@effect/vitest"
import { kindsFor, plan } from "../../chaos/plan.ts"
import type { Fault, PlanOptions } from "../../chaos/plan.ts"

const faults = (count: number, options: Partial<PlanOptions> = {}): ReadonlyArray<Fault> => {
  const endless = plan({ seed: 1, nodes: 1, proxies: 2, ...options })
  return Array.from({ length: count }, () => endless.next().value)
}

describe("the faults of a chaos run", () => {
  it("are determined by the seed", () => {
    assert.deepStrictEqual(faults(50), faults(50))
    assert.notDeepEqual(faults(50), faults(50, { seed: 2 }))
  })

  it.each([1, 3])("include every possible kind before any comes again, with %d nodes", (nodes) => {
    const all = kindsFor(nodes)
    const kinds = faults(2 * all.length, { nodes }).map(({ kind }) => kind)
    assert.sameMembers(kinds.slice(0, all.length), [...all])
    assert.sameMembers(kinds.slice(all.length), [...all])
  })

  it("hit only nodes and proxies that exist", () => {
    for (const { node, proxy } of faults(200, { nodes: 3, proxies: 3 })) {
      assert.include([0, 1, 2], node)
      assert.include([0, 1, 2, "all"], proxy)
    }
  })

  it("can be limited to some kinds", () => {
    assert.sameMembers([...new Set(faults(20, { kinds: ["cut", "kill"] }).map(({ kind }) => kind))], ["cut", "kill"])
  })

  it("that a single node can't have need a cluster", () => {
    assert.notInclude(kindsFor(1), "killLeader")
    assert.include(kindsFor(3), "killLeader")
  })
})
