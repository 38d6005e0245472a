/** Runs seeds until one fails: `node search.ts <from> <runs>`. Prints how many that took, and what was wrong. */
import * as Effect from "effect/Effect"
import { run } from "../run.ts"

const [from, runs] = process.argv.slice(2).map(Number)

let seed = from

const report = (violation: string | undefined): void => {
  const isFound = violation !== undefined
  console.log(JSON.stringify({ seeds: isFound ? seed - from + 1 : runs, seed: isFound ? seed : undefined, violation }))
}

// A broken client may fail where no program can catch it.
process.on("uncaughtException", (error) => {
  report(`uncaught: ${error.message}`)
  process.exit(0)
})

const search = Effect.gen(function*() {
  for (; seed < from + runs; seed++) {
    const { violations } = yield* run(String(seed))
    if (violations.length > 0) return violations[0]
  }
  return undefined
})

report(await Effect.runPromise(search))
