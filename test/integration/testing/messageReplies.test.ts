/** The replies to basic.publish. The embedded broker has to reply like RabbitMQ of the same version. */
import type { FieldTable } from "@effect-amqp/core/protocol/fieldTable"
import { describe, it } from "@effect/vitest"
import { bindExchange, bindQueue, declareExchange, declareQueue, publish, purgeQueue } from "../../support/calls.ts"
import {
  accessRefused,
  expectReply,
  is310,
  isKnown,
  notFound,
  preconditionFailed,
  user,
  vhost
} from "../../support/expectedReplies.ts"

describe.runIf(isKnown)("a message", () => {
  const q = declareQueue("%q")

  it("needs an exchange that exists and accepts messages", async () => {
    await expectReply(notFound("exchange 'x'"), publish("%x", ""))
    const refused = (exchange: string) => accessRefused(`cannot publish to internal exchange '${exchange}' ${vhost}`)
    await expectReply(refused("x"), declareExchange("%x", { internal: true }), publish("%x", ""))
    await expectReply(refused("amq.rabbitmq.trace"), publish("amq.rabbitmq.trace", ""))
  })

  it("needs an expiration in digits, of at most ten years", async () => {
    const expires = (expiration: string) => publish("", "%q", { expiration })
    for (const valid of ["0", "+5", "4294967296", "315360000000"]) await expectReply("routed", q, expires(valid))
    for (
      const [invalid, problem] of [
        ["", "no_integer"],
        ["a", "no_integer"],
        [" 5", "no_integer"],
        ["1 ", `{leftover_string," "}`],
        ["1.5", `{leftover_string,".5"}`],
        ["-1", "{value_negative,-1}"],
        ["315360000001", "{value_too_large,315360000001}"]
      ] as const
    ) {
      await expectReply(preconditionFailed(`invalid expiration '${invalid}': ${problem}`), q, expires(invalid))
    }
  })

  it("is copied to a list of keys, in which values that are not strings are ignored", async () => {
    const copied = (headers: FieldTable) => publish("", "%none", { headers })
    for (const header of ["CC", "BCC"]) {
      await expectReply("routed", q, copied({ [header]: ["%q", 1] }))
      await expectReply("basic.return", q, copied({ [header]: [1] }))
      for (const [value, type] of [["%q", "longstr"], [1, "byte"], [null, "void"], [{ a: 1 }, "table"]] as const) {
        await expectReply(
          preconditionFailed(`invalid message: {unacceptable_type_in_header,"${header}",${type}}`),
          copied({ [header]: value })
        )
      }
    }
    await expectReply("basic.return", q, copied({ cc: ["%q"] }))
    const two = [q, publish("", "%q", { headers: { CC: ["%q"], BCC: ["%q"] } })]
    await expectReply("queue.purge-ok 1", ...two, purgeQueue("%q"))
  })

  it("is checked in the broker's order", async () => {
    const headers = { CC: 1 }
    const refused = (text: string, properties: Parameters<typeof publish>[2]) =>
      expectReply(preconditionFailed(text), publish("", "%q", properties))
    await refused("invalid expiration 'a': no_integer", { expiration: "a", headers })
    const badUser = `user_id property set to 'nobody' but authenticated user was '${user}'`
    const badExpiration = "invalid expiration 'a': no_integer"
    await refused(is310 ? badUser : badExpiration, { userId: "nobody", expiration: "a" })
    const badCopies = `invalid message: {unacceptable_type_in_header,"CC",byte}`
    await refused(is310 ? badUser : badCopies, { userId: "nobody", headers })
    await refused(badUser, { userId: "nobody" })
    await refused("fast reply consumer does not exist", { userId: "nobody", replyTo: "amq.rabbitmq.reply-to" })
  })

  it("needs a known delivery mode, up to 3.10", async () => {
    for (const deliveryMode of [1, 2]) await expectReply("routed", q, publish("", "%q", { deliveryMode }))
    for (const deliveryMode of [0, 3, 7, 255]) {
      const refused = preconditionFailed(`invalid message: {delivery_mode_unknown,${deliveryMode}}`)
      await expectReply(is310 ? refused : "routed", q, publish("", "%q", { deliveryMode }))
      await expectReply(is310 ? refused : "basic.return", publish("", "%none", { deliveryMode }))
    }
    await expectReply(
      preconditionFailed(`invalid message: {unacceptable_type_in_header,"CC",byte}`),
      publish("", "%q", { deliveryMode: 7, headers: { CC: 1 } })
    )
  })

  it("goes to the alternate exchange only when no other binding matches", async () => {
    const alternate = (exchange: string, other: string) =>
      declareExchange(exchange, { arguments: { "alternate-exchange": other } })
    const z = declareExchange("%z", { type: "fanout", internal: true })
    const last = [q, z, bindQueue("%z", "%q")]
    await expectReply("routed", ...last, alternate("%x", "%z"), publish("%x", "k"))
    await expectReply("routed", ...last, alternate("%y", "%z"), alternate("%x", "%y"), publish("%x", "k"))
    const other = declareExchange("%y")
    const ignored = [...last, other, alternate("%x", "%z"), bindExchange("%x", "%y", "k")]
    await expectReply("basic.return", ...ignored, publish("%x", "k"))
    await expectReply("basic.return", alternate("%x", "%none"), publish("%x", "k"))
    await expectReply("basic.return", alternate("%x", "%y"), alternate("%y", "%x"), publish("%x", "k"))
    await expectReply("basic.return", alternate("%x", "%x"), publish("%x", "k"))
    // The default exchange cannot be an alternate.
    await expectReply("basic.return", q, alternate("%x", ""), publish("%x", "%q"))
  })

  it("arrives in a queue once, whatever paths lead there, also in a cycle", async () => {
    const fanout = (exchange: string) => declareExchange(exchange, { type: "fanout" })
    const circle = [fanout("%x"), fanout("%y"), bindExchange("%x", "%y"), bindExchange("%y", "%x")]
    const bound = [q, ...circle, bindQueue("%x", "%q", "1"), bindQueue("%x", "%q", "2"), bindQueue("%y", "%q")]
    await expectReply("queue.purge-ok 1", ...bound, publish("%x", ""), purgeQueue("%q"))
  })
})
