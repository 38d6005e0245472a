/**
 * The same amqplib scripts on RabbitMQ and on the embedded broker of the same version: what amqplib receives is compared. No results are
 * written here; RabbitMQ defines them.
 */
import { assert, describe, it } from "@effect/vitest"
import type * as amqplib from "amqplib"
import { defined, runScript, sleep } from "../../support/amqplibScript.ts"
import type { Script } from "../../support/amqplibScript.ts"
import { brokerUrl, onRabbitMQ } from "../../support/brokerUnderTest.ts"
import { versionAt } from "../../support/conversation.ts"
import { startEmbeddedBroker } from "../../support/embeddedBroker.ts"

const letters = ["a", "b", "c", "d", "e", "f"]

const scripts: Readonly<Record<string, (script: Script) => Promise<void>>> = {
  "fetched messages and the remaining count": async (script) => {
    const channel = await script.channel()
    const queue = await script.queue(channel, "q")
    await script.publish(channel, queue, letters)
    await script.counts(channel, queue)
    await script.drain(channel, queue)
  },

  "properties and headers of every type": async (script) => {
    const channel = await script.channel()
    const queue = await script.queue(channel, "q")
    await script.publish(channel, queue, ["x"], {
      contentType: "text/plain",
      contentEncoding: "gzip",
      deliveryMode: 2,
      priority: 200,
      correlationId: "é".repeat(20),
      replyTo: "r",
      expiration: "100000",
      messageId: "",
      timestamp: 1_700_000_000,
      type: "t",
      userId: "guest",
      appId: "a",
      headers: {
        byte: 1,
        short: 300,
        int: -70_000,
        long: 2 ** 40,
        half: 0.5,
        text: "ü",
        empty: "",
        yes: true,
        nothing: null,
        list: [1, "2", [3], {}],
        table: { a: { b: {} } }
      }
    })
    await script.publish(channel, queue, [""])
    await script.drain(channel, queue)
  },

  "the position of requeued messages": async (script) => {
    const channel = await script.channel()
    const queue = await script.queue(channel, "q")
    await script.publish(channel, queue, letters)
    const got: Array<amqplib.GetMessage> = []
    for (let count = 0; count < 5; count++) {
      const message = await channel.get(queue)
      if (message !== false) got.push(message)
    }
    channel.nack(got[3])
    channel.reject(got[1])
    channel.nack(got[0], false, false)
    // RabbitMQ may reply with counts from before the requeue.
    await script.rest()
    await script.counts(channel, queue)
    await script.publish(channel, queue, ["g"])
    const other = await script.channel()
    await script.drain(other, queue)
    await channel.close()
    await script.drain(other, queue)
  },

  "messages redelivered by basic.recover": async (script) => {
    const channel = await script.channel()
    const queue = await script.queue(channel, "q")
    await script.publish(channel, queue, letters)
    await script.consume(channel, queue)
    await script.lineCount(6)
    await channel.recover()
    await script.lineCount(12)
    channel.ackAll()
    await script.rest()
    await script.counts(channel, queue)
  },

  "multiple acknowledgements, and repeated ones": async (script) => {
    const channel = await script.channel()
    const queue = await script.queue(channel, "q")
    await script.publish(channel, queue, letters)
    await script.consume(channel, queue, (message, count) => {
      if (count === 3) channel.ack(message, true)
      if (count === 5) channel.nack(message, true, false)
      if (count === 6) {
        channel.ack(message)
        channel.ack(message)
      }
    })
    await script.lineCount(7)
    await script.counts(await script.channel(), queue)
  },

  "a prefetch per consumer": async (script) => {
    const channel = await script.channel()
    const queue = await script.queue(channel, "q")
    await script.publish(channel, queue, letters)
    await channel.prefetch(2)
    const tag = await script.consume(channel, queue, (message, count) => {
      if (count === 2) channel.ack(message)
    })
    await script.lineCount(3)
    await script.rest()
    await script.counts(channel, queue)
    await channel.cancel(tag)
    await script.counts(channel, queue)
    await channel.prefetch(1)
    await script.consume(channel, queue, (message) => channel.ack(message), {}, "another")
    await script.rest()
    await script.counts(channel, queue)
  },

  "a prefetch per channel": async (script) => {
    const channel = await script.channel()
    const queue = await script.queue(channel, "q")
    const other = await script.queue(channel, "r")
    await script.publish(channel, queue, letters)
    await script.publish(channel, other, letters)
    await channel.prefetch(3, true)
    await script.consume(channel, queue)
    await script.lineCount(3)
    const tag = await script.consume(channel, other, undefined, { noAck: true }, "without acknowledgements")
    await script.rest()
    await script.counts(channel, other)
    await channel.cancel(tag)
    await channel.prefetch(5, true)
    await script.lineCount(6)
    await script.rest()
    await channel.prefetch(0, true)
    await script.lineCount(7)
  },

  "a shared prefetch, and messages fetched before and after it": async (script) => {
    const channel = await script.channel()
    const queue = await script.queue(channel, "q")
    await script.publish(channel, queue, letters)
    const before = await channel.get(queue)
    await channel.prefetch(2, true)
    const under = [await channel.get(queue), await channel.get(queue)]
    await script.consume(channel, queue, (message, count) => count === 1 ? channel.ack(message) : undefined)
    await script.lineCount(2)
    await script.rest()
    script.write("acknowledging fetched messages gives the consumer no room")
    for (const message of [before, ...under]) if (message !== false) channel.ack(message)
    await script.rest()
    script.write("the prefetch is greater")
    await channel.prefetch(3, true)
    await script.lineCount(5)
    await script.rest()
  },

  "a shared prefetch replaced by one per consumer": async (script) => {
    const channel = await script.channel()
    const queue = await script.queue(channel, "q")
    await script.publish(channel, queue, letters)
    await channel.prefetch(1, true)
    await script.consume(channel, queue, undefined, {}, "shared")
    await script.lineCount(1)
    await script.rest()
    script.write("the prefetch is that of a consumer")
    await channel.prefetch(2)
    await script.lineCount(7)
  },

  "a shared prefetch set after a quorum queue's consumer": async (script) => {
    const channel = await script.channel()
    const [quorum, classic] = [
      await script.queue(channel, "quorum", { "x-queue-type": "quorum" }),
      await script.queue(channel, "classic")
    ]
    await script.consume(channel, quorum, undefined, {}, "quorum")
    await channel.prefetch(1, true)
    for (const [index, letter] of letters.slice(0, 3).entries()) {
      await script.publish(channel, quorum, [letter])
      await script.lineCount(index + 1)
    }
    await script.publish(channel, classic, letters.slice(0, 2))
    await script.consume(channel, classic, undefined, {}, "classic")
    await script.rest()
  },

  "messages of a channel whose mistake ends the connection": async (script) => {
    const observer = await script.channel()
    for (const offender of ["holder", "other"]) {
      const connection = await script.connect()
      const [holder, other] = [await script.channel(connection), await script.channel(connection)]
      const queue = await script.queue(holder, offender)
      await script.publish(holder, queue, ["a", "b"])
      const count = offender === "holder" ? 2 : 6
      await script.consume(holder, queue, undefined, { consumerTag: "holder" }, `${offender}: holder`)
      await script.lineCount(count)
      await script.consume(other, queue, undefined, { consumerTag: "other", noAck: true }, `${offender}: other`)
      // Its messages go to the other channel before that ends, too.
      await (offender === "holder" ? holder : other).consume(queue, () => {}, { consumerTag: offender }).catch(() => {})
      await script.lineCount(count + (offender === "holder" ? 2 : 0))
      await script.rest()
      await script.counts(observer, queue)
    }
  },

  "a prefetch shared by queues that take turns": async (script) => {
    const channel = await script.channel()
    await channel.prefetch(1, true)
    const received: Array<string> = []
    const messages = Array.from({ length: 60 }, () => "x")
    const queues = [await script.queue(channel, "one"), await script.queue(channel, "two")]
    for (const queue of queues) await script.publish(channel, queue, messages)
    await new Promise<void>((resolve) => {
      for (const queue of queues) {
        void channel.consume(queue, (message) => {
          if (message === null) return
          channel.ack(message)
          if (received.push(queue) === 120) resolve()
        })
      }
    })
    // The order of the turns is random.
    script.write("of the first sixty, each had some", new Set(received.slice(0, 60)).size === 2)
  },

  "the turns of consumers by priority": async (script) => {
    const channel = await script.channel()
    const queue = await script.queue(channel, "q")
    await channel.prefetch(2)
    await script.consume(channel, queue, undefined, { priority: -1 }, "last")
    await script.consume(channel, queue, undefined, { priority: 5 }, "first")
    await script.consume(channel, queue, undefined, {}, "middle")
    for (const [index, letter] of letters.entries()) {
      await script.publish(channel, queue, [letter])
      await script.lineCount(index + 1)
    }
  },

  "the turns of equal consumers": async (script) => {
    const queue = await script.queue(await script.channel(), "q")
    const publisher = await script.channel()
    for (const who of ["one", "two", "three"]) {
      await script.consume(await script.channel(), queue, undefined, { noAck: true }, who)
    }
    for (const [index, letter] of [...letters, ...letters].entries()) {
      await script.publish(publisher, queue, [letter])
      await script.lineCount(index + 1)
    }
  },

  "message priorities": async (script) => {
    const channel = await script.channel()
    const queue = await script.queue(channel, "q", { "x-max-priority": 5 })
    for (const [text, priority] of [["a", 0], ["b", 5], ["c", 3], ["d", 9], ["e", 3]] as const) {
      await script.publish(channel, queue, [text], { priority })
    }
    await script.publish(channel, queue, ["f"])
    await script.drain(channel, queue)
  },

  "dead-lettering by rejection, through two queues in a cycle": async (script) => {
    const channel = await script.channel()
    const exchange = await script.exchange(channel, "dlx", "topic")
    const one = await script.queue(channel, "one", { "x-dead-letter-exchange": exchange })
    const two = await script.queue(channel, "two", {
      "x-dead-letter-exchange": exchange,
      "x-dead-letter-routing-key": "back"
    })
    await channel.bindQueue(two, exchange, one)
    await channel.bindQueue(one, exchange, "back")
    await script.publish(channel, one, ["x"], { headers: { own: 1, CC: ["nowhere"] }, expiration: "60000" })
    for (const queue of [one, two, one, one]) {
      let message: amqplib.GetMessage | false = false
      for (let tries = 0; tries < 200 && message === false; tries++) {
        message = await channel.get(queue)
        if (message === false) await sleep(10)
      }
      if (message === false) throw new Error(`nothing came to ${queue}`)
      script.write(message.fields, defined(message.properties))
      channel.reject(message, false)
    }
  },

  "dead-lettering by the TTL of the queue and of the message": async (script) => {
    const channel = await script.channel()
    const dead = await script.queue(channel, "dead")
    const letter = { "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead }
    const aging = await script.queue(channel, "aging", { ...letter, "x-message-ttl": 100 })
    const plain = await script.queue(channel, "plain", letter)
    await script.consume(channel, dead, undefined, { noAck: true })
    await script.publish(channel, aging, ["by the queue"])
    await script.lineCount(1)
    await script.publish(channel, aging, ["by the message"], { expiration: "20" })
    await script.lineCount(2)
    // An expired message stays behind one that is not expired.
    await script.publish(channel, plain, ["long"], { expiration: "60000" })
    await script.publish(channel, plain, ["short"], { expiration: "10" })
    await script.rest()
    const other = await script.channel()
    const first = await other.get(plain)
    await script.lineCount(3)
    if (first !== false) other.nack(first)
    await script.rest()
    await script.counts(channel, plain)
    await script.publish(channel, plain, ["at once"], { expiration: "0" })
    await script.rest()
  },

  "dead-lettering by a full queue": async (script) => {
    const channel = await script.channel()
    const dead = await script.queue(channel, "dead")
    const letter = { "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead }
    const lengths = { "x-max-length": 2 }
    for (const overflow of ["drop-head", "reject-publish", "reject-publish-dlx"]) {
      const queue = await script.queue(channel, overflow, { ...letter, ...lengths, "x-overflow": overflow })
      for (const text of letters.slice(0, 4)) await script.publish(channel, queue, [text])
      await script.drain(channel, queue)
      await script.rest()
      await script.drain(channel, dead)
    }
    const bytes = await script.queue(channel, "bytes", { ...letter, "x-max-length-bytes": 10 })
    for (const text of ["12345", "123456", "1", "12345678901"]) await script.publish(channel, bytes, [text])
    await script.drain(channel, bytes)
    await script.rest()
    await script.drain(channel, dead)
  },

  "dead letters that no queue takes, or that go in a cycle": async (script) => {
    const channel = await script.channel()
    const lost = await script.queue(channel, "lost", { "x-dead-letter-exchange": script.name("none") })
    await script.publish(channel, lost, ["a"])
    await script.consume(channel, lost, (message) => channel.reject(message, false))
    const circle = await script.queue(channel, "circle", {
      "x-dead-letter-exchange": "",
      "x-message-ttl": 30
    })
    await script.publish(channel, circle, ["b"])
    await script.rest()
    await script.counts(channel, lost)
    await script.counts(channel, circle)
  },

  "a message that no queue takes": async (script) => {
    const channel = await script.channel()
    await script.publish(channel, script.name("none"), ["x"], {
      mandatory: true,
      headers: { a: 1 },
      contentType: "text/plain"
    })
    const alternate = await script.exchange(channel, "alternate", "fanout")
    const exchange = await script.exchange(channel, "exchange", "direct", alternate)
    const queue = await script.queue(channel, "q")
    await channel.bindQueue(queue, alternate, "")
    channel.publish(exchange, "key", Buffer.from("y"), { mandatory: true })
    await channel.waitForConfirms()
    await script.drain(channel, queue)
  },

  "copies by CC and BCC": async (script) => {
    const channel = await script.channel()
    const [one, two, three] = [
      await script.queue(channel, "one"),
      await script.queue(channel, "two"),
      await script.queue(channel, "three")
    ]
    await script.publish(channel, one, ["x"], { CC: [two], BCC: [three] })
    for (const queue of [one, two, three]) await script.drain(channel, queue)
  },

  "a request and its reply": async (script) => {
    const connection = await script.connect()
    const [server, client] = [await script.channel(connection), await script.channel(connection)]
    const queue = await script.queue(server, "q")
    await script.consume(
      server,
      queue,
      ({ properties }) => {
        server.sendToQueue(properties.replyTo, Buffer.from("reply"), { correlationId: properties.correlationId })
      },
      { noAck: true },
      "server"
    )
    const reply = { noAck: true, consumerTag: "replies" }
    await script.consume(client, "amq.rabbitmq.reply-to", undefined, reply, "client")
    await script.publish(client, queue, ["request"], { replyTo: "amq.rabbitmq.reply-to", correlationId: "1" })
    await script.lineCount(2)
    await client.cancel("replies")
    await script.publish(client, queue, ["too late"], { replyTo: "amq.rabbitmq.reply-to" })
  },

  "a queue that is deleted while it has consumers": async (script) => {
    const channel = await script.channel()
    const queue = await script.queue(channel, "q")
    await script.consume(channel, queue)
    await script.publish(channel, queue, ["a", "b"])
    await script.lineCount(2)
    const deleted = await (await script.channel()).deleteQueue(queue)
    await script.lineCount(3)
    script.write("deleted", deleted)
    // The deliveries of the deleted queue can still be acknowledged.
    channel.ackAll()
    await script.publish(channel, queue, ["c"], { mandatory: true })
  },

  "a queue that is purged while its consumer holds messages": async (script) => {
    const channel = await script.channel()
    const queue = await script.queue(channel, "q")
    await channel.prefetch(2)
    await script.publish(channel, queue, letters)
    await script.consume(channel, queue)
    await script.lineCount(2)
    script.write("purged", await channel.purgeQueue(queue))
    channel.nackAll()
    await script.lineCount(5)
    await script.rest()
    const deleted = await channel.deleteQueue(queue)
    // The client receives both in one read or in two, and reports them in either order.
    await script.lineCount(6)
    script.write("deleted", deleted)
  },

  "auto-delete and exclusive queues": async (script) => {
    const connection = await script.connect()
    const channel = await script.channel(connection)
    const other = await script.channel()
    const leaving = await script.queue(channel, "leaving", {}, { autoDelete: true })
    const tag = await script.consume(channel, leaving)
    await script.counts(channel, leaving)
    await channel.cancel(tag)
    // RabbitMQ 4.3 still routes to a queue that is being deleted.
    await script.rest()
    await script.publish(other, leaving, ["a"], { mandatory: true })
    const exclusive = await script.queue(channel, "exclusive", {}, { exclusive: true })
    await script.publish(other, exclusive, ["b"])
    await script.drain(channel, exclusive)
    await connection.close()
    await script.rest()
    await script.publish(other, exclusive, ["c"], { mandatory: true })
  },

  "a queue that expires": async (script) => {
    const channel = await script.channel()
    const queue = await script.queue(channel, "q", { "x-expires": 200 })
    const tag = await script.consume(channel, queue)
    await sleep(400)
    await script.counts(channel, queue)
    await channel.cancel(tag)
    await sleep(600)
    await channel.checkQueue(queue).catch(() => {})
  },

  "a single active consumer and its successor": async (script) => {
    const publisher = await script.channel()
    const queue = await script.queue(publisher, "q", { "x-single-active-consumer": true })
    const first = await script.channel()
    await script.consume(first, queue, undefined, {}, "first")
    await script.consume(await script.channel(), queue, undefined, {}, "second")
    await script.publish(publisher, queue, letters.slice(0, 3))
    await script.lineCount(3)
    await first.close()
    await script.lineCount(6)
    const refused = await script.channel()
    await refused.consume(queue, () => {}, { exclusive: true }).catch(() => {})
  },

  "an exclusive consumer": async (script) => {
    const queue = await script.queue(await script.channel(), "q")
    const [one, other] = [await script.channel(), await script.channel()]
    await script.consume(one, queue, undefined, { exclusive: true })
    await other.consume(queue, () => {}).catch(() => {})
    await script.lineCount(1)
    await script.drain(await script.channel(), queue)
  },

  "a quorum queue that dead-letters a message at its delivery limit": async (script) => {
    const channel = await script.channel()
    const dead = await script.queue(channel, "dead")
    const queue = await script.queue(channel, "q", {
      "x-queue-type": "quorum",
      "x-delivery-limit": 2,
      "x-dead-letter-exchange": "",
      "x-dead-letter-routing-key": dead
    })
    await script.publish(channel, queue, ["x"])
    await script.consume(channel, dead, undefined, { noAck: true }, "dead letters")
    // Since 4.3 only `basic.reject` counts.
    await script.consume(channel, queue, (message) => channel.reject(message))
    await script.lineCount(4)
  },

  "a quorum queue that redelivers a message": async (script) => {
    const channel = await script.channel()
    const queue = await script.queue(channel, "q", { "x-queue-type": "quorum" })
    await script.publish(channel, queue, letters.slice(0, 3), { headers: { own: 1 } })
    await channel.prefetch(1)
    await script.consume(channel, queue, (message, count) => count < 3 ? channel.nack(message) : channel.ack(message))
    await script.lineCount(5)
  },

  "a stream that is read from its start and again": async (script) => {
    const channel = await script.channel()
    const queue = await script.queue(channel, "q", { "x-queue-type": "stream" })
    for (const letter of letters) await script.publish(channel, queue, [letter])
    for (const [who, offset] of [["all", "first"], ["some", 4]] as const) {
      const reader = await script.channel()
      await reader.prefetch(10)
      const from = { arguments: { "x-stream-offset": offset } }
      await script.consume(reader, queue, (message) => reader.ack(message), from, who)
      await script.rest()
    }
    await channel.consume(queue, () => {}).catch(() => {})
  },

  "messages of many frames, to several queues": async (script) => {
    const channel = await script.channel()
    const exchange = await script.exchange(channel, "exchange", "fanout")
    const text = "0123456789".repeat(40_000)
    for (const short of ["one", "two"]) await channel.bindQueue(await script.queue(channel, short), exchange, "")
    channel.publish(exchange, "key", Buffer.from(text))
    await channel.waitForConfirms()
    for (const short of ["one", "two"]) await script.drain(channel, script.name(short))
  }
}

const version = await versionAt(brokerUrl)

describe.runIf(onRabbitMQ("it compares both brokers itself") && version !== undefined)(
  "RabbitMQ and the embedded broker behave the same for",
  () => {
    it.each(Object.entries(scripts))("%s", async (_, body) => {
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
