/** Runs seeds until one fails: `node search.ts <from> <runs>`. Prints how many that took, and what was wrong. */
import * as Effect from "effect/Effect"
import { run } from "../run.ts"

const [from, runs] = process.argv.slice(2).map(Number)

const search = Effect.gen(function*() {
  for (let seed = from; seed < from + runs; seed++) {
    const { violations } = yield* run(String(seed))
    if (violations.length > 0) return { seeds: seed - from + 1, seed, violation: violations[0] }
  }
  return { seeds: runs, seed: undefined, violation: undefined }
})

console.log(JSON.stringify(await Effect.runPromise(search)))
