/**
 * How queues requeue, dead-letter and count messages: the same amqplib scripts on RabbitMQ and on the embedded broker of the same
 * version, and what amqplib receives is compared.
 */
import { assert, describe, it } from "@effect/vitest"
import type * as amqplib from "amqplib"
import { defined, runScript, sleep } from "../../support/amqplibScript.ts"
import type { Script } from "../../support/amqplibScript.ts"
import { brokerUrl, onRabbitMQ } from "../../support/brokerUnderTest.ts"
import { versionAt } from "../../support/conversation.ts"
import { startEmbeddedBroker } from "../../support/embeddedBroker.ts"

type Scripts = Readonly<Record<string, (script: Script) => Promise<void>>>

const types = ["classic", "quorum"] as const

const numbers = ["0", "1", "2", "3", "4", "5", "6"]

/** Waits for the next message. */
const fetched = async (channel: amqplib.Channel, queue: string): Promise<amqplib.GetMessage> => {
  for (let tries = 0; tries < 500; tries++) {
    const message = await channel.get(queue)
    if (message !== false) return message
    await sleep(10)
  }
  throw new Error(`nothing came to ${queue}`)
}

const writeMessage = (script: Script, what: string, { content, fields, properties }: amqplib.GetMessage): void =>
  script.write(what, content.toString(), fields, defined(properties))

// -----------------------------------------------------------------------------
// requeued messages
// -----------------------------------------------------------------------------

const requeues: Readonly<
  Record<string, (channel: amqplib.Channel, got: ReadonlyArray<amqplib.Message>, tag: string) => unknown>
> = {
  "by basic.nack, one by one": (channel, got) => [2, 0, 3].forEach((index) => channel.nack(got[index])),
  "by basic.reject, one by one": (channel, got) => [2, 0, 3].forEach((index) => channel.reject(got[index])),
  "by one basic.nack with multiple": (channel, got) => channel.nack(got[2], true),
  "by basic.recover": (channel) => channel.recover(),
  "by closing its channel": (channel) => channel.close(),
  "by cancelling its consumer and closing its channel": async (channel, _, tag) => {
    await channel.cancel(tag)
    await channel.close()
  }
}

const requeueTo = (table: Record<string, unknown>, requeue: typeof requeues[string]) => async (script: Script) => {
  const channel = await script.channel()
  const queue = await script.queue(channel, "q", table)
  await script.publish(channel, queue, numbers)
  const other = await script.channel()
  await other.prefetch(5)
  const got: Array<amqplib.ConsumeMessage> = []
  const tag = await script.consume(other, queue, (message) => got.push(message))
  await script.lineCount(5)
  await requeue(other, got, tag)
  await script.rest()
  await other.close().catch(() => {})
  await script.rest()
  await script.drain(channel, queue)
}

const limits = {
  "": {},
  " with a limit of 10": { "x-delivery-limit": 10 },
  " with a limit of -1": { "x-delivery-limit": -1 }
}

const requeueing: Scripts = Object.fromEntries(
  Object.entries(requeues).flatMap(([way, requeue]) => [
    [`a message requeued to a classic queue ${way}`, requeueTo({}, requeue)] as const,
    ...Object.entries(limits).map(([limit, table]) =>
      [
        `a message requeued to a quorum queue${limit} ${way}`,
        requeueTo({ "x-queue-type": "quorum", ...table }, requeue)
      ] as const
    )
  ])
)

/** The messages of a lost connection come to the next single active consumer before all others. */
const consumerLost = (type: string) => async (script: Script) => {
  const channel = await script.channel()
  const queue = await script.queue(channel, "q", { "x-queue-type": type, "x-single-active-consumer": true })
  await script.publish(channel, queue, numbers)
  const connection = await script.connect()
  const first = await script.channel(connection)
  await first.prefetch(3)
  await script.consume(first, queue, undefined, {}, "first")
  await script.lineCount(3)
  const second = await script.channel()
  await second.prefetch(2)
  await script.consume(second, queue, (message) => second.ack(message), {}, "second")
  await connection.close()
  await script.lineCount(10)
}

// -----------------------------------------------------------------------------
// dead letters
// -----------------------------------------------------------------------------

type Settle = (channel: amqplib.Channel, message: amqplib.GetMessage) => void

const rejections: Readonly<Record<string, ReadonlyArray<Settle>>> = {
  "basic.nack": [(channel, message) => channel.nack(message, false, false)],
  "basic.reject": [(channel, message) => channel.reject(message, false)],
  "basic.nack, after a requeue by basic.nack": [
    (channel, message) => channel.nack(message),
    (channel, message) => channel.nack(message, false, false)
  ],
  "basic.nack, after a requeue by basic.reject": [
    (channel, message) => channel.reject(message),
    (channel, message) => channel.nack(message, false, false)
  ],
  "basic.reject, after a requeue by both": [
    (channel, message) => channel.reject(message),
    (channel, message) => channel.nack(message),
    (channel, message) => channel.reject(message, false)
  ]
}

const deadLettering: Scripts = Object.fromEntries(
  types.flatMap((from) =>
    types.map((to) => [`a dead letter of a ${from} queue in a ${to} queue`, async (script: Script) => {
      const channel = await script.channel()
      const dead = await script.queue(channel, "dead", { "x-queue-type": to })
      const queue = await script.queue(channel, "q", {
        "x-queue-type": from,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead
      })
      const takeTwice = async (why: string) => {
        writeMessage(script, why, await fetched(channel, dead))
        channel.nackAll()
        const again = await fetched(channel, dead)
        writeMessage(script, `${why}, again`, again)
        channel.ack(again)
      }
      for (const [why, settlements] of Object.entries(rejections)) {
        await script.publish(channel, queue, ["x"])
        for (const settle of settlements) settle(channel, await fetched(channel, queue))
        await takeTwice(why)
      }
      await script.publish(channel, queue, ["x"], { expiration: "1" })
      await takeTwice("expiration")
      await script.publish(channel, queue, ["x"], { expiration: "300" })
      channel.reject(await fetched(channel, queue))
      await sleep(400)
      await takeTwice("expiration, after a requeue")
    }])
  )
)

/** Headers `x-death` written by clients, with `SRC` for the name of the queue. */
const invalidDeaths: ReadonlyArray<unknown> = [
  [{ count: "one", reason: "expired", queue: "another" }],
  [{ reason: "rejected", queue: "SRC" }],
  [
    { reason: "rejected", queue: "SRC" },
    { reason: "rejected", queue: "SRC" },
    { reason: "expired", queue: "other" },
    { reason: "expired", queue: "other" }
  ],
  [{ reason: "rejected", queue: "SRC", count: 5, extra: true }],
  [
    { reason: "rejected", queue: "SRC", count: 5 },
    { reason: "rejected", queue: "SRC", count: 7 },
    { reason: "expired", queue: "other", count: 7 },
    { reason: "expired", queue: "other" }
  ],
  [{ foo: 1 }, { foo: 2 }, { count: 3 }],
  "text",
  { a: 1 },
  5,
  [],
  ["text"],
  [5, { reason: "rejected", queue: "SRC" }],
  [{ foo: 1 }, "text"],
  [{ reason: "rejected", queue: "SRC", count: "five" }],
  [{ reason: "rejected", queue: "SRC", count: true }],
  [{ reason: "rejected", queue: "SRC", count: null }],
  [{ reason: 7, queue: "SRC", count: 5 }, { queue: "SRC", count: 2 }, { reason: "rejected" }]
]

const replaced = (value: unknown, name: string): unknown => {
  if (value === "SRC") return name
  if (Array.isArray(value)) return value.map((each) => replaced(each, name))
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, replaced(each, name)]))
}

const scripts: Scripts = {
  ...requeueing,
  ...Object.fromEntries(
    types.map((
      type
    ) => [`a ${type} queue whose single active consumer is lost with its connection`, consumerLost(type)])
  ),
  ...deadLettering,
  ...Object.fromEntries(
    invalidDeaths.map((deaths) => [`a dead letter with an x-death of ${JSON.stringify(deaths)}`, async (script) => {
      const channel = await script.channel()
      const dead = await script.queue(channel, "dead")
      const table = { "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead }
      const queue = await script.queue(channel, "SRC", table)
      const headers = { "x-death": replaced(deaths, queue), "x-first-death-queue": "mine" }
      await script.publish(channel, queue, ["x"], { headers })
      channel.reject(await fetched(channel, queue), false)
      await script.rest()
      await script.drain(channel, dead)
      await script.counts(channel, queue)
    }])
  ),

  "dead-lettering in a cycle of four queues": async (script) => {
    const channel = await script.channel()
    const next = (short: string) => ({ "x-dead-letter-exchange": "", "x-dead-letter-routing-key": script.name(short) })
    for (const [short, other] of ["ab", "bc", "cd", "da"]) await script.queue(channel, short, next(other))
    const headers = { CC: ["nowhere"], BCC: ["nobody"] }
    await script.publish(channel, script.name("a"), ["x"], { expiration: "100000", headers })
    for (const short of "abcdabcda") {
      const message = await fetched(channel, script.name(short))
      writeMessage(script, short, message)
      channel.reject(message, false)
    }
  },

  "a dead letter with CC and BCC": async (script) => {
    for (const type of types) {
      const channel = await script.channel()
      const exchange = await script.exchange(channel, `${type}-dlx`, "direct")
      const queue = await script.queue(channel, type, { "x-queue-type": type, "x-dead-letter-exchange": exchange })
      for (const key of ["copy", "blind"]) {
        await channel.bindQueue(await script.queue(channel, `${type}-${key}`), exchange, key)
      }
      await channel.bindQueue(await script.queue(channel, `${type}-own`), exchange, queue)
      await script.publish(channel, queue, ["x"], { headers: { CC: ["copy"], BCC: ["blind"], other: 1 } })
      const message = await fetched(channel, queue)
      writeMessage(script, "dropped", message)
      channel.reject(message, false)
      for (const key of ["own", "copy", "blind"]) {
        writeMessage(script, key, await fetched(channel, script.name(`${type}-${key}`)))
      }
    }
  },

  "a returned message with BCC": async (script) => {
    const channel = await script.channel()
    const none = script.name("none")
    for (const headers of [{ CC: [none], BCC: [none], other: 1 }, { BCC: [none] }, { BCC: [] }]) {
      channel.publish("", none, Buffer.from("x"), { mandatory: true, headers })
      await channel.waitForConfirms()
    }
  },

  "the counts of messages and consumers": async (script) => {
    for (const type of types) {
      const channel = await script.channel()
      const queue = await script.queue(channel, type, { "x-queue-type": type })
      const counted = async () => {
        await script.rest()
        await script.counts(channel, queue)
      }
      await script.publish(channel, queue, numbers)
      const [first, second] = [await fetched(channel, queue), await fetched(channel, queue)]
      await counted()
      channel.ack(first)
      await counted()
      channel.nack(second)
      await counted()
      const other = await script.channel()
      await other.prefetch(2)
      const got: Array<amqplib.ConsumeMessage> = []
      const { consumerTag } = await other.consume(queue, (message) => message === null || got.push(message))
      await counted()
      await other.cancel(consumerTag)
      await counted()
      for (const message of got) {
        other.ack(message)
        await counted()
      }
      script.write("purged", await channel.purgeQueue(queue))
      await counted()
      await script.publish(channel, queue, ["x"])
      script.write("deleted", await channel.deleteQueue(queue))
    }
  },

  "the counts of a quorum queue with a single active consumer": async (script) => {
    const channel = await script.channel()
    const queue = await script.queue(channel, "q", { "x-queue-type": "quorum", "x-single-active-consumer": true })
    await script.publish(channel, queue, numbers)
    const channels: Array<amqplib.Channel> = []
    const tags: Array<string> = []
    for (const who of ["first", "second", "third"]) {
      const other = await script.channel()
      await other.prefetch(2)
      channels.push(other)
      tags.push(await script.consume(other, queue, () => {}, {}, who))
      await script.rest()
      await script.counts(channel, queue)
    }
    await channels[0].cancel(tags[0])
    await script.rest()
    await script.counts(channel, queue)
    channels[0].ackAll()
    await script.rest()
    await script.counts(channel, queue)
  },

  "expired messages behind a fetched one": async (script) => {
    for (const type of types) {
      const channel = await script.channel()
      const queue = await script.queue(channel, type, { "x-queue-type": type })
      await script.publish(channel, queue, ["0"])
      await script.publish(channel, queue, ["1", "2"], { expiration: "1" })
      await script.publish(channel, queue, ["3"])
      await sleep(100)
      await script.counts(channel, queue)
      writeMessage(script, "fetched", await fetched(channel, queue))
      await sleep(200)
      await script.counts(channel, queue)
    }
  },

  "message priorities in a quorum queue": async (script) => {
    const channel = await script.channel()
    const queue = await script.queue(channel, "q", { "x-queue-type": "quorum" })
    for (const [index, priority] of [0, 1, 4, 5, 9, 31, 200, undefined, 5, 5, 0, 0, 6].entries()) {
      await script.publish(channel, queue, [String(index)], priority === undefined ? {} : { priority })
    }
    await script.drain(channel, queue)
  },

  "the message count of a stream": async (script) => {
    const channel = await script.channel()
    const queue = await script.queue(channel, "q", { "x-queue-type": "stream" })
    await script.publish(channel, queue, ["a", "b", "c"])
    await sleep(6000)
    await channel.prefetch(2)
    await channel.consume(queue, () => {})
    await script.counts(channel, queue)
    script.write("deleted", await channel.deleteQueue(queue, { ifUnused: true, ifEmpty: true }))
  }
}

const version = await versionAt(brokerUrl)

describe.runIf(onRabbitMQ("it compares both brokers itself") && version !== undefined)(
  "RabbitMQ and the embedded broker behave the same for",
  () => {
    it.concurrent.each(Object.entries(scripts))("%s", async (_, body) => {
      const embedded = await startEmbeddedBroker({ version })
      try {
        const [expected, found] = await Promise.all([runScript(brokerUrl, body), runScript(embedded.url, body)])
        assert.isNotEmpty(expected)
        assert.deepStrictEqual(found, expected)
      } finally {
        await embedded.stop()
      }
    })
  }
)
