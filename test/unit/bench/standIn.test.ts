import { assert, describe, it, vi } from "@effect/vitest"
import * as amqplib from "amqplib"
import * as net from "node:net"
import { setImmediate } from "node:timers/promises"
import { Connection } from "../../../bench/src/standIn/connection.ts"
import { Queues } from "../../../bench/src/standIn/queues.ts"

/** A connection to a stand-in in this process; what the client sends arrives in pieces of `piece` bytes. */
const withStandIn = async (piece: number, use: (connection: amqplib.ChannelModel) => Promise<void>) => {
  const queues = new Queues()
  const server = net.createServer((socket) => new Connection(socket, queues))
  const proxy = net.createServer((socket) => {
    const { port } = server.address() as net.AddressInfo
    const onward = net.connect(port, "127.0.0.1")
    onward.pipe(socket)
    const forward = async () => {
      for await (const chunk of socket as AsyncIterable<Buffer>) {
        for (let at = 0; at < chunk.length; at += piece) {
          onward.write(chunk.subarray(at, at + piece))
          // so that the stand-in reads each piece
          if (piece < chunk.length) await setImmediate()
        }
      }
      onward.end()
    }
    forward().catch(() => onward.destroy())
  })
  const listen = (server: net.Server) =>
    new Promise<number>((resolve) =>
      server.listen(0, "127.0.0.1", () => resolve((server.address() as net.AddressInfo).port))
    )
  await listen(server)
  const connection = await amqplib.connect(`amqp://guest:guest@127.0.0.1:${await listen(proxy)}`)
  try {
    await use(connection)
  } finally {
    await connection.close()
    server.close()
    proxy.close()
  }
}

const consume = (channel: amqplib.Channel, queue: string, count: number, noAck: boolean) =>
  new Promise<ReadonlyArray<amqplib.ConsumeMessage>>((resolve, reject) => {
    const received: Array<amqplib.ConsumeMessage> = []
    channel.consume(queue, (message) => {
      if (message === null) return reject(new Error("cancelled"))
      received.push(message)
      if (!noAck) channel.ack(message)
      if (received.length === count) resolve(received)
    }, { noAck }).catch(reject)
  })

const tags = (messages: ReadonlyArray<amqplib.ConsumeMessage>) => messages.map(({ fields }) => fields.deliveryTag)
const upTo = (count: number) => Array.from({ length: count }, (_, index) => index + 1)

describe("the stand-in of the benchmark", () => {
  it.each([
    { piece: 1, size: 16, count: 20 },
    { piece: 1000, size: 0, count: 100 },
    { piece: 2 ** 20, size: 300_000, count: 5 }
  ])(
    "confirms, counts and delivers messages, read in pieces: %j",
    ({ count, piece, size }) =>
      withStandIn(piece, async (connection) => {
        const channel = await connection.createConfirmChannel()
        await channel.assertQueue("one")
        await channel.assertQueue("two")
        for (let published = 0; published < count; published++) {
          channel.publish("", published % 2 === 0 ? "one" : "two", Buffer.alloc(size, "x"), { type: "test" })
          channel.publish("", "unknown", Buffer.alloc(size))
        }
        await channel.waitForConfirms()
        const half = Math.ceil(count / 2)
        assert.strictEqual((await channel.checkQueue("one")).messageCount, half)
        assert.strictEqual((await channel.checkQueue("two")).messageCount, count - half)

        const consuming = await connection.createChannel()
        await consuming.prefetch(3)
        const received = await consume(consuming, "one", half, false)
        assert.deepStrictEqual(tags(received), upTo(half))
        assert.deepStrictEqual([...new Set(received.map(({ properties }) => String(properties.type)))], ["test"])
        assert.deepStrictEqual([...new Set(received.map(({ content }) => content.toString()))], ["x".repeat(size)])
        assert.strictEqual((await consuming.checkQueue("one")).messageCount, 0)
      })
  )

  it("delivers everything at once without acknowledgements, and no more than there is", () =>
    withStandIn(2 ** 20, async (connection) => {
      const channel = await connection.createConfirmChannel()
      await channel.assertQueue("many")
      for (let published = 0; published < 5000; published++) channel.publish("", "many", Buffer.alloc(16))
      await channel.waitForConfirms()
      const received = await consume(channel, "many", 5000, true)
      assert.deepStrictEqual(tags(received), upTo(5000))
      assert.strictEqual((await channel.checkQueue("many")).messageCount, 0)
    }))

  it("takes back what is not acknowledged, and stops at the prefetch", () =>
    withStandIn(2 ** 20, async (connection) => {
      const channel = await connection.createConfirmChannel()
      await channel.assertQueue("queue")
      for (let published = 0; published < 10; published++) channel.publish("", "queue", Buffer.alloc(16))
      await channel.waitForConfirms()
      const consuming = await connection.createChannel()
      await consuming.prefetch(4)
      let received = 0
      await consuming.consume("queue", (message) => {
        if (++received <= 3 && message !== null) consuming.ack(message)
      })
      // the fourth to the seventh are delivered once the first three are acknowledged, and then no more
      await vi.waitFor(() => assert.strictEqual(received, 7))
      await consuming.checkQueue("queue")
      assert.strictEqual(received, 7)
      await consuming.close()
      assert.strictEqual((await channel.checkQueue("queue")).messageCount, 7)
    }))

  it("closes the channel for a queue that does not exist", () =>
    withStandIn(2 ** 20, async (connection) => {
      const channel = await connection.createChannel()
      channel.on("error", () => {})
      const error = await channel.checkQueue("missing").then(() => undefined, String)
      assert.include(error, "404")
      await connection.createChannel()
    }))
})
