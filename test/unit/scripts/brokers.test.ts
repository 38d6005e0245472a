import { assert, describe, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { startInDocker } from "../../../scripts/brokers/docker.ts"
import { environmentFor, exportsFor, writeProgram } from "../../../scripts/brokers/running.ts"
import type { RunningBrokers } from "../../../scripts/brokers/running.ts"
import { isOf } from "../../../scripts/brokers/versions.ts"
import { startEmbeddedBroker } from "../../support/embeddedBroker.ts"
import { start } from "../../support/process.ts"

const running: RunningBrokers = {
  version: "4.0.5",
  urls: ["amqp://guest:it's@127.0.0.1:20001", "amqp://127.0.0.1:20002"],
  nodename: "one@localhost",
  searchPath: ["/tmp/a folder", "/tmp/$HOME"],
  isRunning: () => Promise.resolve(true),
  stop: () => Promise.resolve()
}

describe("npm run brokers", () => {
  it("prints what a shell has to evaluate, the same as a command gets", () => {
    const print = "printf '%s\\n' \"$AMQP_URL\" \"$AMQP_URLS\" \"$RABBITMQ_NODENAME\" \"$PATH\""
    const output = execFileSync("/bin/sh", ["-c", `${exportsFor(running)}\n${print}`], { encoding: "utf8" })
    const { AMQP_URL, AMQP_URLS, PATH, RABBITMQ_NODENAME } = environmentFor(running)
    assert.deepStrictEqual(output.trimEnd().split("\n"), [AMQP_URL, AMQP_URLS, RABBITMQ_NODENAME, PATH])
    assert.strictEqual(AMQP_URL, "amqp://guest:it's@127.0.0.1:20001")
    assert.isTrue(PATH?.startsWith("/tmp/a folder:/tmp/$HOME:"))
  })

  it("knows of which version a full version is", () => {
    assert.deepStrictEqual(["4.0", "4.0.5", "4.01", "4.3.6"].map((full) => isOf("4.0", full)), [
      true,
      true,
      false,
      false
    ])
  })

  it.concurrent.each([
    [["4.1"], /Expected: "3\.10" \| "4\.0" \| "4\.3"/],
    [["4.0", "--nodes", "0"], /Expected an integer from 1 to 7/]
  ])("refuses the arguments %j", async (args, problem) => {
    const { exitCode, stderr } = await start(["scripts/brokers.ts", ...args]).ended
    assert.strictEqual(exitCode, 1)
    assert.match(stderr, problem)
  })

  it("runs the official image in Docker, on a loopback port, and removes the container", async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "effect-amqp-fake-docker-"))
    const searchPath = process.env["PATH"]
    // Stands for the broker in the container; the program only records how it is called.
    const broker = await startEmbeddedBroker({ version: "4.0" })
    try {
      writeProgram(folder, "docker", `echo "$@" >> '${folder}/calls'; [ "$1" != inspect ] || echo true`)
      process.env["PATH"] = `${folder}${path.delimiter}${searchPath}`
      const port = Number(new URL(broker.url).port)
      const container = await startInDocker("4.0", { port, log: () => {} })
      assert.deepStrictEqual([container.version, container.urls], ["4.0.0", [broker.url]])
      assert.isTrue(await container.isRunning())
      const [programs = ""] = container.searchPath
      execFileSync(path.join(programs, "rabbitmqctl"), ["status"])
      await container.stop()
      assert.isFalse(fs.existsSync(programs))
      const name = `effect-amqp-4.0-${process.pid}`
      assert.deepStrictEqual(fs.readFileSync(path.join(folder, "calls"), "utf8").trimEnd().split("\n"), [
        "image inspect rabbitmq:4.0",
        `run --detach --name ${name} --hostname localhost --publish 127.0.0.1:${port}:${port} ` +
        `--env RABBITMQ_NODE_PORT=${port} rabbitmq:4.0`,
        `inspect --format {{.State.Running}} ${name}`,
        `exec ${name} rabbitmqctl status`,
        `stop ${name}`,
        `rm --force ${name}`
      ])
    } finally {
      process.env["PATH"] = searchPath
      await broker.stop()
      fs.rmSync(folder, { recursive: true })
    }
  })
})
