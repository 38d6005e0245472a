import { assert, describe, it } from "@effect/vitest"
import * as fs from "node:fs"
import { onRabbitMQ } from "../support/brokerUnderTest.ts"
import { canStartCluster, runningNodes, startCluster } from "../support/cluster.ts"
import { probe } from "../support/probe.ts"

const rejects = async (url: string): Promise<string> => {
  try {
    await probe(url, 500)
    return "accepts clients"
  } catch (error) {
    return String(error)
  }
}

describe.runIf(onRabbitMQ("The embedded broker has no cluster.") && canStartCluster())("a cluster of a test", () => {
  // Two nodes, because a third one only takes more time.
  it("goes on when a node is frozen, stopped or killed, and leaves no process behind", async () => {
    const { folder, nodes, stop, version } = await startCluster({ size: 2 })
    try {
      const [first, second] = nodes
      if (first === undefined || second === undefined) return assert.fail("no two nodes")
      assert.sameMembers([...await runningNodes(first)], [first.nodename, second.nodename])

      second.freeze()
      assert.include(await rejects(second.url), "within 500 ms")
      second.thaw()
      assert.strictEqual(await probe(second.url), version)

      await second.stop()
      assert.isFalse(second.isRunning())
      assert.include(await rejects(second.url), "ECONNREFUSED")
      assert.deepStrictEqual(await runningNodes(first), [first.nodename])

      await first.kill()
      // For a moment, the system still accepts connections for a process that is just ending, and resets them.
      assert.match(await rejects(first.url), /ECONNREFUSED|ECONNRESET/)
    } finally {
      await stop()
    }
    assert.isFalse(fs.existsSync(folder))
  }, 120_000)
})
