/**
 * What the proofs need of a test run: vitest's JSON report, with the brokers that `brokersInReport.ts` adds to it.
 */
import * as path from "node:path"
import type { ProvidedContext } from "vitest"

export interface BrokerMeta {
  /** Only integration tests run on a broker. */
  readonly broker?: ProvidedContext["broker"] | undefined
  /** Whether it is as that of CI, so that the same tests run. */
  readonly isLikeCi?: boolean | undefined
}

/** The part of vitest's report that is used here. */
export interface JsonReport {
  readonly testResults: ReadonlyArray<{
    readonly name: string
    readonly assertionResults: ReadonlyArray<{
      readonly ancestorTitles: ReadonlyArray<string>
      readonly title: string
      readonly status: string
      readonly meta: BrokerMeta
    }>
  }>
}

export interface Test {
  /** Its path in `test/`. */
  readonly file: string
  /** The names of the groups around it. */
  readonly groups: ReadonlyArray<string>
  readonly name: string
  /** `unknown` if it was skipped, and would not be where CI runs. */
  readonly status: "passed" | "failed" | "skipped" | "unknown"
  readonly broker?: BrokerMeta["broker"]
}

const statusOf = (status: string, { isLikeCi }: BrokerMeta): Test["status"] => {
  if (status === "passed" || status === "failed") return status
  return isLikeCi === false ? "unknown" : "skipped"
}

/** The tests of a report of the repository at `root`; throws if it does not tell on which brokers they ran. */
export const testsOf = (report: JsonReport, root: string): ReadonlyArray<Test> =>
  report.testResults.flatMap(({ assertionResults, name }) => {
    const file = path.relative(path.join(root, "test"), name)
    return assertionResults.map(({ ancestorTitles, meta, status, title }): Test => {
      if (file.startsWith("integration/") && meta.broker === undefined) {
        throw new Error(
          "the report lacks brokers: run the tests with --reporter=./scripts/proofs/brokersInReport.ts too"
        )
      }
      return { file, groups: ancestorTitles, name: title, status: statusOf(status, meta), broker: meta.broker }
    })
  })
