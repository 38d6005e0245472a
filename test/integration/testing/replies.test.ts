/**
 * What RabbitMQ answers to methods, to the letter. The embedded broker has to answer the same, whichever version it is.
 */
import { TypedField } from "@effect-amqp/core/protocol/fieldTable"
import type { FieldTable, FieldValue } from "@effect-amqp/core/protocol/fieldTable"
import { assert, describe, it } from "@effect/vitest"
import { afterAll } from "vitest"
import { brokerUrl } from "../../support/brokerUnderTest.ts"
import {
  bindExchange,
  bindQueue,
  byOther,
  consume,
  declareExchange,
  declareQueue,
  deleteExchange,
  deleteQueue,
  publish,
  purgeQueue,
  unbindExchange,
  unbindQueue
} from "../../support/calls.ts"
import type { Step } from "../../support/calls.ts"
import { Conversations, versionAt } from "../../support/conversation.ts"
import { RawConnection } from "../../support/rawConnection.ts"

const conversations = new Conversations(brokerUrl)

afterAll(() => conversations.close())

const { pathname, username } = new URL(brokerUrl)
const vhost = `in vhost '${decodeURIComponent(pathname.slice(1)) || "/"}'`

const accessRefused = (text: string) => `403 ACCESS_REFUSED - ${text}`
const notFound = (what: string) => `404 NOT_FOUND - no ${what} ${vhost}`
const preconditionFailed = (text: string) => `406 PRECONDITION_FAILED - ${text}`
const notImplemented = (text: string) => `connection: 540 NOT_IMPLEMENTED - ${text}`

const inequivalent = (argument: string, what: string, received: string, current: string) =>
  preconditionFailed(
    `inequivalent arg '${argument}' for ${what} ${vhost}: received ${received} but current is ${current}`
  )

const invalidArgument = (argument: string, problem: string) =>
  preconditionFailed(`invalid arg '${argument}' for queue 'q' ${vhost}${problem}`)

const onDefaultExchange = accessRefused("operation not permitted on the default exchange")

// Reply texts have 255 bytes at most, so this one ends where the name of the virtual host lets it.
const locked =
  /^405 RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '.*'\. It could be original/

const exchangeDeclared = "exchange.declare-ok"
const queueDeclared = "queue.declare-ok q 0 0"

/** Asserts what the last of some calls is answered by, when those before it are not refused. */
const isAnswered = async (expected: string | RegExp, ...steps: ReadonlyArray<Step>): Promise<void> => {
  const answers = [...await conversations.answers(...steps)]
  const answer = answers.pop() ?? ""
  assert.deepStrictEqual(answers.filter((answer) => !/^\S+-ok|^routed$/.test(answer)), [])
  const last = JSON.stringify(steps.at(-1), (_, value: unknown) => typeof value === "bigint" ? Number(value) : value)
  if (typeof expected === "string") assert.strictEqual(answer, expected, last)
  else assert.match(answer, expected, last)
}

/** A queue of this type. */
const ofType = (type: "classic" | "quorum" | "stream", table: FieldTable = {}): Step =>
  declareQueue("%q", { durable: true, arguments: { "x-queue-type": type, ...table } })

const withArguments = (table: FieldTable): Step => declareQueue("%q", { durable: true, arguments: table })

const version = await versionAt(brokerUrl)
const isKnown = version !== undefined
const is310 = version === "3.10"

describe.runIf(isKnown)("an exchange", () => {
  const x = declareExchange("%x")
  const y = declareExchange("%y")
  const headers = declareExchange("%x", { type: "headers" })
  const q = declareQueue("%q")
  const isThere = (exchange: string) => declareExchange(exchange, { passive: true })

  it("is declared once or more, and looked for without regard to its properties", async () => {
    await isAnswered(exchangeDeclared, x, x)
    await isAnswered(exchangeDeclared, declareExchange("%x", { arguments: { a: 1 } }), x)
    await isAnswered(exchangeDeclared, x, declareExchange("%x", { passive: true, type: "none", durable: true }))
    await isAnswered(notFound("exchange 'x'"), isThere("%x"))
    await isAnswered(notFound(`exchange 'x'"é<<'`), isThere(`%x'"é<<`))
  })

  it("is refused when it is there and is different", async () => {
    const differs = (argument: string, received: string, current: string, step: Step, first = x) =>
      isAnswered(inequivalent(argument, "exchange 'x'", received, current), first, step)
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
    await isAnswered(
      preconditionFailed(`invalid type 'byte' for arg '${argument}' in exchange 'x' ${vhost}`),
      alternate(1)
    )
  })

  it("has a type that the broker knows, or the channel is closed, in 3.10 the connection", async () => {
    const unknown = is310
      ? "connection: 503 COMMAND_INVALID - unknown exchange type 'nonsense'"
      : preconditionFailed("unknown exchange type 'nonsense'")
    await isAnswered(unknown, declareExchange("%x", { type: "nonsense" }))
    await isAnswered(unknown, declareExchange("", { type: "nonsense" }))
  })

  it("of the broker's own is there, and no other gets such a name", async () => {
    await isAnswered(exchangeDeclared, declareExchange("amq.direct", { durable: true }))
    await isAnswered(exchangeDeclared, declareExchange("amq.fanout", { durable: true, type: "fanout" }))
    await isAnswered(exchangeDeclared, declareExchange("amq.topic", { durable: true, type: "topic" }))
    await isAnswered(exchangeDeclared, declareExchange("amq.headers", { durable: true, type: "headers" }))
    await isAnswered(exchangeDeclared, declareExchange("amq.match", { durable: true, type: "headers" }))
    await isAnswered(
      exchangeDeclared,
      declareExchange("amq.rabbitmq.trace", { durable: true, type: "topic", internal: true })
    )
    await isAnswered(accessRefused("exchange name 'amq.x' contains reserved prefix 'amq.*'"), declareExchange("amq.%x"))
    await isAnswered(
      accessRefused(`deletion of system exchange 'amq.direct' ${vhost} not allowed`),
      deleteExchange("amq.direct")
    )
    await isAnswered(
      accessRefused(`deletion of system exchange 'amq.x' ${vhost} not allowed`),
      deleteExchange("amq.%x")
    )
  })

  it("that is the default one is not declared, deleted, bound or unbound", async () => {
    await isAnswered(onDefaultExchange, declareExchange(""))
    await isAnswered(onDefaultExchange, isThere(""))
    await isAnswered(onDefaultExchange, declareExchange("\r\n"))
    await isAnswered(onDefaultExchange, deleteExchange(""))
    await isAnswered(onDefaultExchange, bindExchange("", "%x"))
    await isAnswered(onDefaultExchange, bindExchange("%x", ""))
    await isAnswered(onDefaultExchange, unbindExchange("", "%x"))
    await isAnswered(onDefaultExchange, q, bindQueue("", "%q", "k"))
    await isAnswered(onDefaultExchange, q, unbindQueue("", "%q", "k"))
  })

  it("has a name without line ends, and is found by it only where something changes", async () => {
    await isAnswered(exchangeDeclared, declareExchange("%x\r\n"), isThere("%x"))
    await isAnswered(exchangeDeclared, x, isThere("%\rx\n"))
    await isAnswered("exchange.bind-ok", x, y, bindExchange("%x\n", "%y\r"))
    await isAnswered("exchange.unbind-ok", x, y, unbindExchange("%x\n", "%y\r"))
    await isAnswered(notFound("exchange 'x'"), x, deleteExchange("%x\n"), isThere("%x"))
    await isAnswered(notFound("exchange 'x\n'"), x, publish("%x\n", ""))
  })

  it("is deleted whether it is there or not, unless it is in use and must not be", async () => {
    await isAnswered("exchange.delete-ok", deleteExchange("%x"))
    await isAnswered("exchange.delete-ok", x, q, bindQueue("%x", "%q"), deleteExchange("%x"))
    await isAnswered(
      preconditionFailed(`exchange 'x' ${vhost} in use`),
      x,
      q,
      bindQueue("%x", "%q"),
      deleteExchange("%x", true)
    )
    await isAnswered("exchange.delete-ok", x, y, bindExchange("%x", "%y"), deleteExchange("%y", true))
  })

  it("is bound to others that are there, itself included, and unbound from whatever", async () => {
    await isAnswered("exchange.bind-ok", x, y, bindExchange("%x", "%y", "k", { a: 1 }))
    await isAnswered("exchange.bind-ok", x, bindExchange("%x", "%x"))
    await isAnswered("exchange.bind-ok", x, declareExchange("%y", { internal: true }), bindExchange("%x", "%y"))
    await isAnswered(notFound("exchange 'x'"), y, bindExchange("%x", "%y"))
    await isAnswered(notFound("exchange 'y'"), x, bindExchange("%x", "%y"))
    await isAnswered(notFound("exchange 'x'"), bindExchange("%x", "%y"))
    await isAnswered("exchange.unbind-ok", x, y, unbindExchange("%x", "%y", "k"))
    await isAnswered("exchange.unbind-ok", unbindExchange("%x", "%y", "k"))
  })

  it("that is auto-delete goes with its last binding, whichever way that goes", async () => {
    const a = declareExchange("%a", { autoDelete: true })
    const b = declareExchange("%b", { autoDelete: true })
    const bound = [a, y, bindExchange("%a", "%y", "1")]
    await isAnswered(notFound("exchange 'a'"), ...bound, unbindExchange("%a", "%y", "1"), isThere("%a"))
    await isAnswered(notFound("exchange 'a'"), ...bound, deleteExchange("%y"), isThere("%a"))
    await isAnswered(exchangeDeclared, ...bound, unbindExchange("%a", "%y", "2"), isThere("%a"))
    await isAnswered(
      exchangeDeclared,
      ...bound,
      bindExchange("%a", "%y", "2"),
      unbindExchange("%a", "%y", "2"),
      isThere("%a")
    )
    // It was never bound, or others were bound to it.
    await isAnswered(exchangeDeclared, a, y, unbindExchange("%a", "%y"), isThere("%a"))
    await isAnswered(exchangeDeclared, y, a, bindExchange("%y", "%a"), unbindExchange("%y", "%a"), isThere("%a"))
    await isAnswered(exchangeDeclared, y, a, bindExchange("%y", "%a"), deleteExchange("%y"), isThere("%a"))
    const chain = [a, b, q, bindExchange("%a", "%b"), bindQueue("%b", "%q"), deleteQueue("%q")]
    await isAnswered(notFound("exchange 'b'"), ...chain, isThere("%b"))
    await isAnswered(notFound("exchange 'a'"), ...chain, isThere("%a"))
    const circle = [a, b, bindExchange("%a", "%b"), bindExchange("%b", "%a"), unbindExchange("%a", "%b")]
    await isAnswered(notFound("exchange 'b'"), ...circle, isThere("%b"))
  })

  it("of headers has an x-match that the broker knows", async () => {
    const some = bindQueue("%x", "%q", "", { "x-match": "some" })
    const unknown = preconditionFailed(
      `Invalid x-match field value <<"some">>; expected all, any, all-with-x, or any-with-x`
    )
    await isAnswered(unknown, headers, q, some)
    await isAnswered(unknown, headers, y, bindExchange("%x", "%y", "", { "x-match": "some" }))
    await isAnswered("queue.bind-ok", x, q, some)
    await isAnswered(notFound("queue 'q'"), headers, some)
    for (
      const [value, text] of [[1, "byte (value 1)"], [true, "bool (value true)"], [
        null,
        "void (value undefined)"
      ]] as const
    ) {
      await isAnswered(
        preconditionFailed(`Invalid x-match field type ${text}; expected longstr`),
        headers,
        q,
        bindQueue("%x", "%q", "", { "x-match": value })
      )
    }
  })
})

describe.runIf(isKnown)("a queue", () => {
  const x = declareExchange("%x")
  const q = declareQueue("%q")
  const isThere = declareQueue("%q", { passive: true })

  it("is declared once or more, and looked for without regard to its properties", async () => {
    await isAnswered(queueDeclared, q, q)
    await isAnswered(
      queueDeclared,
      q,
      declareQueue("%q", { passive: true, durable: true, arguments: { "x-expires": 0 } })
    )
    await isAnswered(notFound("queue 'q'"), isThere)
    await isAnswered(notFound("queue ''"), q, declareQueue("", { passive: true }))
    await isAnswered("queue.declare-ok q 2 0", q, publish("", "%q"), publish("", "%q"), q)
  })

  it("has no name of the broker's own, also when it has it from the broker", async () => {
    await isAnswered(accessRefused("queue name 'amq.q' contains reserved prefix 'amq.*'"), declareQueue("amq.%q"))
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

  it("gets a name from the broker only if it is classic", async () => {
    for (const type of ["quorum", "stream"]) {
      const refused = preconditionFailed(`Cannot declare a server-named queue for type rabbit_${type}_queue`)
      await isAnswered(refused, declareQueue("", { durable: true, arguments: { "x-queue-type": type } }))
      await isAnswered(refused, declareQueue("\r\n", { arguments: { "x-queue-type": type } }))
    }
  })

  it("has a name without line ends, and is found by it only where something changes", async () => {
    await isAnswered(queueDeclared, declareQueue("%q\r\n"), isThere)
    await isAnswered(queueDeclared, q, declareQueue("%q\r\n", { passive: true }))
    await isAnswered("queue.bind-ok", q, x, bindQueue("%x\n", "%q\r\n"))
    await isAnswered("queue.unbind-ok", q, x, bindQueue("%x", "%q"), unbindQueue("%x\n", "%q\r\n"))
    await isAnswered(notFound("queue 'q'"), q, deleteQueue("%q\n"), isThere)
    await isAnswered(notFound("queue 'q\n'"), q, purgeQueue("%q\n"))
    await isAnswered(notFound("queue 'q\n'"), q, consume("%q\n"))
  })

  it("is refused when it is there and has other properties", async () => {
    const both = declareQueue("%q", { durable: true, autoDelete: true })
    await isAnswered(inequivalent("durable", "queue 'q'", "'true'", "'false'"), q, both)
    await isAnswered(
      inequivalent("auto_delete", "queue 'q'", "'true'", "'false'"),
      q,
      declareQueue("%q", { autoDelete: true, arguments: { "x-expires": 1 } })
    )
  })

  it("is refused when it is there and has other arguments that its type knows", async () => {
    const differs = (argument: string, received: string, current: string, first: FieldTable, second: FieldTable) =>
      isAnswered(
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
    await isAnswered(queueDeclared, withArguments({ [ttl]: 1 }), withArguments({ [ttl]: TypedField.int64(1) }))
    await isAnswered(queueDeclared, withArguments({ a: 1 }), withArguments({ a: 2 }))
    await isAnswered(queueDeclared, withArguments({}), withArguments({ "x-delivery-limit": 3 }))
    await isAnswered(queueDeclared, ofType("quorum"), ofType("quorum", { "x-max-priority": 3 }))
    // The first one is named, in an order that depends on the type.
    await differs(ttl, described("4", "byte"), "none", {}, { "x-max-length": 3, [ttl]: 4 })
    const quorum = { "x-queue-type": "quorum" }
    await differs("x-expires", described("9", "byte"), "none", quorum, { ...quorum, [ttl]: 4, "x-expires": 9 })
  })

  const sides = (name: string, first: FieldValue, second: FieldValue): [FieldTable, FieldTable] => [
    { [name]: first },
    { [name]: second }
  ]

  it("is refused when it is there and has another type, where none is classic", async () => {
    const type = "x-queue-type"
    const differs = (received: string, current: string, first: FieldTable, second: FieldTable) =>
      isAnswered(inequivalent(type, "queue 'q'", received, current), withArguments(first), withArguments(second))
    await isAnswered(queueDeclared, withArguments({}), ofType("classic"))
    await isAnswered(queueDeclared, ofType("classic"), withArguments({}))
    // Since 4.0 the type of a queue that is declared without one is noted.
    const described = (value: string) => is310 ? `the value '${value}' of type 'longstr'` : `'${value}'`
    const none = is310 ? "none" : "'classic'"
    await differs(described("quorum"), none, {}, { [type]: "quorum" })
    await differs(described("nonsense"), none, {}, { [type]: "nonsense" })
    await differs("'quorum'", "'classic'", { [type]: "classic" }, { [type]: "quorum" })
    await differs(none, described("quorum"), { [type]: "quorum" }, {})
  })

  it("is the same whatever integers its arguments are sent as, and with a time of that number", async () => {
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
    for (const value of integers) await isAnswered(queueDeclared, ttl(value), ttl(5), ttl(TypedField.timestamp(5)))
    const differs = (received: string, value: FieldValue) =>
      isAnswered(inequivalent("x-message-ttl", "queue 'q'", received, "'5'"), ttl(5), ttl(value))
    await differs("'6'", 6)
    await differs("'5.5'", 5.5)
    await differs("'5'", "5")
    await differs("'true'", true)
    await differs("none", null)
    await differs("'[{byte,5}]'", [5])
    await differs(`'[{<<"a">>,byte,5}]'`, { a: 5 })
    await isAnswered("connection: 541 INTERNAL_ERROR", ttl(5), ttl(TypedField.decimal(0, 5)))
  })

  it("that is exclusive is locked for other connections", async () => {
    const exclusive = declareQueue("%q", { exclusive: true })
    await isAnswered(locked, exclusive, byOther(exclusive))
    await isAnswered(locked, exclusive, byOther(isThere))
    await isAnswered(locked, exclusive, byOther(deleteQueue("%q")))
    await isAnswered(locked, exclusive, byOther(purgeQueue("%q")))
    await isAnswered(locked, exclusive, byOther(consume("%q")))
    await isAnswered(locked, exclusive, x, byOther(bindQueue("%x", "%q")))
    await isAnswered(locked, exclusive, x, bindQueue("%x", "%q"), byOther(unbindQueue("%x", "%q")))
    // Nobody is told that a queue is locked which he would not change.
    await isAnswered("queue.unbind-ok", exclusive, x, byOther(unbindQueue("%x", "%q")))
    await isAnswered(notFound("exchange 'x'"), exclusive, byOther(bindQueue("%x", "%q")))
    await isAnswered("routed", exclusive, byOther(publish("", "%q")))
  })

  it("that is exclusive is declared again as that, and no other one is", async () => {
    const exclusive = declareQueue("%q", { exclusive: true })
    await isAnswered(locked, q, exclusive)
    await isAnswered(locked, exclusive, q)
    await isAnswered(queueDeclared, exclusive, declareQueue("%q", { exclusive: true, durable: true }))
  })

  it("is deleted whether it is there or not, unless it is in use or has messages and must not", async () => {
    await isAnswered("queue.delete-ok 0", deleteQueue("%q"))
    await isAnswered("queue.delete-ok 1", q, publish("", "%q"), deleteQueue("%q"))
    await isAnswered(
      preconditionFailed(`queue 'q' ${vhost} in use`),
      q,
      consume("%q"),
      deleteQueue("%q", { ifUnused: true, ifEmpty: true })
    )
    await isAnswered(
      preconditionFailed(`queue 'q' ${vhost} not empty`),
      q,
      publish("", "%q"),
      deleteQueue("%q", { ifUnused: true, ifEmpty: true })
    )
    const stream = ofType("stream")
    await isAnswered("queue.delete-ok 0", stream, deleteQueue("%q", { ifUnused: true, ifEmpty: true }))
    const unsupported = (flag: string) =>
      notImplemented(
        `cannot delete queue 'q' ${vhost}. queue.delete operations with ${flag} flag set are not supported by quorum queues`
      )
    await isAnswered(unsupported("if-unused"), ofType("quorum"), deleteQueue("%q", { ifUnused: true, ifEmpty: true }))
    await isAnswered(unsupported("if-empty"), ofType("quorum"), deleteQueue("%q", { ifEmpty: true }))
  })

  it("is purged unless it is a stream", async () => {
    await isAnswered("queue.purge-ok 2", q, publish("", "%q"), publish("", "%q"), purgeQueue("%q"))
    await isAnswered("queue.purge-ok 0", ofType("quorum"), purgeQueue("%q"))
    await isAnswered(
      notImplemented(`queue.purge not supported by stream queues queue 'q' ${vhost}`),
      ofType("stream"),
      purgeQueue("%q")
    )
    await isAnswered(notFound("queue 'q'"), purgeQueue("%q"))
  })

  it("without a name is the one that was declared last", async () => {
    await isAnswered("queue.purge-ok 1", q, publish("", "%q"), purgeQueue(""))
    await isAnswered("404 NOT_FOUND - no previously declared queue", purgeQueue(""))
    await isAnswered("404 NOT_FOUND - no previously declared queue", x, bindQueue("%x", ""))
    await isAnswered("routed", q, x, bindQueue("%x", ""), publish("%x", "%q"))
  })

  it("is bound to an exchange that is there, and unbound from whatever", async () => {
    await isAnswered(notFound("exchange 'x'"), bindQueue("%x", "%q"))
    await isAnswered(notFound("exchange 'x'"), q, bindQueue("%x", "%q"))
    await isAnswered(notFound("queue 'q'"), x, bindQueue("%x", "%q"))
    await isAnswered("queue.unbind-ok", unbindQueue("%x", "%q", "k"))
    await isAnswered("queue.unbind-ok", q, x, unbindQueue("%x", "%q", "k"))
  })

  it("is bound by each key and each arguments once", async () => {
    const bind = (table?: FieldTable) => bindQueue("%x", "%q", "k", table)
    const unbind = (table?: FieldTable) => unbindQueue("%x", "%q", "k", table)
    const lost = "basic.return"
    await isAnswered(lost, q, x, bind(), bind(), unbind(), publish("%x", "k"))
    await isAnswered("routed", q, x, bind({ a: 1 }), unbind(), publish("%x", "k"))
    await isAnswered("routed", q, x, bind({ a: 1 }), bind(), unbind(), publish("%x", "k"))
    await isAnswered(lost, q, x, bind({ a: 1, b: "2" }), unbind({ b: "2", a: 1 }), publish("%x", "k"))
    await isAnswered(lost, q, x, bind(), deleteQueue("%q"), q, publish("%x", "k"))
  })

  it("that is a quorum queue or a stream is durable, shared and permanent", async () => {
    for (const type of ["quorum", "stream"]) {
      const table = { "x-queue-type": type }
      const refused = (property: string) => preconditionFailed(`invalid property '${property}' for queue 'q' ${vhost}`)
      await isAnswered(refused("non-durable"), declareQueue("%q", { arguments: table }))
      await isAnswered(
        refused("exclusive-owner"),
        declareQueue("%q", { exclusive: true, durable: true, arguments: table })
      )
      await isAnswered(
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

  it("with a tag that its channel uses is refused for that before anything else", async () => {
    await isAnswered(reused, q, t, t)
    await isAnswered(reused, q, t, consume("%none"))
    await isAnswered(reused, q, t, consume("%q", { exclusive: true }))
    await isAnswered(reused, q, t, consume("%q", { arguments: { "x-priority": "high" } }))
    await isAnswered(reused, q, t, consume("amq.rabbitmq.reply-to"))
    await isAnswered(reused, q, t, consume("amq.rabbitmq.reply-to", { noAck: false }))
    await isAnswered(reused, q, t, byOther(declareQueue("%x", { exclusive: true })), consume("%x"))
  })

  it("of the last queue needs one before its tag counts", async () => {
    await isAnswered(reused, q, t, consume(""))
    await isAnswered("404 NOT_FOUND - no previously declared queue", consume(""))
  })

  it("of replies is one for each channel, and its tag may be used again", async () => {
    await isAnswered("basic.consume-ok r", replies)
    await isAnswered(preconditionFailed("reply consumer already set"), replies, replies)
    await isAnswered(
      preconditionFailed("reply consumer cannot acknowledge"),
      replies,
      consume("amq.rabbitmq.reply-to", { noAck: false })
    )
    await isAnswered("basic.consume-ok r", q, replies, consume("%q", { consumerTag: "r" }))
  })
})

describe.runIf(isKnown)("an argument of a queue", () => {
  const accepted = (table: FieldTable) => isAnswered(queueDeclared, withArguments(table))
  const refused = (name: string, problem: string, table: FieldTable) =>
    isAnswered(invalidArgument(name, `: ${problem}`), withArguments(table))

  it.each(["x-message-ttl", "x-expires"])("is a time of at most ten years: %s", async (name) => {
    await accepted({ [name]: 1 })
    await accepted({ [name]: 315_360_000_000 })
    await refused(name, "{value_too_large,315360000001}", { [name]: 315_360_000_001 })
    await refused(name, "{value_negative,-1}", { [name]: -1 })
    await refused(name, `"expected integer, got double"`, { [name]: 1.5 })
    await refused(name, `"expected integer, got longstr"`, { [name]: "1" })
  })

  it("is a time that may be 0 for messages but not for the queue", async () => {
    await accepted({ "x-message-ttl": 0 })
    await refused("x-expires", "{value_zero,0}", { "x-expires": 0 })
  })

  it("is an integer from 0", async () => {
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

  it("is one of some texts", async () => {
    const unacceptable = "{unacceptable_type,byte}"
    await accepted({ "x-overflow": "reject-publish-dlx" })
    await refused("x-overflow", "invalid_overflow", { "x-overflow": "nonsense" })
    await refused("x-overflow", unacceptable, { "x-overflow": 1 })
    await accepted({ "x-queue-mode": "lazy" })
    // 4.3 knows no modes any more.
    if (version === "4.3") await accepted({ "x-queue-mode": "nonsense" })
    else {
      await refused("x-queue-mode", `"unsupported queue mode 'nonsense'"`, { "x-queue-mode": "nonsense" })
      await refused("x-queue-mode", unacceptable, { "x-queue-mode": 1 })
    }
    await refused("x-queue-type", `"unsupported queue type 'nonsense'"`, { "x-queue-type": "nonsense" })
    await refused("x-queue-type", unacceptable, { "x-queue-type": 1 })
  })

  it("is the node of a mirrored queue, over which 3.10 fails when it is none, and 4.3 always", async () => {
    const locator = "x-queue-master-locator"
    for (const value of ["client-local", "min-masters", "random", "bogus", "", 1, true, null, [1], { a: 1 }]) {
      const isKnown = typeof value === "string" && ["client-local", "min-masters", "random"].includes(value)
      if (version === "4.0" || (is310 && isKnown)) await accepted({ [locator]: value })
      else {
        await isAnswered(
          is310
            ? "connection: 541 INTERNAL_ERROR"
            : /^connection: 541 INTERNAL_ERROR - Feature `queue_master_locator` is deprecated\./,
          withArguments({ [locator]: value })
        )
      }
    }
  })

  it("is a boolean", async () => {
    await accepted({ "x-single-active-consumer": true })
    await refused("x-single-active-consumer", "{unacceptable_type,byte}", { "x-single-active-consumer": 1 })
  })

  it("names a dead-letter exchange, and a key only for one", async () => {
    const key = "x-dead-letter-routing-key"
    await accepted({ "x-dead-letter-exchange": "", [key]: "" })
    await refused(key, "routing_key_but_no_dlx_defined", { [key]: "k" })
    await refused(key, "{unacceptable_type,byte}", { "x-dead-letter-exchange": "", [key]: 1 })
    await isAnswered(
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
    await isAnswered(
      preconditionFailed("Exceeded max value for x-stream-max-segment-size-bytes"),
      withArguments({ ...type, "x-stream-max-segment-size-bytes": 3_000_000_001 })
    )
  })

  it("that only another type knows is refused, and an unknown one is not", async () => {
    const refusedFor = (type: string, name: string, table: FieldTable) =>
      isAnswered(
        invalidArgument(name, ` of queue type rabbit_${type}_queue`),
        withArguments({ "x-queue-type": type, ...table })
      )
    for (const name of ["x-delivery-limit", "x-max-age", "x-dead-letter-strategy"]) {
      await refusedFor("classic", name, { [name]: 1 })
    }
    // Since 4.0 a classic queue knows this one.
    if (is310) await refusedFor("classic", "x-queue-leader-locator", { "x-queue-leader-locator": "balanced" })
    else await accepted({ "x-queue-leader-locator": "balanced" })
    for (const name of ["x-max-priority", "x-queue-mode", "x-max-age"]) await refusedFor("quorum", name, { [name]: 1 })
    for (const name of ["x-message-ttl", "x-overflow", "x-expires"]) await refusedFor("stream", name, { [name]: 1 })
    await refusedFor("stream", "x-message-ttl", { "x-message-ttl": 1, "x-max-length": 1 })
    await refusedFor("stream", "x-max-length", { "x-max-length": 1, "x-message-ttl": 1 })
    await accepted({ "x-nonsense": 1 })
  })

  it("is checked in the broker's order, and not in that of the table", async () => {
    const ttl = "x-message-ttl"
    await refused(ttl, "{value_negative,-1}", { "x-max-length": -1, [ttl]: -1 })
    await refused(ttl, "{value_negative,-1}", { "x-delivery-limit": 1, [ttl]: -1 })
    await refused("x-queue-type", `"unsupported queue type 'nonsense'"`, { [ttl]: -1, "x-queue-type": "nonsense" })
    await isAnswered(
      invalidArgument("x-max-length", ": {value_negative,-1}"),
      declareQueue("%q", { arguments: { "x-queue-type": "quorum", "x-max-length": -1 } })
    )
  })
})

describe.runIf(isKnown)("a message", () => {
  const q = declareQueue("%q")

  it("is published to an exchange that is there and takes messages", async () => {
    await isAnswered(notFound("exchange 'x'"), publish("%x", ""))
    const refused = (exchange: string) => accessRefused(`cannot publish to internal exchange '${exchange}' ${vhost}`)
    await isAnswered(refused("x"), declareExchange("%x", { internal: true }), publish("%x", ""))
    await isAnswered(refused("amq.rabbitmq.trace"), publish("amq.rabbitmq.trace", ""))
  })

  it("has an expiration in digits, of at most ten years", async () => {
    const expires = (expiration: string) => publish("", "%q", { expiration })
    for (const valid of ["0", "+5", "4294967296", "315360000000"]) await isAnswered("routed", q, expires(valid))
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
      await isAnswered(preconditionFailed(`invalid expiration '${invalid}': ${problem}`), q, expires(invalid))
    }
  })

  it("has copies to a list of keys, of which what is no text counts for nothing", async () => {
    const copied = (headers: FieldTable) => publish("", "%none", { headers })
    for (const header of ["CC", "BCC"]) {
      await isAnswered("routed", q, copied({ [header]: ["%q", 1] }))
      await isAnswered("basic.return", q, copied({ [header]: [1] }))
      for (const [value, type] of [["%q", "longstr"], [1, "byte"], [null, "void"], [{ a: 1 }, "table"]] as const) {
        await isAnswered(
          preconditionFailed(`invalid message: {unacceptable_type_in_header,"${header}",${type}}`),
          copied({ [header]: value })
        )
      }
    }
    await isAnswered("basic.return", q, copied({ cc: ["%q"] }))
    const two = [q, publish("", "%q", { headers: { CC: ["%q"], BCC: ["%q"] } })]
    await isAnswered("queue.purge-ok 1", ...two, purgeQueue("%q"))
  })

  it("is checked in the broker's order", async () => {
    const headers = { CC: 1 }
    const refused = (text: string, properties: Parameters<typeof publish>[2]) =>
      isAnswered(preconditionFailed(text), publish("", "%q", properties))
    await refused("invalid expiration 'a': no_integer", { expiration: "a", headers })
    const user = `user_id property set to 'nobody' but authenticated user was '${
      decodeURIComponent(username) || "guest"
    }'`
    const badExpiration = "invalid expiration 'a': no_integer"
    await refused(is310 ? user : badExpiration, { userId: "nobody", expiration: "a" })
    const badCopies = `invalid message: {unacceptable_type_in_header,"CC",byte}`
    await refused(is310 ? user : badCopies, { userId: "nobody", headers })
    await refused(user, { userId: "nobody" })
    await refused("fast reply consumer does not exist", { userId: "nobody", replyTo: "amq.rabbitmq.reply-to" })
  })

  it("has a delivery mode that is known, up to 3.10", async () => {
    for (const deliveryMode of [1, 2]) await isAnswered("routed", q, publish("", "%q", { deliveryMode }))
    for (const deliveryMode of [0, 3, 7, 255]) {
      const refused = preconditionFailed(`invalid message: {delivery_mode_unknown,${deliveryMode}}`)
      await isAnswered(is310 ? refused : "routed", q, publish("", "%q", { deliveryMode }))
      await isAnswered(is310 ? refused : "basic.return", publish("", "%none", { deliveryMode }))
    }
    await isAnswered(
      preconditionFailed(`invalid message: {unacceptable_type_in_header,"CC",byte}`),
      publish("", "%q", { deliveryMode: 7, headers: { CC: 1 } })
    )
  })

  it("goes to the alternate exchange only when nothing else is bound", async () => {
    const alternate = (exchange: string, other: string) =>
      declareExchange(exchange, { arguments: { "alternate-exchange": other } })
    const z = declareExchange("%z", { type: "fanout", internal: true })
    const last = [q, z, bindQueue("%z", "%q")]
    await isAnswered("routed", ...last, alternate("%x", "%z"), publish("%x", "k"))
    await isAnswered("routed", ...last, alternate("%y", "%z"), alternate("%x", "%y"), publish("%x", "k"))
    const other = declareExchange("%y")
    const ignored = [...last, other, alternate("%x", "%z"), bindExchange("%x", "%y", "k")]
    await isAnswered("basic.return", ...ignored, publish("%x", "k"))
    await isAnswered("basic.return", alternate("%x", "%none"), publish("%x", "k"))
    await isAnswered("basic.return", alternate("%x", "%y"), alternate("%y", "%x"), publish("%x", "k"))
    await isAnswered("basic.return", alternate("%x", "%x"), publish("%x", "k"))
    // The default exchange is no alternate.
    await isAnswered("basic.return", q, alternate("%x", ""), publish("%x", "%q"))
  })

  it("comes to a queue once, whatever ways lead there, also in circles", async () => {
    const fanout = (exchange: string) => declareExchange(exchange, { type: "fanout" })
    const circle = [fanout("%x"), fanout("%y"), bindExchange("%x", "%y"), bindExchange("%y", "%x")]
    const bound = [q, ...circle, bindQueue("%x", "%q", "1"), bindQueue("%x", "%q", "2"), bindQueue("%y", "%q")]
    await isAnswered("queue.purge-ok 1", ...bound, publish("%x", ""), purgeQueue("%q"))
  })
})
