import { assert, describe, it } from "@effect/vitest"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { metaOf } from "../../scripts/proofs/brokersInReport.ts"
import { outdated } from "../../scripts/proofs/pages.ts"
import { prove, rowsOf } from "../../scripts/proofs/prove.ts"
import type { BrokerMeta, JsonReport } from "../../scripts/proofs/report.ts"
import { testsOf } from "../../scripts/proofs/report.ts"
import { root, start } from "../support/process.ts"
import { proofs } from "./proofs.ts"

const read = (file: string): string => fs.readFileSync(path.join(root, file), "utf8")

const rabbitMQ: BrokerMeta = { broker: "RabbitMQ", isLikeCi: true }
const embedded: BrokerMeta = { broker: "the embedded broker", isLikeCi: true }

/** A report of tests of a group "a client": the file of each, its name, its status and where it ran. */
const reportOf = (
  ...tests: ReadonlyArray<readonly [file: string, name: string, status?: string, meta?: BrokerMeta]>
): JsonReport => ({
  testResults: tests.map(([file, title, status = "passed", meta = {}]) => ({
    name: path.join(root, "test", file),
    assertionResults: [{ ancestorTitles: ["a client"], title, status, meta }]
  }))
})

const features = `# Features

## Connection

| Feature | Here |
| ------- | ---- |
| IPv6    | URL  |

## Recovery

| Feature   | Here                   |
| --------- | ---------------------- |
| Reconnect | to come, with recovery |
`

const faults = `# Faults

## H. Handshake

| Id  | What goes wrong | What this client does |
| --- | --------------- | --------------------- |
| H1  | Silence.        | Times out.            |
| H13 | A dead host.    | to come               |
`

const unit = "unit/uri.test.ts"
const integration = "integration/uri.test.ts"

const featuresPage = "docs/features-proofs.md"
const faultsPage = "docs/faults-proofs.md"

/** What a report proves when the feature IPv6 refers to tests of these names. */
const proven = (report: JsonReport, references: ReadonlyArray<string> = ["takes IPv6"], source = "") => {
  const { pages, problems } = prove({
    features,
    faults,
    references: { Connection: { IPv6: { [unit]: references } } },
    tests: testsOf(report, root),
    sourceOf: () => source
  })
  const linesOf = (page: string) => page.split("\n").filter((line) => /^ *- |^##/.test(line))
  return { features: linesOf(pages[featuresPage]), faults: linesOf(pages[faultsPage]), problems }
}

/** Two tests that prove all that these documents claim. */
const ipv6 = [unit, "takes IPv6"] as const
const silence = [unit, "H1: gives up on a silent server"] as const

describe("the proofs", () => {
  it("list the tests that passed under the feature or the fault that they prove, sorted", () => {
    const proofs = proven(
      reportOf(silence, [unit, "fails in time (H1)"], ["unit/a.test.ts", "E1, H1: is notified"], ipv6)
    )
    assert.deepStrictEqual(proofs.features, [
      "## Connection",
      "### IPv6",
      "- `unit/uri.test.ts`",
      "  - a client › takes IPv6"
    ])
    assert.deepStrictEqual(proofs.faults, [
      "## H. Handshake",
      "### H1: Silence.",
      "- `unit/a.test.ts`",
      "  - a client › E1, H1: is notified",
      "- `unit/uri.test.ts`",
      "  - a client › H1: gives up on a silent server",
      "  - a client › fails in time (H1)"
    ])
  })

  it("are the same for the same results in another order", () => {
    const results = [ipv6, silence, [unit, "fails in time (H1)"], ["unit/a.test.ts", "H1: is notified"]] as const
    assert.deepStrictEqual(proven(reportOf(...results)), proven(reportOf(...results.toReversed())))
  })

  it.each(["skipped", "failed", "todo"])("do not list a test that is %s, and miss it", (status) => {
    const seen = status === "failed" ? "failed" : "skipped"
    assert.deepStrictEqual(proven(reportOf([...ipv6, status], [...silence, status])), {
      features: [],
      faults: [],
      problems: [
        `test/docs/proofs.ts: "takes IPv6" in ${unit} proves nothing (${seen})`,
        `docs/features.md: "IPv6" has no test that passed (${seen})`,
        `docs/faults.md: "H1: Silence." has no test that passed (${seen})`
      ]
    })
  })

  it("report a feature without a reference and a fault that no test names", () => {
    assert.deepStrictEqual(proven(reportOf(), []).problems, [
      "docs/features.md: \"IPv6\" has no test that passed",
      "docs/faults.md: \"H1: Silence.\" has no test that passed"
    ])
  })

  it("report each reference without a test, even if other tests passed", () => {
    const report = reportOf(ipv6, silence, ["unit/other.test.ts", "takes IPv4"])
    assert.deepStrictEqual(proven(report, ["takes IPv6", "takes IPv4"]).problems, [
      `test/docs/proofs.ts: ${unit} has no test "takes IPv4"`
    ])
  })

  it("refuse references for a feature that does not exist", () => {
    const references = { Connection: { IPv6: { [unit]: ["takes IPv6"] }, IPv7: { [unit]: ["takes IPv6"] } } }
    const tests = testsOf(reportOf(ipv6, silence), root)
    assert.deepStrictEqual(prove({ features, faults, references, tests, sourceOf: () => "" }).problems, [
      "test/docs/proofs.ts: docs/features.md has no feature \"IPv7\" in \"Connection\""
    ])
  })

  it("refuse the id of a fault that does not exist, even in a skipped test", () => {
    assert.deepStrictEqual(proven(reportOf(ipv6, silence, [unit, "H1, H99: is notified", "skipped"])).problems, [
      `docs/faults.md: no fault H99, which "H1, H99: is notified" in ${unit} names`
    ])
  })

  it("refuse a test of what is to come", () => {
    assert.deepStrictEqual(proven(reportOf(ipv6, silence, [unit, "takes the next host (H13)"])).problems, [
      "docs/faults.md: \"H13: A dead host.\" is to come, but has a test that passed"
    ])
  })

  it.each([
    ["takes ${host} (IPv6), port ${of(\"host\")}", 2],
    ["takes %s (IPv6), port %i", 2],
    ["takes $host (", 2],
    ["takes [::1]", 1],
    ["a client", 3],
    ["takes . ", 0],
    ["(IPv6)", 0]
  ])("know the tests that \"%s\" in the source stands for", (reference, count) => {
    const report = reportOf([unit, "takes [::1] (IPv6), port 5672"], [unit, "takes [::2] (IPv6), port 1"], silence)
    const { features, problems } = proven(report, [reference])
    assert.lengthOf(features.filter((line) => line.startsWith("  - ")), count)
    assert.strictEqual(problems.length === 0, count > 0)
  })

  it("count the tests of one name in the source when they are more than ten", () => {
    const hosts = (count: number) =>
      Array.from({ length: count }, (_, index) => [unit, `takes IPv6: ::${index}`] as const)
    const source = "it(`takes ${what}`, it(`takes IPv6: ${host}`"
    assert.deepStrictEqual(proven(reportOf(...hosts(11), ipv6), undefined, source).features.slice(3), [
      "  - a client › takes IPv6",
      "  - a client › takes IPv6: … (11 tests)"
    ])
    assert.lengthOf(proven(reportOf(...hosts(10), ipv6), undefined, source).features, 3 + 11)
  })

  it("show test names unchanged", () => {
    const { faults } = proven(reportOf([unit, "H1: frame_max, _a_ *b* `c` <d> [e]"]))
    assert.strictEqual(faults.at(-1), "  - a client › H1: frame_max, \\_a\\_ \\*b\\* \\`c\\` \\<d> \\[e]")
  })

  it("show the brokers on which a test passed", () => {
    const report = reportOf(
      [integration, "H1: everywhere", "passed", rabbitMQ],
      [integration, "H1: everywhere", "passed", embedded],
      [integration, "H1: there only", "passed", rabbitMQ],
      [integration, "H1: there only", "skipped", embedded],
      [integration, "H1: here only", "failed", rabbitMQ],
      [integration, "H1: here only", "passed", embedded]
    )
    assert.deepStrictEqual(proven(report).faults.slice(2), [
      `- \`${integration}\`, on RabbitMQ`,
      "  - a client › H1: there only",
      `- \`${integration}\`, on both brokers`,
      "  - a client › H1: everywhere",
      `- \`${integration}\`, on the embedded broker`,
      "  - a client › H1: here only"
    ])
  })

  it("leave open what a test proves that is skipped only where RabbitMQ is not as that of CI", () => {
    const unlike = { ...rabbitMQ, isLikeCi: false }
    const report = reportOf(ipv6, [integration, "H1: there", "skipped", unlike], [
      integration,
      "H1: here",
      "skipped",
      embedded
    ])
    assert.deepStrictEqual(testsOf(report, root).map(({ status }) => status), ["passed", "unknown", "skipped"])
    const { faults, problems } = proven(report)
    assert.deepStrictEqual(problems, [])
    assert.deepStrictEqual(faults, [])
  })

  it("refuse a report without the brokers of integration tests", () => {
    assert.throws(
      () => proven(reportOf([integration, "H1: is notified"])),
      "--reporter=./scripts/proofs/brokersInReport.ts"
    )
  })

  it("are out of date when a page has a missing or an extra line", () => {
    const pages = { "a.md": "- one\n- two\n", "b.md": "- one\n", "c.md": "- one\n" }
    const committed = new Map([["a.md", "- one\n- three\n"], ["b.md", "- one\n"]])
    assert.deepStrictEqual(outdated(pages, (page) => committed.get(page)), [
      "a.md is out of date: run npm run proofs\n  missing: - two\n  not proven by this run: - three",
      "c.md is out of date: run npm run proofs\n  missing: - one"
    ])
  })
})

describe("a RabbitMQ", () => {
  const amqpUrl = "amqp://guest:guest@127.0.0.1:5672"
  const asInCi = {
    broker: "RabbitMQ",
    version: "3.10.8",
    amqpUrl,
    administrableBroker: { url: amqpUrl, nodename: "", env: {} }
  } as const

  it.each(
    [
      ["of another version", { ...asInCi, version: "4.3.6" }],
      ["that can't be administered", { ...asInCi, administrableBroker: undefined }],
      ["with TLS", { ...asInCi, amqpUrl: "amqps://broker.example" }],
      ["with another virtual host", { ...asInCi, amqpUrl: `${amqpUrl}/other` }]
    ] as const
  )("%s is not as that of CI", (_, context) => {
    assert.deepStrictEqual(metaOf(context), { broker: "RabbitMQ", isLikeCi: false })
  })
})

describe("scripts/proofs.ts --check", () => {
  const check = async (report: string) => {
    const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "proofs-")), "report.json")
    fs.writeFileSync(file, report)
    const { exitCode, stderr } = await start(["scripts/proofs.ts", "--check", "--report", file]).ended
    fs.rmSync(path.dirname(file), { recursive: true })
    return { exitCode, stderr }
  }

  it("fails and writes nothing when the tests did not run", async () => {
    const before = read(featuresPage)
    const { exitCode, stderr } = await check(JSON.stringify(reportOf()))
    assert.strictEqual(exitCode, 1)
    assert.include(stderr, "\ndocs/features.md: \"IPv6 addresses\" has no test that passed\n")
    assert.include(stderr, `\n${featuresPage} is out of date`)
    // The compiler has done its part.
    assert.notInclude(stderr, "types/")
    assert.strictEqual(read(featuresPage), before)
  })

  it("fails with one line when there is no report", async () => {
    const { exitCode, stderr } = await check("")
    assert.strictEqual(exitCode, 1)
    assert.match(stderr, /^npm run proofs: .*JSON.*\n$/)
  })
})

describe.each(["docs/features.md", "docs/faults.md"])("%s", (document) => {
  it("has readable tables: no cell is empty or above 90 characters", () => {
    const lines = read(document).split("\n").filter((line) => line.startsWith("|"))
    const cells = lines.flatMap((line) => line.slice(1, -1).split("|").map((cell) => cell.trim()))
    assert.isAbove(cells.length, 300)
    assert.deepStrictEqual(cells.filter((cell) => (cell.length > 90 && !/^-+$/.test(cell)) || cell === ""), [])
  })

  it("has each row once", () => {
    const rows = rowsOf(read(document))
      .map(({ cells: [first], section }) => document === "docs/faults.md" ? first : `${section}: ${first}`)
    assert.deepStrictEqual(rows.filter((row, index) => rows.indexOf(row) !== index), [])
  })
})

describe("the failures of rabbitpy", () => {
  const section = "Failures of rabbitpy 3.0.2"

  it("are features 1 to 15, each with tests that have its number in their names", () => {
    const failures = rowsOf(read("docs/features.md")).filter((row) => row.section === section)
    assert.deepStrictEqual(
      failures.map(({ cells: [failure] }) => Number.parseInt(failure, 10)),
      Array.from({ length: 15 }, (_, index) => index + 1)
    )
    for (const [index, { cells: [failure] }] of failures.entries()) {
      const names = Object.values(proofs[section]?.[failure] ?? {}).flat()
      assert.isNotEmpty(names)
      for (const name of names) assert.isTrue(name.startsWith(`rabbitpy failure ${index + 1}:`), name)
    }
  })
})
