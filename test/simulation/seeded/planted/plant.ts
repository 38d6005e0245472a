/**
 * Planted faults: breaks one line of the client at a time, in a copy of the built package, and runs seeds until one fails. A check that
 * no break makes fail is worthless.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { execFile } from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { breaks } from "./breaks.ts"
import type { Break } from "./breaks.ts"

/** How a break was found. */
export interface Found {
  readonly planted: Break
  /** How many seeds were run. */
  readonly seeds: number
  /** The seed that failed, and the first thing that was wrong. `undefined`: none failed. */
  readonly seed: number | undefined
  readonly violation: string | undefined
}

class NotPlanted extends Data.TaggedError("NotPlanted")<{ readonly message: string }> {}

const folder = path.dirname(fileURLToPath(import.meta.url))
const root = path.resolve(folder, "../../../..")
const built = path.join(root, "packages/core/dist")

/** A break that makes the client loop never ends, and is found by that. */
const timeoutMillis = 1_800_000

/** Copies the built package with one line that is broken. */
const plant = (planted: Break, copy: string): Effect.Effect<void, NotPlanted> =>
  Effect.suspend(() => {
    fs.rmSync(copy, { recursive: true, force: true })
    fs.cpSync(built, copy, { recursive: true, filter: (file) => !/\.(?:d\.ts|map)$/.test(file) })
    const file = path.join(copy, planted.file)
    const before = fs.readFileSync(file, "utf8")
    const count = before.split(planted.line).length - 1
    if (count !== 1) {
      return Effect.fail(
        new NotPlanted({ message: `${planted.file} has ${count} times instead of once: ${planted.line}` })
      )
    }
    fs.writeFileSync(file, before.replace(planted.line, () => planted.becomes))
    return Effect.void
  })

/** Runs seeds with a copy of the package, in a process of its own. */
const search = (planted: Break, copy: string, from: number, runs: number): Effect.Effect<Found> =>
  Effect.callback((resume) => {
    const child = execFile(
      process.execPath,
      ["--import", path.join(folder, "useCopy.ts"), path.join(folder, "search.ts"), String(from), String(runs)],
      { env: { ...process.env, CORE_COPY: copy }, timeout: timeoutMillis },
      (error, stdout) => {
        const found: Omit<Found, "planted"> = error === null
          ? JSON.parse(stdout)
          : { seeds: runs, seed: from, violation: `the process failed: ${error.message.slice(0, 200)}` }
        resume(Effect.succeed({ planted, ...found }))
      }
    )
    return Effect.sync(() => child.kill())
  })

/** Plants each break in turn. */
export const plantAll = (
  from: number,
  runs: number,
  which: (planted: Break) => boolean,
  report: (found: Found) => Effect.Effect<void>
): Effect.Effect<ReadonlyArray<Found>, NotPlanted> =>
  Effect.forEach(
    breaks.filter(which),
    (planted, index) =>
      Effect.gen(function*() {
        // Within the repository, so that the copy finds the packages that it imports.
        const copy = path.join(root, ".build/planted", String(index))
        yield* plant(planted, copy)
        const found = yield* search(planted, copy, from, runs)
        fs.rmSync(copy, { recursive: true, force: true })
        yield* report(found)
        return found
      }),
    { concurrency: 2 }
  )

/** A table for `docs/simulation.md`. */
export const tableOf = (found: ReadonlyArray<Found>): string =>
  [
    "| what is broken | file | found after |",
    "| --- | --- | --- |",
    ...found.map(({ planted, seed, seeds }) =>
      `| ${planted.name} | \`${planted.file.replace(/^internal\//, "").replace(/\.js$/, ".ts")}\` | ${
        seed === undefined ? `not in ${seeds} seeds` : seeds === 1 ? "1 seed" : `${seeds} seeds`
      } |`
    )
  ].join("\n")
