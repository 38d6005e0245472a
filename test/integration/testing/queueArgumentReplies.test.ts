/** The replies to queue.declare with valid and invalid arguments. The embedded broker has to reply like RabbitMQ of the same version. */
import { TypedField } from "@effect-amqp/core/protocol/fieldTable"
import type { FieldTable, FieldValue } from "@effect-amqp/core/protocol/fieldTable"
import { describe, it } from "@effect/vitest"
import { declareQueue } from "../../support/calls.ts"
import {
  expectReply,
  invalidArgument,
  is310,
  isKnown,
  preconditionFailed,
  queueDeclared,
  version,
  vhost,
  withArguments
} from "../../support/expectedReplies.ts"

describe.runIf(isKnown)("an argument of a queue", () => {
  const accepted = (table: FieldTable) => expectReply(queueDeclared, withArguments(table))
  const refused = (name: string, problem: string, table: FieldTable) =>
    expectReply(invalidArgument(name, `: ${problem}`), withArguments(table))

  it.each(["x-message-ttl", "x-expires"])("can be a time of at most ten years: %s", async (name) => {
    await accepted({ [name]: 1 })
    await accepted({ [name]: 315_360_000_000 })
    await refused(name, "{value_too_large,315360000001}", { [name]: 315_360_000_001 })
    await refused(name, "{value_negative,-1}", { [name]: -1 })
    await refused(name, `"expected integer, got double"`, { [name]: 1.5 })
    await refused(name, `"expected integer, got longstr"`, { [name]: "1" })
  })

  it("can be a time of 0 for messages, but not for the queue", async () => {
    await accepted({ "x-message-ttl": 0 })
    await refused("x-expires", "{value_zero,0}", { "x-expires": 0 })
  })

  it("must be a non-negative integer", async () => {
    const got = (type: string) => `"expected integer, got ${type}"`
    for (const name of ["x-max-length", "x-max-length-bytes"]) {
      await accepted({ [name]: 0 })
      await accepted({ [name]: TypedField.int64(9_007_199_254_740_993n) })
      await refused(name, "{value_negative,-1}", { [name]: -1 })
    }
    for (
      const [value, type] of [
        ["a", "longstr"],
        [true, "bool"],
        [null, "void"],
        [1.5, "double"],
        [["a"], "array"],
        [{ a: 1 }, "table"],
        [new Date(0), "timestamp"],
        [new Uint8Array(1), "binary"],
        [TypedField.decimal(1, 1), "decimal"]
      ] as const
    ) await refused("x-max-length", got(type), { "x-max-length": value })
    await accepted({ "x-max-priority": 255 })
    await refused("x-max-priority", "{max_value_exceeded,256}", { "x-max-priority": 256 })
    await refused("x-max-priority", "{value_negative,-1}", { "x-max-priority": -1 })
    await accepted({ "x-queue-version": 2 })
    await refused("x-queue-version", `"unsupported queue version '3'"`, { "x-queue-version": 3 })
    await refused("x-queue-version", got("longstr"), { "x-queue-version": "2" })
  })

  it("must be one of the known strings", async () => {
    const unacceptable = "{unacceptable_type,byte}"
    await accepted({ "x-overflow": "reject-publish-dlx" })
    await refused("x-overflow", "invalid_overflow", { "x-overflow": "nonsense" })
    await refused("x-overflow", unacceptable, { "x-overflow": 1 })
    await accepted({ "x-queue-mode": "lazy" })
    // Since 4.3 queue modes are ignored.
    if (version === "4.3") await accepted({ "x-queue-mode": "nonsense" })
    else {
      await refused("x-queue-mode", `"unsupported queue mode 'nonsense'"`, { "x-queue-mode": "nonsense" })
      await refused("x-queue-mode", unacceptable, { "x-queue-mode": 1 })
    }
    await refused("x-queue-type", `"unsupported queue type 'nonsense'"`, { "x-queue-type": "nonsense" })
    await refused("x-queue-type", unacceptable, { "x-queue-type": 1 })
  })

  it("for the master locator causes an internal error in 3.10 if it is unknown, and in 4.3 always", async () => {
    const locator = "x-queue-master-locator"
    for (const value of ["client-local", "min-masters", "random", "bogus", "", 1, true, null, [1], { a: 1 }]) {
      const isKnown = typeof value === "string" && ["client-local", "min-masters", "random"].includes(value)
      if (version === "4.0" || (is310 && isKnown)) await accepted({ [locator]: value })
      else {
        await expectReply(
          is310
            ? "connection: 541 INTERNAL_ERROR"
            : /^connection: 541 INTERNAL_ERROR - Feature `queue_master_locator` is deprecated\./,
          withArguments({ [locator]: value })
        )
      }
    }
  })

  it("must be a boolean", async () => {
    await accepted({ "x-single-active-consumer": true })
    await refused("x-single-active-consumer", "{unacceptable_type,byte}", { "x-single-active-consumer": 1 })
  })

  it("for the dead-letter routing key needs one for the dead-letter exchange", async () => {
    const key = "x-dead-letter-routing-key"
    await accepted({ "x-dead-letter-exchange": "", [key]: "" })
    await refused(key, "routing_key_but_no_dlx_defined", { [key]: "k" })
    await refused(key, "{unacceptable_type,byte}", { "x-dead-letter-exchange": "", [key]: 1 })
    await expectReply(
      preconditionFailed(`invalid type 'byte' for arg 'x-dead-letter-exchange' in queue 'q' ${vhost}`),
      withArguments({ "x-dead-letter-exchange": 1 })
    )
  })

  it("of a quorum queue is checked in the same way", async () => {
    const type = { "x-queue-type": "quorum" }
    await accepted({
      ...type,
      "x-delivery-limit": -1,
      "x-overflow": "reject-publish",
      "x-queue-leader-locator": "balanced"
    })
    const wrong = (name: string, value: FieldValue, problem: string) =>
      refused(name, problem, { ...type, [name]: value })
    await wrong("x-dead-letter-strategy", "nonsense", "invalid_dlx_strategy")
    await wrong("x-dead-letter-strategy", 1, "{unacceptable_type,byte}")
    await wrong("x-quorum-initial-group-size", 0, "{value_zero,0}")
    await wrong("x-max-in-memory-length", -1, "{value_negative,-1}")
    await wrong("x-max-in-memory-bytes", "a", `"expected integer, got longstr"`)
    await wrong("x-queue-leader-locator", "nonsense", "invalid_queue_locator_arg")
  })

  it("of a stream is checked in the same way", async () => {
    const type = { "x-queue-type": "stream" }
    await accepted({ ...type, "x-max-age": "1D", "x-max-length-bytes": 1, "x-queue-leader-locator": "least-leaders" })
    const wrong = (name: string, value: FieldValue, problem: string) =>
      refused(name, problem, { ...type, [name]: value })
    await wrong("x-max-age", "0D", "invalid_max_age")
    await wrong("x-max-age", "1DD", "invalid_max_age")
    await wrong("x-max-age", 1, "{unacceptable_type,byte}")
    await wrong("x-initial-cluster-size", 0, "{value_zero,0}")
    await wrong("x-stream-max-segment-size-bytes", -1, "{value_negative,-1}")
    await expectReply(
      preconditionFailed("Exceeded max value for x-stream-max-segment-size-bytes"),
      withArguments({ ...type, "x-stream-max-segment-size-bytes": 3_000_000_001 })
    )
  })

  it("that only another queue type knows is refused, and an unknown one is not", async () => {
    const refusedFor = (type: string, name: string, table: FieldTable) =>
      expectReply(
        invalidArgument(name, ` of queue type rabbit_${type}_queue`),
        withArguments({ "x-queue-type": type, ...table })
      )
    for (const name of ["x-delivery-limit", "x-max-age", "x-dead-letter-strategy"]) {
      await refusedFor("classic", name, { [name]: 1 })
    }
    // Since 4.0 a classic queue knows this argument.
    if (is310) await refusedFor("classic", "x-queue-leader-locator", { "x-queue-leader-locator": "balanced" })
    else await accepted({ "x-queue-leader-locator": "balanced" })
    for (const name of ["x-max-priority", "x-queue-mode", "x-max-age"]) await refusedFor("quorum", name, { [name]: 1 })
    for (const name of ["x-message-ttl", "x-overflow", "x-expires"]) await refusedFor("stream", name, { [name]: 1 })
    await refusedFor("stream", "x-message-ttl", { "x-message-ttl": 1, "x-max-length": 1 })
    await refusedFor("stream", "x-max-length", { "x-max-length": 1, "x-message-ttl": 1 })
    await accepted({ "x-nonsense": 1 })
  })

  it("is checked in the broker's order, not in the order of the table", async () => {
    const ttl = "x-message-ttl"
    await refused(ttl, "{value_negative,-1}", { "x-max-length": -1, [ttl]: -1 })
    await refused(ttl, "{value_negative,-1}", { "x-delivery-limit": 1, [ttl]: -1 })
    await refused("x-queue-type", `"unsupported queue type 'nonsense'"`, { [ttl]: -1, "x-queue-type": "nonsense" })
    await expectReply(
      invalidArgument("x-max-length", ": {value_negative,-1}"),
      declareQueue("%q", { arguments: { "x-queue-type": "quorum", "x-max-length": -1 } })
    )
  })
})
