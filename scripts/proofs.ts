/**
 * `npm run proofs`: writes the pages of what proves what, from the results of a test run. `--report <file>` names a JSON report
 * of vitest; without it the tests run first. With `--check` nothing is written, and a claim without a proof, a wrong reference
 * and a page that is out of date are failures.
 *
 * The compiler proves the tests of types: `scripts/run.mjs` runs it before this script, and ends if it fails.
 */
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { proofs as references } from "../test/docs/proofs.ts"
import { outdated } from "./proofs/pages.ts"
import { prove } from "./proofs/prove.ts"
import type { JsonReport, Test } from "./proofs/report.ts"
import { testsOf } from "./proofs/report.ts"

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const inRoot = (file: string): string => path.join(root, file)
const read = (file: string): string => fs.readFileSync(inRoot(file), "utf8")

/** Runs all tests and returns the report of it. */
const runTests = async (): Promise<string> => {
  const { startVitest } = await import("vitest/node")
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "proofs-"))
  const outputFile = path.join(folder, "report.json")
  const vitest = await startVitest("test", [], {
    root,
    watch: false,
    reporters: ["default", inRoot("scripts/proofs/brokersInReport.ts"), ["json", { outputFile }]]
  })
  await vitest.close()
  const report = fs.readFileSync(outputFile, "utf8")
  fs.rmSync(folder, { recursive: true })
  return report
}

/** The lines that must not compile, each with the reason that it gives. */
const typeTests = fs.globSync("types/*.ts", { cwd: inRoot("test") }).flatMap((file) =>
  [...read(`test/${file}`).matchAll(/@ts-expect-error (.+)/g)]
    .map(([, reason]): Test => ({ file, groups: [], name: reason, status: "passed" }))
)

const { values } = parseArgs({ options: { report: { type: "string" }, check: { type: "boolean" } } })

const fail = (problem: string): void => {
  console.error(problem)
  process.exitCode = 1
}

const main = async (): Promise<void> => {
  const report: JsonReport = JSON.parse(
    values.report === undefined ? await runTests() : fs.readFileSync(values.report, "utf8")
  )
  const tests = testsOf(report, root)
  const { pages, problems } = prove({
    features: read("docs/features.md"),
    faults: read("docs/faults.md"),
    references,
    tests: [...tests, ...typeTests],
    sourceOf: (file) => read(`test/${file}`)
  })
  problems.forEach(fail)
  const unknown = tests.filter(({ status }) => status === "unknown").length
  const why = `the RabbitMQ of this run is not as that of CI, and ${unknown} tests were skipped`
  if (values.check === true) {
    if (unknown > 0) console.log(`The pages of proofs are not compared: ${why}`)
    else outdated(pages, (file) => fs.existsSync(inRoot(file)) ? read(file) : undefined).forEach(fail)
  } else if (unknown > 0) {
    fail(`The pages of proofs are not written: ${why}`)
  } else {
    for (const [file, page] of Object.entries(pages)) fs.writeFileSync(inRoot(file), page)
  }
}

await main().catch((error: unknown) =>
  fail(`npm run proofs: ${error instanceof Error ? error.message : String(error)}`)
)
