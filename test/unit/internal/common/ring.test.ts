import { copyRing } from "@effect-amqp/core/internal/common/ring"
import { assert, describe, it } from "@effect/vitest"

describe("copying a ring into a larger one", () => {
  it.each([0, 1, 5, 8, 13])("keeps all entries of a full ring whose first entry has the number %i", (first) => {
    const small = new Float64Array(4)
    for (let entry = first; entry < first + 4; entry++) small[entry & 3] = entry * 10
    const large = copyRing(small, new Float64Array(8), first, first + 4)
    for (let entry = first; entry < first + 4; entry++) assert.strictEqual(large[entry & 7], entry * 10)
  })

  it("leaves the other places of the larger ring unchanged", () => {
    const large = copyRing<string | undefined, Array<string | undefined>>(["a", "b"], Array(4).fill(undefined), 2, 3)
    assert.deepStrictEqual(large, [undefined, undefined, "a", undefined])
  })
})
