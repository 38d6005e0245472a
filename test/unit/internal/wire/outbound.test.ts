import { Counts } from "@effect-amqp/core/internal/telemetry/counters"
import { Outbound } from "@effect-amqp/core/internal/wire/outbound"
import { assert, describe, it } from "@effect/vitest"
import { outboundHost } from "../../../support/outboundHost.ts"

/** An outbound buffer with a socket that accepts everything at once, unless `isFilling`. */
const opened = () => {
  const turns: Array<() => void> = []
  const failures: Array<unknown> = []
  const written: Array<Uint8Array> = []
  const state = { isFilling: false, isFull: false }
  const outbound = new Outbound(new Counts(), {
    ...outboundHost,
    inNextTurn: (step) => void turns.push(step),
    failed: (error) => void failures.push(error)
  })
  outbound.start({
    start: () => {},
    pause: () => {},
    resume: () => {},
    write: (chunks) => {
      assert.isFalse(state.isFull, "nothing is written before there is room")
      written.push(...chunks)
      state.isFull = state.isFilling
      return !state.isFull
    }
  })
  return { outbound, turns, failures, state, written, bytes: () => Buffer.concat(written) }
}

const large = new Uint8Array(1024 * 1024)

const closeOk = Buffer.from([1, 0, 0, 0, 0, 0, 4, 0, 10, 0, 51, 206])

describe("the outbound buffer", () => {
  it("writes the last method at once, even between two writes of a large body", () => {
    const { bytes, outbound, turns } = opened()
    outbound.commitBody(outbound.writer, 1, large)
    outbound.wake()
    assert.lengthOf(turns, 1)
    const before = bytes().length
    outbound.writeLast({ _tag: "connection.close-ok" })
    assert.deepStrictEqual(bytes().subarray(before), closeOk)
    for (const step of turns.splice(0)) step()
    assert.lengthOf(bytes(), before + closeOk.length)
  })

  it("does not write the last method while the socket is full", () => {
    const { bytes, outbound, state, turns } = opened()
    outbound.commitBody(outbound.writer, 1, large)
    outbound.wake()
    state.isFilling = true
    for (const step of turns.splice(0)) step()
    assert.isTrue(state.isFull)
    const before = bytes().length
    outbound.writeLast({ _tag: "connection.close-ok" })
    assert.lengthOf(bytes(), before)
    state.isFull = false
    state.isFilling = false
    outbound.drained()
    assert.deepStrictEqual(bytes().subarray(before), closeOk)
  })

  it("fails its session if a listener throws when there is room again", () => {
    const { failures, outbound } = opened()
    outbound.onceRoom(1, () => {
      throw new Error("a listener")
    })
    outbound.drained()
    assert.deepStrictEqual(failures.map(String), ["Error: a listener"])
  })
})
