import { assert, describe, it } from "@effect/vitest"
import { Monitor } from "../../chaos/monitor.ts"

const setup = () => {
  let time = 0
  const monitor = new Monitor(() => time)
  const at = (newTime: number, connection: string, state: string) => {
    time = newTime
    monitor.changed(connection, state)
  }
  return { at, monitor }
}

describe("the monitor of a chaos run", () => {
  it("measures from the loss of a connection until it is open again", () => {
    const { at, monitor } = setup()
    at(0, "a", "Connecting")
    at(1, "a", "Open")
    at(5, "a", "Recovering")
    at(7, "a", "Recovering")
    at(9, "a", "Open")
    assert.deepStrictEqual(monitor.recoveries, [{ connection: "a", lostAt: 5, openAt: 9 }])
    assert.strictEqual(monitor.sessionOf("a"), 2)
  })

  it("counts a blocked connection as the same session, but not as one that works", () => {
    const { at, monitor } = setup()
    at(0, "a", "Open")
    at(1, "a", "Blocked")
    assert.deepStrictEqual(monitor.notOpen, ["a is Blocked"])
    at(2, "a", "Open")
    assert.deepStrictEqual(monitor.notOpen, [])
    assert.deepStrictEqual(monitor.recoveries, [])
    assert.strictEqual(monitor.sessionOf("a"), 1)
  })

  it("names the connections that are not open", () => {
    const { at, monitor } = setup()
    at(0, "a", "Open")
    at(0, "b", "Open")
    at(1, "b", "Closed")
    assert.deepStrictEqual(monitor.notOpen, ["b is Closed"])
  })

  it("names the workloads that have not succeeded with anything begun since a time", () => {
    const { monitor } = setup()
    for (const workload of ["late", "early", "idle"]) monitor.expect(workload)
    monitor.succeeded("late", 10)
    monitor.succeeded("early", 5)
    assert.deepStrictEqual(monitor.idleSince(5), ["early", "idle"])
    monitor.succeeded("late", 4)
    assert.deepStrictEqual(monitor.idleSince(9), ["early", "idle"])
  })

  it("names the operations that have not ended", () => {
    const { at, monitor } = setup()
    const ended = monitor.begin("publish 1")
    monitor.begin("publish 2")
    at(3, "a", "Open")
    ended()
    assert.deepStrictEqual(monitor.pending, ["publish 2, for 3 ms"])
  })
})
