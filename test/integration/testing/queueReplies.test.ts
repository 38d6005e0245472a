/** The replies to methods of queues and consumers. The embedded broker has to reply like RabbitMQ of the same version. */
import { TypedField } from "@effect-amqp/core/protocol/fieldTable"
import type { FieldTable, FieldValue } from "@effect-amqp/core/protocol/fieldTable"
import { assert, describe, it } from "@effect/vitest"
import { brokerUrl } from "../../support/brokerUnderTest.ts"
import {
  bindQueue,
  byOther,
  consume,
  declareExchange,
  declareQueue,
  deleteQueue,
  publish,
  purgeQueue,
  unbindQueue
} from "../../support/calls.ts"
import {
  accessRefused,
  expectReply,
  inequivalent,
  is310,
  isKnown,
  locked,
  notFound,
  notImplemented,
  ofType,
  preconditionFailed,
  queueDeclared,
  vhost,
  withArguments
} from "../../support/expectedReplies.ts"
import { RawConnection } from "../../support/rawConnection.ts"

describe.runIf(isKnown)("a queue", () => {
  const x = declareExchange("%x")
  const q = declareQueue("%q")
  const isThere = declareQueue("%q", { passive: true })

  it("can be declared repeatedly, and passively with any properties", async () => {
    await expectReply(queueDeclared, q, q)
    await expectReply(
      queueDeclared,
      q,
      declareQueue("%q", { passive: true, durable: true, arguments: { "x-expires": 0 } })
    )
    await expectReply(notFound("queue 'q'"), isThere)
    await expectReply(notFound("queue ''"), q, declareQueue("", { passive: true }))
    await expectReply("queue.declare-ok q 2 0", q, publish("", "%q"), publish("", "%q"), q)
  })

  it("cannot be declared with a reserved name, not even with one from the broker", async () => {
    await expectReply(accessRefused("queue name 'amq.q' contains reserved prefix 'amq.*'"), declareQueue("amq.%q"))
    const connection = await RawConnection.open(brokerUrl)
    const declared = await connection.call(declareQueue("", { exclusive: true }))
    const [, name = ""] = /^queue\.declare-ok (amq\.gen-\S+) 0 0$/.exec(declared) ?? []
    assert.strictEqual(
      await connection.call(declareQueue(name, { exclusive: true })),
      accessRefused(`queue name '${name}' contains reserved prefix 'amq.*'`)
    )
    assert.strictEqual(await connection.call(declareQueue(name, { passive: true })), `queue.declare-ok ${name} 0 0`)
    await connection.close()
  })

  it("can be server-named only if it is classic", async () => {
    for (const type of ["quorum", "stream"]) {
      const refused = preconditionFailed(`Cannot declare a server-named queue for type rabbit_${type}_queue`)
      await expectReply(refused, declareQueue("", { durable: true, arguments: { "x-queue-type": type } }))
      await expectReply(refused, declareQueue("\r\n", { arguments: { "x-queue-type": type } }))
    }
  })

  it("has line breaks removed from its name, but only in declare, delete, bind and unbind", async () => {
    await expectReply(queueDeclared, declareQueue("%q\r\n"), isThere)
    await expectReply(queueDeclared, q, declareQueue("%q\r\n", { passive: true }))
    await expectReply("queue.bind-ok", q, x, bindQueue("%x\n", "%q\r\n"))
    await expectReply("queue.unbind-ok", q, x, bindQueue("%x", "%q"), unbindQueue("%x\n", "%q\r\n"))
    await expectReply(notFound("queue 'q'"), q, deleteQueue("%q\n"), isThere)
    await expectReply(notFound("queue 'q\n'"), q, purgeQueue("%q\n"))
    await expectReply(notFound("queue 'q\n'"), q, consume("%q\n"))
  })

  it("is refused when it exists with different properties", async () => {
    const both = declareQueue("%q", { durable: true, autoDelete: true })
    await expectReply(inequivalent("durable", "queue 'q'", "'true'", "'false'"), q, both)
    await expectReply(
      inequivalent("auto_delete", "queue 'q'", "'true'", "'false'"),
      q,
      declareQueue("%q", { autoDelete: true, arguments: { "x-expires": 1 } })
    )
  })

  it("is refused when it exists with different arguments that its type knows", async () => {
    const differs = (argument: string, received: string, current: string, first: FieldTable, second: FieldTable) =>
      expectReply(
        inequivalent(argument, "queue 'q'", received, current),
        withArguments(first),
        withArguments(second)
      )
    const ttl = "x-message-ttl"
    const described = (value: string, type: string) => `the value '${value}' of type '${type}'`
    const added = (value: FieldValue, text: string, type: string) =>
      differs(ttl, described(text, type), "none", {}, { [ttl]: value })
    await added(1, "1", "byte")
    await added(1000, "1000", "short")
    await added(100_000, "100000", "signedint")
    await added(10_000_000_000, "10000000000", "long")
    await added(1.5, "1.5", "double")
    await added("1", "1", "longstr")
    await added(true, "true", "bool")
    await added(null, "undefined", "void")
    await added([1, "a"], `[{byte,1},{longstr,<<"a">>}]`, "array")
    await added({ a: 1, b: "x" }, `[{<<"a">>,byte,1},{<<"b">>,longstr,<<"x">>}]`, "table")
    await added(new Date(5000), "5", "timestamp")
    await added(TypedField.decimal(2, 5), "{2,5}", "decimal")
    await added(new TextEncoder().encode("é"), "é", "binary")
    await differs(ttl, "none", described("1", "byte"), { [ttl]: 1 }, {})
    await differs(ttl, "'2'", "'1'", { [ttl]: 1 }, { [ttl]: 2 })
    await differs(ttl, "'1'", "'1'", { [ttl]: 1 }, { [ttl]: "1" })
    await differs(ttl, "none", "'1'", { [ttl]: 1 }, { [ttl]: null })
    await differs("x-single-active-consumer", "'false'", "'true'", ...sides("x-single-active-consumer", true, false))
    await differs("x-dead-letter-exchange", "'b'", "'a'", ...sides("x-dead-letter-exchange", "a", "b"))
    await expectReply(queueDeclared, withArguments({ [ttl]: 1 }), withArguments({ [ttl]: TypedField.int64(1) }))
    await expectReply(queueDeclared, withArguments({ a: 1 }), withArguments({ a: 2 }))
    await expectReply(queueDeclared, withArguments({}), withArguments({ "x-delivery-limit": 3 }))
    await expectReply(queueDeclared, ofType("quorum"), ofType("quorum", { "x-max-priority": 3 }))
    // The text names the first difference, in an order that depends on the type.
    await differs(ttl, described("4", "byte"), "none", {}, { "x-max-length": 3, [ttl]: 4 })
    const quorum = { "x-queue-type": "quorum" }
    await differs("x-expires", described("9", "byte"), "none", quorum, { ...quorum, [ttl]: 4, "x-expires": 9 })
  })

  const sides = (name: string, first: FieldValue, second: FieldValue): [FieldTable, FieldTable] => [
    { [name]: first },
    { [name]: second }
  ]

  it("is refused when it exists with another type, where no type means classic", async () => {
    const type = "x-queue-type"
    const differs = (received: string, current: string, first: FieldTable, second: FieldTable) =>
      expectReply(inequivalent(type, "queue 'q'", received, current), withArguments(first), withArguments(second))
    await expectReply(queueDeclared, withArguments({}), ofType("classic"))
    await expectReply(queueDeclared, ofType("classic"), withArguments({}))
    // Since 4.0 a queue that is declared without a type is stored as classic.
    const described = (value: string) => is310 ? `the value '${value}' of type 'longstr'` : `'${value}'`
    const none = is310 ? "none" : "'classic'"
    await differs(described("quorum"), none, {}, { [type]: "quorum" })
    await differs(described("nonsense"), none, {}, { [type]: "nonsense" })
    await differs("'quorum'", "'classic'", { [type]: "classic" }, { [type]: "quorum" })
    await differs(none, described("quorum"), { [type]: "quorum" }, {})
  })

  it("is the same for any integer type of its arguments, and for an equal timestamp", async () => {
    const ttl = (value: FieldValue) => withArguments({ "x-message-ttl": value })
    const integers = [
      5,
      TypedField.int8(5),
      TypedField.uint8(5),
      TypedField.int16(5),
      TypedField.uint16(5),
      TypedField.int32(5),
      TypedField.uint32(5),
      TypedField.int64(5)
    ]
    for (const value of integers) await expectReply(queueDeclared, ttl(value), ttl(5), ttl(TypedField.timestamp(5)))
    const differs = (received: string, value: FieldValue) =>
      expectReply(inequivalent("x-message-ttl", "queue 'q'", received, "'5'"), ttl(5), ttl(value))
    await differs("'6'", 6)
    await differs("'5.5'", 5.5)
    await differs("'5'", "5")
    await differs("'true'", true)
    await differs("none", null)
    await differs("'[{byte,5}]'", [5])
    await differs(`'[{<<"a">>,byte,5}]'`, { a: 5 })
    await expectReply("connection: 541 INTERNAL_ERROR", ttl(5), ttl(TypedField.decimal(0, 5)))
  })

  it("that is exclusive is locked for other connections", async () => {
    const exclusive = declareQueue("%q", { exclusive: true })
    await expectReply(locked, exclusive, byOther(exclusive))
    await expectReply(locked, exclusive, byOther(isThere))
    await expectReply(locked, exclusive, byOther(deleteQueue("%q")))
    await expectReply(locked, exclusive, byOther(purgeQueue("%q")))
    await expectReply(locked, exclusive, byOther(consume("%q")))
    await expectReply(locked, exclusive, x, byOther(bindQueue("%x", "%q")))
    await expectReply(locked, exclusive, x, bindQueue("%x", "%q"), byOther(unbindQueue("%x", "%q")))
    // A call that would not change the queue is not refused with 405.
    await expectReply("queue.unbind-ok", exclusive, x, byOther(unbindQueue("%x", "%q")))
    await expectReply(notFound("exchange 'x'"), exclusive, byOther(bindQueue("%x", "%q")))
    await expectReply("routed", exclusive, byOther(publish("", "%q")))
  })

  it("can be declared again as exclusive only if it is exclusive", async () => {
    const exclusive = declareQueue("%q", { exclusive: true })
    await expectReply(locked, q, exclusive)
    await expectReply(locked, exclusive, q)
    await expectReply(queueDeclared, exclusive, declareQueue("%q", { exclusive: true, durable: true }))
  })

  it("can be deleted whether it exists or not, unless if-unused or if-empty prevents it", async () => {
    await expectReply("queue.delete-ok 0", deleteQueue("%q"))
    await expectReply("queue.delete-ok 1", q, publish("", "%q"), deleteQueue("%q"))
    await expectReply(
      preconditionFailed(`queue 'q' ${vhost} in use`),
      q,
      consume("%q"),
      deleteQueue("%q", { ifUnused: true, ifEmpty: true })
    )
    await expectReply(
      preconditionFailed(`queue 'q' ${vhost} not empty`),
      q,
      publish("", "%q"),
      deleteQueue("%q", { ifUnused: true, ifEmpty: true })
    )
    const stream = ofType("stream")
    await expectReply("queue.delete-ok 0", stream, deleteQueue("%q", { ifUnused: true, ifEmpty: true }))
    const unsupported = (flag: string) =>
      notImplemented(
        `cannot delete queue 'q' ${vhost}. queue.delete operations with ${flag} flag set are not supported by quorum queues`
      )
    await expectReply(unsupported("if-unused"), ofType("quorum"), deleteQueue("%q", { ifUnused: true, ifEmpty: true }))
    await expectReply(unsupported("if-empty"), ofType("quorum"), deleteQueue("%q", { ifEmpty: true }))
  })

  it("can be purged unless it is a stream", async () => {
    await expectReply("queue.purge-ok 2", q, publish("", "%q"), publish("", "%q"), purgeQueue("%q"))
    await expectReply("queue.purge-ok 0", ofType("quorum"), purgeQueue("%q"))
    await expectReply(
      notImplemented(`queue.purge not supported by stream queues queue 'q' ${vhost}`),
      ofType("stream"),
      purgeQueue("%q")
    )
    await expectReply(notFound("queue 'q'"), purgeQueue("%q"))
  })

  it("without a name is the last declared one", async () => {
    await expectReply("queue.purge-ok 1", q, publish("", "%q"), purgeQueue(""))
    await expectReply("404 NOT_FOUND - no previously declared queue", purgeQueue(""))
    await expectReply("404 NOT_FOUND - no previously declared queue", x, bindQueue("%x", ""))
    await expectReply("routed", q, x, bindQueue("%x", ""), publish("%x", "%q"))
  })

  it("can be bound to an existing exchange, and unbound from any", async () => {
    await expectReply(notFound("exchange 'x'"), bindQueue("%x", "%q"))
    await expectReply(notFound("exchange 'x'"), q, bindQueue("%x", "%q"))
    await expectReply(notFound("queue 'q'"), x, bindQueue("%x", "%q"))
    await expectReply("queue.unbind-ok", unbindQueue("%x", "%q", "k"))
    await expectReply("queue.unbind-ok", q, x, unbindQueue("%x", "%q", "k"))
  })

  it("has one binding per key and arguments", async () => {
    const bind = (table?: FieldTable) => bindQueue("%x", "%q", "k", table)
    const unbind = (table?: FieldTable) => unbindQueue("%x", "%q", "k", table)
    const unroutable = "basic.return"
    await expectReply(unroutable, q, x, bind(), bind(), unbind(), publish("%x", "k"))
    await expectReply("routed", q, x, bind({ a: 1 }), unbind(), publish("%x", "k"))
    await expectReply("routed", q, x, bind({ a: 1 }), bind(), unbind(), publish("%x", "k"))
    await expectReply(unroutable, q, x, bind({ a: 1, b: "2" }), unbind({ b: "2", a: 1 }), publish("%x", "k"))
    await expectReply(unroutable, q, x, bind(), deleteQueue("%q"), q, publish("%x", "k"))
  })

  it("that is a quorum queue or a stream must be durable, and neither exclusive nor auto-delete", async () => {
    for (const type of ["quorum", "stream"]) {
      const table = { "x-queue-type": type }
      const refused = (property: string) => preconditionFailed(`invalid property '${property}' for queue 'q' ${vhost}`)
      await expectReply(refused("non-durable"), declareQueue("%q", { arguments: table }))
      await expectReply(
        refused("exclusive-owner"),
        declareQueue("%q", { exclusive: true, durable: true, arguments: table })
      )
      await expectReply(
        refused("auto-delete"),
        declareQueue("%q", { exclusive: true, autoDelete: true, arguments: table })
      )
    }
  })
})

describe.runIf(isKnown)("a consumer", () => {
  const q = declareQueue("%q")
  const t = consume("%q")
  const replies = consume("amq.rabbitmq.reply-to", { consumerTag: "r" })
  const reused = "connection: 530 NOT_ALLOWED - attempt to reuse consumer tag 't'"

  it("with a tag in use is refused for that before anything else", async () => {
    await expectReply(reused, q, t, t)
    await expectReply(reused, q, t, consume("%none"))
    await expectReply(reused, q, t, consume("%q", { exclusive: true }))
    await expectReply(reused, q, t, consume("%q", { arguments: { "x-priority": "high" } }))
    await expectReply(reused, q, t, consume("amq.rabbitmq.reply-to"))
    await expectReply(reused, q, t, consume("amq.rabbitmq.reply-to", { noAck: false }))
    await expectReply(reused, q, t, byOther(declareQueue("%x", { exclusive: true })), consume("%x"))
  })

  it("without a queue name needs a declared queue before its tag is checked", async () => {
    await expectReply(reused, q, t, consume(""))
    await expectReply("404 NOT_FOUND - no previously declared queue", consume(""))
  })

  it("of direct replies can exist once per channel, and its tag can be reused", async () => {
    await expectReply("basic.consume-ok r", replies)
    await expectReply(preconditionFailed("reply consumer already set"), replies, replies)
    await expectReply(
      preconditionFailed("reply consumer cannot acknowledge"),
      replies,
      consume("amq.rabbitmq.reply-to", { noAck: false })
    )
    await expectReply("basic.consume-ok r", q, replies, consume("%q", { consumerTag: "r" }))
  })
})
