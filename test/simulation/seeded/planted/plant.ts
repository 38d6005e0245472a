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

/** Whether the line is there once. The first thing to do, so that a list that is out of date is noticed before the long runs. */
const check = ({ file, line, name }: Break): Effect.Effect<void, NotPlanted> =>
  Effect.suspend(() => {
    const count = fs.readFileSync(path.join(built, file), "utf8").split(line).length - 1
    return count === 1
      ? Effect.void
      : Effect.fail(new NotPlanted({ message: `${name}: ${file} has this ${count} times instead of once: ${line}` }))
  })

/** Copies the built package into a folder, with one line that is broken. */
export const plant = ({ becomes, file, line }: Break, copy: string): void => {
  fs.rmSync(copy, { recursive: true, force: true })
  fs.cpSync(built, copy, { recursive: true, filter: (file) => !/\.(?:d\.ts|map)$/.test(file) })
  const broken = path.join(copy, file)
  fs.writeFileSync(broken, fs.readFileSync(broken, "utf8").replace(line, () => becomes))
}

/** Runs seeds with a copy of the package, in a process of its own. */
const search = (planted: Break, copy: string, from: number, runs: number): Effect.Effect<Found, NotPlanted> =>
  Effect.callback((resume) => {
    const child = execFile(
      process.execPath,
      ["--import", path.join(folder, "useCopy.ts"), path.join(folder, "search.ts"), String(from), String(runs)],
      { env: { ...process.env, CORE_COPY: copy }, timeout: timeoutMillis },
      (error, stdout, stderr) => {
        if (error === null) resume(Effect.succeed({ planted, ...JSON.parse(stdout) }))
        else if (error.killed === true) {
          resume(Effect.succeed({ planted, seeds: runs, seed: from, violation: "a run loops" }))
        } else resume(Effect.fail(new NotPlanted({ message: `${planted.name}: ${stderr.slice(-2_000)}` })))
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
  Effect.andThen(
    Effect.forEach(breaks, check, { discard: true }),
    Effect.forEach(
      breaks.filter(which),
      (planted, index) =>
        Effect.gen(function*() {
          // Within the repository, so that the copy finds the packages that it imports.
          const copy = path.join(root, ".build/planted", String(index))
          plant(planted, copy)
          const found = yield* search(planted, copy, from, runs)
          fs.rmSync(copy, { recursive: true, force: true })
          yield* report(found)
          return found
        }),
      { concurrency: 2 }
    )
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
