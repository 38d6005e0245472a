// Other clients must receive the same from the embedded broker as from RabbitMQ.
import { assert, describe, it } from "@effect/vitest"
import * as amqplib from "amqplib"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { brokerUrl } from "../../support/brokerUnderTest.ts"
import { command } from "../../support/command.ts"
import { uniqueName } from "../../support/names.ts"

const wait = <A>(promise: () => PromiseLike<A>): Effect.Effect<A> => Effect.promise(promise)

const connected: Effect.Effect<amqplib.ChannelModel, never, Scope.Scope> = Effect.acquireRelease(
  wait(() => amqplib.connect(brokerUrl)),
  (connection) => wait(() => connection.close())
)

/** A queue that is deleted at the end of the scope. */
const queueOf = (connection: amqplib.ChannelModel, options?: amqplib.Options.AssertQueue) =>
  Effect.acquireRelease(
    wait(async () => {
      const channel = await connection.createChannel()
      const { queue } = await channel.assertQueue(uniqueName("amqplib"), options)
      return queue
    }),
    (queue) => wait(async () => void await (await connection.createChannel()).deleteQueue(queue))
  )

const texts = (messages: ReadonlyArray<amqplib.Message>): ReadonlyArray<string> =>
  messages.map(({ content }) => content.toString())

/** Consumes until `count` messages have arrived. */
const consume = (
  channel: amqplib.Channel,
  queue: string,
  count: number,
  options?: amqplib.Options.Consume
): Promise<ReadonlyArray<amqplib.ConsumeMessage>> =>
  new Promise((resolve, reject) => {
    const messages: Array<amqplib.ConsumeMessage> = []
    const receive = (message: amqplib.ConsumeMessage | null): void => {
      if (message !== null && messages.push(message) === count) resolve(messages)
    }
    channel.consume(queue, receive, options).then(undefined, reject)
  })

/** The error with which the broker closes the channel. */
const refusal = (use: (channel: amqplib.Channel) => unknown) =>
  Effect.scoped(Effect.flatMap(connected, (connection) =>
    wait(async () => {
      const channel = await connection.createChannel()
      const closed = once(channel, "error")
      Promise.resolve(use(channel)).catch(() => {})
      const [error]: ReadonlyArray<Error> = await closed
      return error.message
    })))

describe("amqplib", () => {
  it.live("publishes with confirms, consumes and acknowledges", () =>
    Effect.gen(function*() {
      const connection = yield* connected
      const queue = yield* queueOf(connection)
      yield* wait(async () => {
        const publisher = await connection.createConfirmChannel()
        const sent = Array.from({ length: 500 }, (_, index) => `message ${index}`)
        for (const text of sent) publisher.sendToQueue(queue, Buffer.from(text), { persistent: true })
        await publisher.waitForConfirms()
        const channel = await connection.createChannel()
        await channel.prefetch(50)
        const received: Array<string> = []
        await new Promise<void>((resolve) => {
          void channel.consume(queue, (message) => {
            if (message === null) return
            channel.ack(message)
            if (received.push(message.content.toString()) === sent.length) resolve()
          })
        })
        assert.deepStrictEqual(received, sent)
        await channel.close()
        const after = await connection.createChannel()
        assert.strictEqual((await after.checkQueue(queue)).messageCount, 0)
      })
    }).pipe(Effect.scoped))

  it.live("receives properties and headers unchanged, and bodies of several frames", () =>
    Effect.gen(function*() {
      const connection = yield* connected
      const queue = yield* queueOf(connection)
      yield* wait(async () => {
        const channel = await connection.createConfirmChannel()
        const body = Buffer.alloc(300_000, "abc")
        const properties = {
          contentType: "text/plain",
          contentEncoding: "utf-8",
          headers: {
            text: "t",
            count: 5,
            big: 2 ** 40,
            half: 0.5,
            yes: true,
            nothing: null,
            list: [1, "2"],
            table: { a: 1 }
          },
          priority: 0,
          correlationId: "c",
          replyTo: "r",
          messageId: "m",
          timestamp: 1_700_000_000,
          type: "t",
          appId: "a"
        }
        channel.sendToQueue(queue, body, properties)
        await channel.waitForConfirms()
        const [message] = await consume(channel, queue, 1, { noAck: true })
        assert.isTrue(message.content.equals(body))
        for (const [name, value] of Object.entries(properties)) {
          assert.deepStrictEqual(Reflect.get(message.properties, name), value, name)
        }
      })
    }).pipe(Effect.scoped))

  it.live("receives requeued messages again, in order, but not rejected ones", () =>
    Effect.gen(function*() {
      const connection = yield* connected
      const queue = yield* queueOf(connection)
      yield* wait(async () => {
        const channel = await connection.createConfirmChannel()
        for (const text of ["1", "2", "3"]) channel.sendToQueue(queue, Buffer.from(text))
        await channel.waitForConfirms()
        const consumer = await connection.createChannel()
        const first = await consume(consumer, queue, 3, { consumerTag: "first" })
        assert.deepStrictEqual(texts(first), ["1", "2", "3"])
        assert.isFalse(first.some(({ fields }) => fields.redelivered))
        await consumer.cancel("first")
        consumer.nack(first[2])
        consumer.reject(first[1], false)
        consumer.nack(first[0])
        const second = await consume(consumer, queue, 2)
        assert.deepStrictEqual(texts(second), ["1", "3"])
        assert.isTrue(second.every(({ fields }) => fields.redelivered))
        consumer.ack(second[1], true)
        await consumer.close()
        assert.strictEqual((await channel.checkQueue(queue)).messageCount, 0)
      })
    }).pipe(Effect.scoped))

  it.live("receives its own messages even with no-local, which RabbitMQ ignores", () =>
    Effect.gen(function*() {
      const connection = yield* connected
      const queue = yield* queueOf(connection)
      yield* wait(async () => {
        const channel = await connection.createChannel()
        const received = consume(channel, queue, 1, { noAck: true, noLocal: true })
        channel.sendToQueue(queue, Buffer.from("mine"))
        assert.deepStrictEqual(texts(await received), ["mine"])
      })
    }).pipe(Effect.scoped))

  it.live("receives the return of an unroutable mandatory message before its confirm", () =>
    Effect.gen(function*() {
      const connection = yield* connected
      yield* wait(async () => {
        const channel = await connection.createConfirmChannel()
        const events: Array<string> = []
        channel.on("return", ({ fields }: { fields: object }) => {
          events.push(`returned ${Reflect.get(fields, "replyCode")} ${Reflect.get(fields, "replyText")}`)
        })
        await new Promise<void>((resolve, reject) => {
          channel.publish("amq.direct", "nowhere", Buffer.from("x"), { mandatory: true }, (error) => {
            events.push("confirmed")
            if (error === null) resolve()
            else reject(error)
          })
        })
        assert.deepStrictEqual(events, ["returned 312 NO_ROUTE", "confirmed"])
      })
    }).pipe(Effect.scoped))

  it.live("sends requests and replies over direct reply-to", () =>
    Effect.gen(function*() {
      const connection = yield* connected
      const queue = yield* queueOf(connection, { autoDelete: true, durable: false })
      yield* wait(async () => {
        const server = await connection.createChannel()
        await server.consume(queue, (message) => {
          if (message === null) return
          const { correlationId, replyTo } = message.properties
          server.sendToQueue(replyTo, Buffer.from(`${message.content.toString()}!`), { correlationId })
          server.ack(message)
        })
        const client = await connection.createChannel()
        const reply = consume(client, "amq.rabbitmq.reply-to", 1, { noAck: true })
        client.sendToQueue(queue, Buffer.from("hello"), { correlationId: "1", replyTo: "amq.rabbitmq.reply-to" })
        const [{ content, properties }] = await reply
        assert.strictEqual(content.toString(), "hello!")
        assert.strictEqual(properties.correlationId, "1")
      })
    }).pipe(Effect.scoped))

  it.live("receives dead letters with their x-death", () =>
    Effect.gen(function*() {
      const connection = yield* connected
      const dead = yield* queueOf(connection)
      const queue = yield* queueOf(connection, { deadLetterExchange: "", deadLetterRoutingKey: dead, messageTtl: 20 })
      yield* wait(async () => {
        const channel = await connection.createChannel()
        channel.sendToQueue(queue, Buffer.from("x"), { expiration: "10000" })
        const [{ properties: { headers } }] = await consume(channel, dead, 1, { noAck: true })
        const [{ time, ...death }] = headers?.["x-death"] ?? []
        assert.strictEqual(time["!"], "timestamp")
        assert.deepStrictEqual(death, {
          count: 1,
          exchange: "",
          "original-expiration": "10000",
          queue,
          reason: "expired",
          "routing-keys": [queue]
        })
        assert.strictEqual(headers?.["x-first-death-reason"], "expired")
      })
    }).pipe(Effect.scoped))

  it.live("receives RabbitMQ's reply texts when something is refused", () =>
    Effect.gen(function*() {
      const name = uniqueName("amqplib")
      const refusals = yield* Effect.all([
        refusal((channel) => channel.checkQueue(name)),
        refusal((channel) => channel.publish(name, "", Buffer.from(""))),
        refusal((channel) => channel.assertQueue(`amq.${name}`)),
        refusal((channel) => channel.ack({ fields: { deliveryTag: 7 } } as amqplib.Message))
      ])
      const replyTexts = refusals.map((message) => /with message "(.*)"$/.exec(message)?.[1])
      assert.deepStrictEqual(replyTexts, [
        `NOT_FOUND - no queue '${name}' in vhost '/'`,
        `NOT_FOUND - no exchange '${name}' in vhost '/'`,
        `ACCESS_REFUSED - queue name 'amq.${name}' contains reserved prefix 'amq.*'`,
        "PRECONDITION_FAILED - unknown delivery tag 7"
      ])
    }))

  it.live("is refused with a wrong password or a missing virtual host", () =>
    Effect.gen(function*() {
      const refusedWith = (change: (url: URL) => void) =>
        wait(async () => {
          const url = new URL(brokerUrl)
          change(url)
          return amqplib.connect(url.href).then(() => "connected", (error: Error) => error.message)
        })
      assert.include(yield* refusedWith((url) => void (url.password = "guess")), "ACCESS_REFUSED - Login was refused")
      // amqplib reports only that the connection was closed.
      assert.include(yield* refusedWith((url) => void (url.pathname = "/nowhere")), "ConnectionClose")
    }))
})

/** A missing program fails its tests: skipping them would hide that other clients cannot use the broker. */
const missing = (program: string): string =>
  `There is no ${program}: install amqp-tools (Debian: apt install amqp-tools; macOS: brew install rabbitmq-c)`

const tool = (name: string, ...args: ReadonlyArray<string>) =>
  wait(() =>
    command(name, [`--url=${brokerUrl}`, ...args]).catch((error: Error) => {
      const isMissing = error.cause instanceof Error && Reflect.get(error.cause, "code") === "ENOENT"
      throw isMissing ? new Error(missing(name)) : error
    })
  )

describe("the programs of Debian's amqp-tools", () => {
  const declared = Effect.acquireRelease(
    Effect.map(tool("amqp-declare-queue", `--queue=${uniqueName("tools")}`), (output) => output.trim()),
    (queue) => tool("amqp-delete-queue", `--queue=${queue}`)
  )

  it.live("declare a queue, publish to it, get from it and delete it", () =>
    Effect.gen(function*() {
      const queue = yield* declared
      yield* tool("amqp-publish", `--routing-key=${queue}`, "--body=one", "--persistent", "--header=key: value")
      yield* tool("amqp-publish", `--routing-key=${queue}`, "--body=two")
      assert.strictEqual(yield* tool("amqp-get", `--queue=${queue}`), "one")
      assert.strictEqual((yield* tool("amqp-delete-queue", `--queue=${queue}`)).trim(), "1")
    }).pipe(Effect.scoped))

  it.live("consume, and pass each message to a program", () =>
    Effect.gen(function*() {
      const queue = yield* declared
      yield* wait(async () => {
        const publish = spawn("amqp-publish", [`--url=${brokerUrl}`, `--routing-key=${queue}`, "--line-buffered"])
        publish.stdin.end("1\n2\n3\n")
        await once(publish, "exit")
      })
      const output = yield* tool("amqp-consume", `--queue=${queue}`, "--count=3", "--prefetch-count=1", "cat")
      assert.strictEqual(output, "1\n2\n3\n")
    }).pipe(Effect.scoped))

  it.live("print RabbitMQ's reply texts when something is refused", () =>
    Effect.gen(function*() {
      const queue = uniqueName("tools")
      const refused = (url: string, name: string, ...args: ReadonlyArray<string>) =>
        wait(() => command(name, [`--url=${url}`, ...args]).then(() => "taken", (error: Error) => error.message))
      assert.include(
        yield* refused(brokerUrl, "amqp-get", `--queue=${queue}`),
        `server channel error 404, message: NOT_FOUND - no queue '${queue}' in vhost '/'`
      )
      assert.include(
        yield* refused(brokerUrl, "amqp-declare-queue", "--queue=amq.mine"),
        "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'"
      )
      const url = new URL(brokerUrl)
      url.password = "guess"
      assert.include(
        yield* refused(url.href, "amqp-get", `--queue=${queue}`),
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN"
      )
    }))
})
