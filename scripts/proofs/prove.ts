/**
 * What proves what: the tests of each feature and fault that the documents list, and what is wrong with that.
 */
import type { Claim, SourceOf } from "./pages.ts"
import { faultsPage, featuresPage, isPassed, patternOf } from "./pages.ts"
import type { Test } from "./report.ts"

/** By section and feature of docs/features.md, and by file: the names of tests or of groups of tests, or their beginnings. */
export type References = Readonly<
  Record<string, Readonly<Record<string, Readonly<Record<string, ReadonlyArray<string>>>>>>
>

/** Whether one of the tests passed, or may have passed where CI runs it. */
const isProven = (tests: ReadonlyArray<Test>): boolean =>
  tests.some((test) => isPassed(test) || test.status === "unknown")

const statusesOf = (tests: ReadonlyArray<Test>): string =>
  [...new Set(tests.map(({ status }) => status))].toSorted().join(", ")

/** The rows of all tables in a document, which has one in each section. */
export const rowsOf = (
  document: string
): ReadonlyArray<{ readonly section: string; readonly cells: ReadonlyArray<string> }> =>
  document.split("\n## ").slice(1).flatMap((text) => {
    const [section, ...lines] = text.split("\n")
    return lines.filter((line) => line.startsWith("|")).slice(2)
      .map((line) => ({ section, cells: line.slice(1, line.lastIndexOf("|")).split("|").map((cell) => cell.trim()) }))
  })

// Features

const testsNamed = (name: string, file: string, tests: ReadonlyArray<Test>): ReadonlyArray<Test> => {
  const pattern = patternOf(name)
  return tests.filter((test) => test.file === file && [...test.groups, test.name].some((name) => pattern.test(name)))
}

const proveFeatures = (document: string, references: References, tests: ReadonlyArray<Test>) => {
  const found = Object.entries(references).flatMap(([section, features]) =>
    Object.entries(features).flatMap(([feature, files]) =>
      Object.entries(files).flatMap(([file, names]) =>
        names.map((name) => ({ section, feature, file, name, tests: testsNamed(name, file, tests) }))
      )
    )
  )
  const claims = rowsOf(document).map(({ cells: [title, here], section }): Claim => ({
    section,
    title,
    isToCome: here.startsWith("to come"),
    tests: found.filter((reference) => reference.section === section && reference.feature === title)
      .flatMap(({ tests }) => tests)
  }))
  const problems = found.flatMap(({ feature, file, name, section, tests }) => {
    if (!claims.some((claim) => claim.section === section && claim.title === feature)) {
      return `test/docs/proofs.ts: docs/features.md has no feature "${feature}" in "${section}"`
    }
    if (tests.length === 0) return `test/docs/proofs.ts: ${file} has no test "${name}"`
    return isProven(tests) ? [] : `test/docs/proofs.ts: "${name}" in ${file} proves nothing (${statusesOf(tests)})`
  })
  return { claims, problems }
}

// Faults

/** The ids of faults in the names of a test: "H1, H2: a server …", "every waiter fails with the reason (E13)". */
const idsIn = ({ groups, name }: Test): ReadonlySet<string> =>
  new Set([...groups, name].flatMap((name) => name.match(/\b[A-Z]\d{1,2}\b(?=[:,)])/g) ?? []))

const proveFaults = (document: string, tests: ReadonlyArray<Test>) => {
  const named = tests.flatMap((test) => [...idsIn(test)].map((id) => ({ id, test })))
  const rows = rowsOf(document)
  const claims = rows.map(({ cells: [id, fault, here], section }): Claim => ({
    section,
    title: `${id}: ${fault}`,
    isToCome: here.startsWith("to come"),
    tests: named.filter((test) => test.id === id).map(({ test }) => test)
  }))
  const problems = named.filter(({ id }) => !rows.some(({ cells: [known] }) => known === id))
    .map(({ id, test }) => `docs/faults.md: no fault ${id}, which "${test.name}" in ${test.file} names`)
  return { claims, problems }
}

const unproven = (document: string, claims: ReadonlyArray<Claim>): ReadonlyArray<string> =>
  claims.flatMap(({ isToCome, tests, title }) => {
    if (isToCome) return tests.some(isPassed) ? `${document}: "${title}" is to come, but has a test that passed` : []
    if (isProven(tests)) return []
    return `${document}: "${title}" has no test that passed${tests.length === 0 ? "" : ` (${statusesOf(tests)})`}`
  })

export interface Input {
  /** The texts of docs/features.md and docs/faults.md. */
  readonly features: string
  readonly faults: string
  readonly references: References
  readonly tests: ReadonlyArray<Test>
  readonly sourceOf: SourceOf
}

export interface Proofs {
  /** By path. */
  readonly pages: Readonly<Record<string, string>>
  /** What is claimed and not proven, and what is named and does not exist. */
  readonly problems: ReadonlyArray<string>
}

export const prove = (input: Input): Proofs => {
  const features = proveFeatures(input.features, input.references, input.tests)
  const faults = proveFaults(input.faults, input.tests)
  const problems = [
    ...features.problems,
    ...unproven("docs/features.md", features.claims),
    ...faults.problems,
    ...unproven("docs/faults.md", faults.claims)
  ]
  return {
    pages: {
      "docs/features-proofs.md": featuresPage(features.claims, input.sourceOf),
      "docs/faults-proofs.md": faultsPage(faults.claims, input.sourceOf)
    },
    problems: [...new Set(problems)]
  }
}
