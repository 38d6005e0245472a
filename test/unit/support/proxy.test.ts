import { afterEach, assert, describe, it } from "@effect/vitest"
import * as net from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import { startProxy } from "../../support/proxy.ts"
import type { FaultProxy } from "../../support/proxy.ts"

/** One end of a connection, with everything that happened to it. */
class End {
  readonly socket: net.Socket
  text = ""
  ended = false
  closed = false
  error: string | undefined

  constructor(socket: net.Socket) {
    this.socket = socket
    socket.setEncoding("utf8")
    socket.on("data", (text) => void (this.text += String(text)))
    socket.on("end", () => void (this.ended = true))
    socket.on("close", () => void (this.closed = true))
    socket.on("error", (error) => void (this.error = "code" in error ? String(error.code) : error.message))
  }
}

const until = async (what: string, condition: () => boolean): Promise<void> => {
  const deadline = Date.now() + 5_000
  while (!condition()) {
    if (Date.now() > deadline) assert.fail(`${what} did not happen`)
    await sleep(2)
  }
}

/** Long enough for bytes to arrive that should not. */
const aMoment = () => sleep(60)

const finalizers: Array<() => unknown> = []

afterEach(async () => {
  for (const finalize of finalizers.splice(0)) await finalize()
})

/** A server whose connections are recorded, and a proxy for it. */
const setup = async () => {
  const ends: Array<End> = []
  const server = net.createServer({ allowHalfOpen: true }, (socket) => void ends.push(new End(socket)))
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const { port } = server.address() as net.AddressInfo // a TCP server has no other kind
  const proxy = await startProxy({ host: "127.0.0.1", port })
  finalizers.push(() => proxy.close(), () => server.close(), () => ends.forEach(({ socket }) => socket.destroy()))
  const dial = (): End => {
    const socket = net.connect({ port: proxy.port, host: "127.0.0.1", allowHalfOpen: true })
    finalizers.push(() => socket.destroy())
    return new End(socket)
  }
  /** A client, and the server's end of its connection. */
  const connect = async () => {
    const count = ends.length
    const client = dial()
    await until("a connection", () => ends.length > count && !client.socket.connecting)
    return { client, server: ends[count] }
  }
  return { connect, dial, ends, proxy }
}

type Connected = { readonly client: End; readonly server: End }

const talks = async ({ client, server }: Connected): Promise<void> => {
  client.socket.write("ping")
  await until("ping", () => server.text.endsWith("ping"))
  server.socket.write("pong")
  await until("pong", () => client.text.endsWith("pong"))
}

const isIdle = (proxy: FaultProxy) => until("the end of all connections", () => proxy.connections === 0)

describe("a proxy that injects faults", () => {
  it("forwards bytes in both directions, and counts them", async () => {
    const { connect, proxy } = await setup()
    const connected = await connect()
    await talks(connected)
    assert.deepStrictEqual(proxy.forwarded, { client: 4, broker: 4 })
    assert.strictEqual(proxy.connections, 1)
    assert.strictEqual(proxy.accepted, 1)
  })

  it("forwards more than the buffers of the sockets hold", async () => {
    const { connect } = await setup()
    const { client, server } = await connect()
    const text = "0123456789".repeat(500_000)
    client.socket.write(text)
    await until("all bytes", () => server.text.length === text.length)
    assert.strictEqual(server.text, text)
  })

  it("forwards the end of one direction, and the other direction stays open", async () => {
    const { connect, proxy } = await setup()
    const { client, server } = await connect()
    client.socket.end("last")
    await until("the end", () => server.ended)
    assert.strictEqual(server.text, "last")
    server.socket.end("reply")
    await until("the other end", () => client.ended)
    assert.strictEqual(client.text, "reply")
    await isIdle(proxy)
  })

  it("forwards a reset", async () => {
    const { connect, proxy } = await setup()
    const { client, server } = await connect()
    await talks({ client, server })
    server.socket.resetAndDestroy()
    await until("the reset", () => client.closed)
    assert.strictEqual(client.error, "ECONNRESET")
    await isIdle(proxy)
  })

  it("resets a client while the broker is down", async () => {
    const { dial, ends, proxy } = await setup()
    const other = await startProxy({ host: "127.0.0.1", port: proxy.port })
    finalizers.push(() => other.close())
    proxy.refuse()
    const client = new End(net.connect({ port: other.port, host: "127.0.0.1" }))
    await until("the end", () => client.closed)
    await proxy.restore()
    dial()
    await until("a connection", () => ends.length === 1)
  })

  it("cuts connections in order on both sides, and accepts new ones", async () => {
    const { connect, proxy } = await setup()
    const { client, server } = await connect()
    await talks({ client, server })
    proxy.cut()
    await until("both ends", () => client.ended && server.ended)
    assert.isUndefined(client.error)
    assert.isUndefined(server.error)
    await isIdle(proxy)
    await talks(await connect())
  })

  it("resets connections on both sides, and accepts new ones", async () => {
    const { connect, proxy } = await setup()
    const { client, server } = await connect()
    await talks({ client, server })
    proxy.reset()
    await until("both resets", () => client.closed && server.closed)
    assert.strictEqual(client.error, "ECONNRESET")
    assert.strictEqual(server.error, "ECONNRESET")
    await isIdle(proxy)
    await talks(await connect())
  })

  it.each(["cut", "reset"] as const)("ends a connection after exactly so many bytes by a %s", async (ending) => {
    const { connect, proxy } = await setup()
    const { client, server } = await connect()
    await talks({ client, server })
    proxy.cutAfter(3, "client", ending)
    client.socket.write("abcdef")
    await until("the end", () => ending === "cut" ? server.ended && client.ended : server.closed && client.closed)
    // A reset may overtake the bytes before it.
    if (ending === "cut") assert.strictEqual(server.text, "pingabc")
    assert.deepStrictEqual(proxy.forwarded, { client: 7, broker: 4 })
    await talks(await connect())
  })

  it("holds all bytes while the traffic is stalled, and forwards them afterwards", async () => {
    const { connect, proxy } = await setup()
    const { client, server } = await connect()
    await talks({ client, server })
    proxy.stall()
    client.socket.write("late")
    server.socket.write("reply")
    await aMoment()
    assert.strictEqual(server.text, "ping")
    assert.strictEqual(client.text, "pong")
    await proxy.restore()
    await until("the held bytes", () => server.text === "pinglate" && client.text === "pongreply")
  })

  it("forwards what a client sent before it closed a stalled connection", async () => {
    const { connect, proxy } = await setup()
    const { client, server } = await connect()
    await talks({ client, server })
    proxy.stall()
    client.socket.end("late")
    await aMoment()
    assert.isFalse(server.ended)
    await proxy.restore()
    await until("the end", () => server.ended)
    assert.strictEqual(server.text, "pinglate")
  })

  it("stalls new connections too", async () => {
    const { connect, proxy } = await setup()
    proxy.stall()
    const { client, server } = await connect()
    client.socket.write("early")
    await aMoment()
    assert.strictEqual(server.text, "")
    await proxy.restore()
    await until("the held bytes", () => server.text === "early")
  })

  it("trickles a few bytes at a time", async () => {
    const { connect, proxy } = await setup()
    const { client, server } = await connect()
    proxy.trickle(2, 40)
    const begun = performance.now()
    client.socket.end("12345678")
    await until("the end", () => server.ended)
    assert.strictEqual(server.text, "12345678")
    assert.isAbove(performance.now() - begun, 100)
  })

  it("loses the broker's side, while the client can still send", async () => {
    const { connect, proxy } = await setup()
    const { client, server } = await connect()
    await talks({ client, server })
    proxy.halfOpen("broker")
    await until("the loss", () => server.closed)
    client.socket.write("into the void")
    await aMoment()
    assert.isFalse(client.ended || client.closed)
    assert.strictEqual(proxy.connections, 1)
    client.socket.end()
    await isIdle(proxy)
    await talks(await connect())
  })

  it("loses the client's side, while the broker can still send", async () => {
    const { connect, proxy } = await setup()
    const { client, server } = await connect()
    await talks({ client, server })
    proxy.halfOpen("client")
    await until("the loss", () => client.closed)
    server.socket.write("into the void")
    await aMoment()
    assert.isFalse(server.ended || server.closed)
    assert.strictEqual(proxy.connections, 0)
    await talks(await connect())
  })

  it("refuses new connections until it is restored on the same port, and keeps the others", async () => {
    const { connect, dial, proxy } = await setup()
    const connected = await connect()
    proxy.refuse()
    const refused = dial()
    await until("the refusal", () => refused.closed)
    assert.strictEqual(refused.error, "ECONNREFUSED")
    await talks(connected)
    await proxy.restore()
    await talks(await connect())
  })

  it("accepts new connections and closes them at once", async () => {
    const { connect, dial, ends, proxy } = await setup()
    proxy.closeAtOnce()
    const client = dial()
    await until("the end", () => client.ended)
    assert.lengthOf(ends, 0)
    assert.strictEqual(proxy.accepted, 1)
    await proxy.restore()
    await talks(await connect())
  })

  it("accepts new connections and stays silent until it is restored", async () => {
    const { connect, dial, ends, proxy } = await setup()
    proxy.silence()
    const client = dial()
    client.socket.write("hello?")
    await aMoment()
    assert.isFalse(client.socket.connecting || client.ended || client.closed)
    assert.lengthOf(ends, 0)
    await proxy.restore()
    await until("the end", () => client.ended || client.closed)
    await talks(await connect())
  })

  it("leaves no connection and no port behind", async () => {
    const { connect, dial, proxy } = await setup()
    const { client, server } = await connect()
    proxy.trickle(1, 10)
    await proxy.close()
    await until("both ends", () => (client.ended || client.closed) && (server.ended || server.closed))
    const refused = dial()
    await until("the refusal", () => refused.closed)
    assert.strictEqual(refused.error, "ECONNREFUSED")
  })
})
