import { assert, describe, it } from "@effect/vitest"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import type { Report } from "../chaos/report.ts"
import { breaks } from "../simulation/seeded/planted/breaks.ts"
import { plant } from "../simulation/seeded/planted/plant.ts"
import { onRabbitMQ } from "../support/brokerUnderTest.ts"
import { canStartCluster } from "../support/cluster.ts"
import { root, start } from "../support/process.ts"

/** Runs `npm run chaos` for a few seconds with connections that are reset, on the built client or on a copy of it. */
const chaos = async (folder: string, copy?: string) => {
  const json = path.join(folder, "report.json")
  const program = ["test/chaos/main.ts", "--minutes", "0.05", "--seed", "1", "--only", "reset", "--json", json]
  const { ended } = copy === undefined
    ? start(program)
    : start(["--import", "./test/simulation/seeded/planted/useCopy.ts", ...program], { CORE_COPY: copy })
  const { exitCode, stderr, stdout } = await ended
  const report = JSON.parse(fs.readFileSync(json, "utf8")) as Report // as the program writes it
  return { exitCode, output: `${stdout}${stderr}`, report }
}

describe.runIf(onRabbitMQ("The embedded broker has no nodes.") && canStartCluster())("npm run chaos", () => {
  it("exits with 0 when the client makes no mistake", async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "effect-amqp-chaos-"))
    try {
      const { exitCode, output, report } = await chaos(folder)
      assert.strictEqual(exitCode, 0, output)
      assert.deepStrictEqual(report.violations, [])
      assert.isAbove(report.recoveries.count, 0)
      assert.include(output, "No violations.")
    } finally {
      fs.rmSync(folder, { recursive: true })
    }
  })

  it("exits with 1 when the client makes a mistake, which its report names", async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "effect-amqp-chaos-"))
    // Within the repository, so that the copy finds the packages that it imports.
    const copy = path.join(root, ".build/planted/chaos")
    try {
      const planted = breaks.find(({ name }) => name === "a consumer ends with its session")
      if (planted === undefined) return assert.fail("there is no such break")
      plant(planted, copy)
      const { exitCode, output, report } = await chaos(folder, copy)
      assert.strictEqual(exitCode, 1, output)
      const found = report.violations.find(({ kind }) => kind === "a program ended")
      assert.match(
        found?.examples[0] ?? "",
        /^(?:serve|stream|make|layerServe|read|subscribe) chaos\..* with AmqpChannelError/
      )
      assert.include(output, "VIOLATION: a program ended")
      assert.include(output, "There were violations. Again: npm run chaos -- --minutes 0.05 --seed 1")
    } finally {
      fs.rmSync(folder, { recursive: true })
      fs.rmSync(copy, { recursive: true, force: true })
    }
  })
})
