/** The replies to methods of exchanges. The embedded broker has to reply like RabbitMQ of the same version. */
import type { FieldValue } from "@effect-amqp/core/protocol/fieldTable"
import { describe, it } from "@effect/vitest"
import {
  bindExchange,
  bindQueue,
  declareExchange,
  declareQueue,
  deleteExchange,
  deleteQueue,
  publish,
  unbindExchange,
  unbindQueue
} from "../../support/calls.ts"
import type { Step } from "../../support/calls.ts"
import {
  accessRefused,
  exchangeDeclared,
  expectReply,
  inequivalent,
  is310,
  isKnown,
  notFound,
  onDefaultExchange,
  preconditionFailed,
  vhost
} from "../../support/expectedReplies.ts"

describe.runIf(isKnown)("an exchange", () => {
  const x = declareExchange("%x")
  const y = declareExchange("%y")
  const headers = declareExchange("%x", { type: "headers" })
  const q = declareQueue("%q")
  const isThere = (exchange: string) => declareExchange(exchange, { passive: true })

  it("can be declared repeatedly, and passively with any properties", async () => {
    await expectReply(exchangeDeclared, x, x)
    await expectReply(exchangeDeclared, declareExchange("%x", { arguments: { a: 1 } }), x)
    await expectReply(exchangeDeclared, x, declareExchange("%x", { passive: true, type: "none", durable: true }))
    await expectReply(notFound("exchange 'x'"), isThere("%x"))
    await expectReply(notFound(`exchange 'x'"é<<'`), isThere(`%x'"é<<`))
  })

  it("is refused when it exists with different properties", async () => {
    const differs = (argument: string, received: string, current: string, step: Step, first = x) =>
      expectReply(inequivalent(argument, "exchange 'x'", received, current), first, step)
    await differs("type", "'topic'", "'direct'", declareExchange("%x", { type: "topic", durable: true }))
    await differs("durable", "'true'", "'false'", declareExchange("%x", { durable: true, autoDelete: true }))
    await differs("auto_delete", "'true'", "'false'", declareExchange("%x", { autoDelete: true, internal: true }))
    await differs("internal", "'true'", "'false'", declareExchange("%x", { internal: true }))
    const alternate = (name: FieldValue) => declareExchange("%x", { arguments: { "alternate-exchange": name } })
    const argument = "alternate-exchange"
    await differs(argument, "the value 'a' of type 'longstr'", "none", alternate("a"))
    await differs(argument, "the value '1' of type 'byte'", "none", alternate(1))
    await differs(argument, "none", "the value 'a' of type 'longstr'", x, alternate("a"))
    await differs(argument, "'b'", "'a'", alternate("b"), alternate("a"))
    await expectReply(
      preconditionFailed(`invalid type 'byte' for arg '${argument}' in exchange 'x' ${vhost}`),
      alternate(1)
    )
  })

  it("of an unknown type closes the channel, or in 3.10 the connection", async () => {
    const unknown = is310
      ? "connection: 503 COMMAND_INVALID - unknown exchange type 'nonsense'"
      : preconditionFailed("unknown exchange type 'nonsense'")
    await expectReply(unknown, declareExchange("%x", { type: "nonsense" }))
    await expectReply(unknown, declareExchange("", { type: "nonsense" }))
  })

  it("that is predefined exists, and its name prefix is reserved", async () => {
    await expectReply(exchangeDeclared, declareExchange("amq.direct", { durable: true }))
    await expectReply(exchangeDeclared, declareExchange("amq.fanout", { durable: true, type: "fanout" }))
    await expectReply(exchangeDeclared, declareExchange("amq.topic", { durable: true, type: "topic" }))
    await expectReply(exchangeDeclared, declareExchange("amq.headers", { durable: true, type: "headers" }))
    await expectReply(exchangeDeclared, declareExchange("amq.match", { durable: true, type: "headers" }))
    await expectReply(
      exchangeDeclared,
      declareExchange("amq.rabbitmq.trace", { durable: true, type: "topic", internal: true })
    )
    await expectReply(
      accessRefused("exchange name 'amq.x' contains reserved prefix 'amq.*'"),
      declareExchange("amq.%x")
    )
    await expectReply(
      accessRefused(`deletion of system exchange 'amq.direct' ${vhost} not allowed`),
      deleteExchange("amq.direct")
    )
    await expectReply(
      accessRefused(`deletion of system exchange 'amq.x' ${vhost} not allowed`),
      deleteExchange("amq.%x")
    )
  })

  it("that is the default one cannot be declared, deleted, bound or unbound", async () => {
    await expectReply(onDefaultExchange, declareExchange(""))
    await expectReply(onDefaultExchange, isThere(""))
    await expectReply(onDefaultExchange, declareExchange("\r\n"))
    await expectReply(onDefaultExchange, deleteExchange(""))
    await expectReply(onDefaultExchange, bindExchange("", "%x"))
    await expectReply(onDefaultExchange, bindExchange("%x", ""))
    await expectReply(onDefaultExchange, unbindExchange("", "%x"))
    await expectReply(onDefaultExchange, q, bindQueue("", "%q", "k"))
    await expectReply(onDefaultExchange, q, unbindQueue("", "%q", "k"))
  })

  it("has line breaks removed from its name, but only in declare, delete, bind and unbind", async () => {
    await expectReply(exchangeDeclared, declareExchange("%x\r\n"), isThere("%x"))
    await expectReply(exchangeDeclared, x, isThere("%\rx\n"))
    await expectReply("exchange.bind-ok", x, y, bindExchange("%x\n", "%y\r"))
    await expectReply("exchange.unbind-ok", x, y, unbindExchange("%x\n", "%y\r"))
    await expectReply(notFound("exchange 'x'"), x, deleteExchange("%x\n"), isThere("%x"))
    await expectReply(notFound("exchange 'x\n'"), x, publish("%x\n", ""))
  })

  it("can be deleted whether it exists or not, but not in use with if-unused", async () => {
    await expectReply("exchange.delete-ok", deleteExchange("%x"))
    await expectReply("exchange.delete-ok", x, q, bindQueue("%x", "%q"), deleteExchange("%x"))
    await expectReply(
      preconditionFailed(`exchange 'x' ${vhost} in use`),
      x,
      q,
      bindQueue("%x", "%q"),
      deleteExchange("%x", true)
    )
    await expectReply("exchange.delete-ok", x, y, bindExchange("%x", "%y"), deleteExchange("%y", true))
  })

  it("can be bound to existing exchanges, itself included, and unbound from any", async () => {
    await expectReply("exchange.bind-ok", x, y, bindExchange("%x", "%y", "k", { a: 1 }))
    await expectReply("exchange.bind-ok", x, bindExchange("%x", "%x"))
    await expectReply("exchange.bind-ok", x, declareExchange("%y", { internal: true }), bindExchange("%x", "%y"))
    await expectReply(notFound("exchange 'x'"), y, bindExchange("%x", "%y"))
    await expectReply(notFound("exchange 'y'"), x, bindExchange("%x", "%y"))
    await expectReply(notFound("exchange 'x'"), bindExchange("%x", "%y"))
    await expectReply("exchange.unbind-ok", x, y, unbindExchange("%x", "%y", "k"))
    await expectReply("exchange.unbind-ok", unbindExchange("%x", "%y", "k"))
  })

  it("that is auto-delete is deleted with its last binding, however that is removed", async () => {
    const a = declareExchange("%a", { autoDelete: true })
    const b = declareExchange("%b", { autoDelete: true })
    const bound = [a, y, bindExchange("%a", "%y", "1")]
    await expectReply(notFound("exchange 'a'"), ...bound, unbindExchange("%a", "%y", "1"), isThere("%a"))
    await expectReply(notFound("exchange 'a'"), ...bound, deleteExchange("%y"), isThere("%a"))
    await expectReply(exchangeDeclared, ...bound, unbindExchange("%a", "%y", "2"), isThere("%a"))
    await expectReply(
      exchangeDeclared,
      ...bound,
      bindExchange("%a", "%y", "2"),
      unbindExchange("%a", "%y", "2"),
      isThere("%a")
    )
    // It was never the source of a binding.
    await expectReply(exchangeDeclared, a, y, unbindExchange("%a", "%y"), isThere("%a"))
    await expectReply(exchangeDeclared, y, a, bindExchange("%y", "%a"), unbindExchange("%y", "%a"), isThere("%a"))
    await expectReply(exchangeDeclared, y, a, bindExchange("%y", "%a"), deleteExchange("%y"), isThere("%a"))
    const chain = [a, b, q, bindExchange("%a", "%b"), bindQueue("%b", "%q"), deleteQueue("%q")]
    await expectReply(notFound("exchange 'b'"), ...chain, isThere("%b"))
    await expectReply(notFound("exchange 'a'"), ...chain, isThere("%a"))
    const circle = [a, b, bindExchange("%a", "%b"), bindExchange("%b", "%a"), unbindExchange("%a", "%b")]
    await expectReply(notFound("exchange 'b'"), ...circle, isThere("%b"))
  })

  it("of type headers accepts only known values of x-match", async () => {
    const some = bindQueue("%x", "%q", "", { "x-match": "some" })
    const unknown = preconditionFailed(
      `Invalid x-match field value <<"some">>; expected all, any, all-with-x, or any-with-x`
    )
    await expectReply(unknown, headers, q, some)
    await expectReply(unknown, headers, y, bindExchange("%x", "%y", "", { "x-match": "some" }))
    await expectReply("queue.bind-ok", x, q, some)
    await expectReply(notFound("queue 'q'"), headers, some)
    for (
      const [value, text] of [[1, "byte (value 1)"], [true, "bool (value true)"], [
        null,
        "void (value undefined)"
      ]] as const
    ) {
      await expectReply(
        preconditionFailed(`Invalid x-match field type ${text}; expected longstr`),
        headers,
        q,
        bindQueue("%x", "%q", "", { "x-match": value })
      )
    }
  })
})
