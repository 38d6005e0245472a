/**
 * A server that a test scripts, at the other end of an in-memory socket.
 *
 * It uses the real bytes of the protocol and does only what the script does: it sends no replies automatically, and a method of the
 * client that the script does not expect fails the test. Time is that of the `TestClock`; what the client does without waiting for
 * time is done after some turns of the scheduler.
 */
import * as AmqpChannel from "@effect-amqp/core/AmqpChannel"
import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import * as AmqpConsumer from "@effect-amqp/core/AmqpConsumer"
import * as AmqpDelivery from "@effect-amqp/core/AmqpDelivery"
import type { AmqpConnectionError, ConnectionErrorReason } from "@effect-amqp/core/AmqpError"
import * as AmqpMessage from "@effect-amqp/core/AmqpMessage"
import * as AmqpPublisher from "@effect-amqp/core/AmqpPublisher"
import * as AmqpQueue from "@effect-amqp/core/AmqpQueue"
import { decodeProperties } from "@effect-amqp/core/protocol/BasicProperties"
import type { BasicProperties } from "@effect-amqp/core/protocol/BasicProperties"
import { ContentAssembler } from "@effect-amqp/core/protocol/ContentAssembler"
import type { Content } from "@effect-amqp/core/protocol/ContentAssembler"
import type { FieldTable } from "@effect-amqp/core/protocol/fieldTable"
import { FrameParser } from "@effect-amqp/core/protocol/FrameParser"
import {
  encodeBodyFrames,
  encodeHeaderFrame,
  encodeMethodFrame,
  heartbeatFrame
} from "@effect-amqp/core/protocol/frames"
import type {
  BasicDeliver,
  BasicGetOk,
  BasicPublish,
  BasicReturn,
  ClientMethod,
  Method,
  MethodTag,
  ServerMethod
} from "@effect-amqp/core/protocol/methods.generated"
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as Stream from "effect/Stream"
import { concat, written } from "../unit/protocol/support.ts"
import { countingFibers } from "./countingFibers.ts"
import { singleSession } from "./recovery.ts"

type MethodOf<Tag extends MethodTag> = Extract<Method, { readonly _tag: Tag }>

/** What the server sends in a standard handshake. */
export interface ServerOptions {
  readonly serverProperties?: FieldTable | undefined
  readonly mechanisms?: string | undefined
  readonly channelMax?: number | undefined
  readonly frameMax?: number | undefined
  /** In seconds. Default: 0, so that time passes without heartbeats where a test is not about them. */
  readonly heartbeat?: number | undefined
}

/** A method of the client. */
export interface Received {
  readonly channel: number
  readonly method: Method
  /** The encoded properties and the body of a publish; empty for other methods. */
  readonly properties: Uint8Array
  readonly body: Uint8Array
}

/** A publish of the client, assembled from its frames. */
export interface Published extends BasicPublish {
  readonly properties: BasicProperties
  readonly body: Uint8Array
  readonly text: string
}

// -----------------------------------------------------------------------------
// bytes of the server
// -----------------------------------------------------------------------------

export const methodBytes = (channel: number, ...methods: ReadonlyArray<Method>): Uint8Array =>
  written((writer) => {
    for (const method of methods) encodeMethodFrame(writer, channel, method)
  })

export const headerBytes = (channel: number, bodySize: number, properties: BasicProperties = {}): Uint8Array =>
  written((writer) => encodeHeaderFrame(writer, channel, bodySize, properties))

export const bodyBytes = (channel: number, body: Uint8Array, frameMax = 0): Uint8Array =>
  written((writer) => encodeBodyFrames(writer, channel, body, frameMax))

const encoder = new TextEncoder()
const decoder = new TextDecoder()

export const contentBytes = (
  channel: number,
  method: BasicDeliver | BasicGetOk | BasicReturn,
  text: string,
  properties: BasicProperties = {}
): Uint8Array => {
  const body = encoder.encode(text)
  return concat([methodBytes(channel, method), headerBytes(channel, body.length, properties), bodyBytes(channel, body)])
}

/** The reply to a `basic.get` on the channel, with its first message. */
export const getOkBytes = (channel: number, text: string, deliveryTag = 1): Uint8Array =>
  contentBytes(
    channel,
    { _tag: "basic.get-ok", deliveryTag, redelivered: false, exchange: "", routingKey: "q", messageCount: 0 },
    text
  )

/** A delivery to the consumer with this tag. */
export const deliverBytes = (
  channel: number,
  consumerTag: string,
  deliveryTag: number,
  text: string,
  redelivered = false
): Uint8Array =>
  contentBytes(
    channel,
    { _tag: "basic.deliver", consumerTag, deliveryTag, redelivered, exchange: "", routingKey: "q" },
    text
  )

const serverProperties: FieldTable = {
  product: "RabbitMQ",
  capabilities: {
    publisher_confirms: true,
    "basic.nack": true,
    consumer_cancel_notify: true,
    consumer_priorities: true
  }
}

export const start = (options: ServerOptions = {}): MethodOf<"connection.start"> => ({
  _tag: "connection.start",
  versionMajor: 0,
  versionMinor: 9,
  serverProperties: options.serverProperties ?? serverProperties,
  mechanisms: options.mechanisms ?? "PLAIN AMQPLAIN",
  locales: "en_US"
})

export const tune = (options: ServerOptions = {}): MethodOf<"connection.tune"> => ({
  _tag: "connection.tune",
  channelMax: options.channelMax ?? 2047,
  frameMax: options.frameMax ?? 131072,
  heartbeat: options.heartbeat ?? 0
})

export const connectionClose = (replyCode: number, replyText: string): MethodOf<"connection.close"> => ({
  _tag: "connection.close",
  replyCode,
  replyText,
  classId: 0,
  methodId: 0
})

/** A close that is caused by `queue.declare`. */
export const channelClose = (replyCode: number, replyText: string): MethodOf<"channel.close"> => ({
  _tag: "channel.close",
  replyCode,
  replyText,
  classId: 50,
  methodId: 10
})

export const declareOk = (queue: string): MethodOf<"queue.declare-ok"> => ({
  _tag: "queue.declare-ok",
  queue,
  messageCount: 0,
  consumerCount: 0
})

export const closeCode = (replyCode: number): Socket.SocketError =>
  new Socket.SocketError({ reason: new Socket.SocketCloseError({ code: replyCode }) })

/** The error of Node's sockets when the peer resets the connection. */
export const reset: Socket.SocketError = new Socket.SocketError({
  reason: new Socket.SocketReadError({ cause: new Error("read ECONNRESET") })
})

// -----------------------------------------------------------------------------
// the peer
// -----------------------------------------------------------------------------

/** After this many idle turns nothing more happens: everything here waits only for fibers and time. */
const turnsToRest = 30

/** Lets every fiber run until it waits for the peer or for time. */
export const rest: Effect.Effect<void> = Effect.repeat(Effect.yieldNow, { times: turnsToRest })

const noBytes = new Uint8Array(0)

export class Peer {
  /** The frames of the client in order, without heartbeats. */
  readonly frames: Array<{ readonly type: "method" | "header" | "body"; readonly channel: number; size: number }> = []
  /** The number of heartbeats from the client. */
  heartbeats = 0
  /** The number of bytes from the client. */
  bytesTaken = 0
  /** Whether the client's socket is open. */
  isOpen = false
  /** Whether the client's write side is open. */
  isWritable = false
  dials = 0
  /** Server bytes arrive in reads of at most this many bytes. */
  readSize = Infinity
  /** An effect that the client's dial waits for, or fails with. */
  dial: Effect.Effect<void, Socket.SocketError> = Effect.void

  private readonly received: Array<Received> = []
  private greeting: Uint8Array = new Uint8Array(0)
  private readonly assemblers = new Map<number, ContentAssembler<BasicPublish>>()
  private readonly parser = new FrameParser({
    onMethod: (channel, method) => this.onMethod(channel, method),
    onHeader: (channel, header) => {
      this.frames.push({ type: "header", channel, size: header.bodySize })
      this.onContent(channel, this.assembler(channel).header(header))
    },
    onBody: (channel, payload) => {
      this.frames.push({ type: "body", channel, size: payload.length })
      this.onContent(channel, this.assembler(channel).body(payload))
    },
    onHeartbeat: () => void this.heartbeats++
  }, { maxFrameSize: 0 })

  private incoming: Array<Uint8Array> = []
  private readEnd: Socket.SocketError | undefined
  private reading: (() => void) | undefined
  private writeEnd: Socket.SocketError | undefined
  private stalled = false
  /** The number of writes that are taken although the peer is stalled. */
  private permits = 0
  private readonly writing = new Set<() => void>()

  // ---------------------------------------------------------------------------
  // the client's side: the socket
  // ---------------------------------------------------------------------------

  readonly socket: Socket.Socket = Socket.make({
    reader: Effect.gen({ self: this }, function*() {
      this.dials++
      yield* this.dial
      this.isOpen = true
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          this.isOpen = false
          this.incoming = []
          this.endReads(closeCode(1006))
        })
      )
      return { pull: this.pull, upgrade: () => Effect.die("the peer has no TLS") }
    }),
    writer: Effect.gen({ self: this }, function*() {
      this.isWritable = true
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          this.isWritable = false
        })
      )
      return {
        write: (chunk) =>
          Socket.isCloseEvent(chunk) ? Effect.die("the client does not close like this") : this.write([chunk]),
        writeAll: (chunks) => this.write(chunks)
      }
    })
  })

  private readonly pull = Effect.callback<readonly [Uint8Array, ...Array<Uint8Array>], Socket.SocketError>((resume) => {
    const read = () => {
      const [first, ...rest] = this.incoming
      if (first !== undefined) {
        this.reading = undefined
        // With a read size, each piece is its own read; otherwise everything arrives at once.
        this.incoming = this.readSize === Infinity ? [] : rest
        resume(Effect.succeed(this.readSize === Infinity ? [first, ...rest] : [first]))
      } else if (this.readEnd !== undefined) {
        this.reading = undefined
        resume(Effect.fail(this.readEnd))
      }
    }
    this.reading = read
    read()
    return Effect.sync(() => {
      if (this.reading === read) this.reading = undefined
    })
  })

  private write(chunks: ReadonlyArray<Uint8Array | string>): Effect.Effect<void, Socket.SocketError> {
    const bytes = concat(chunks.map((chunk) => typeof chunk === "string" ? encoder.encode(chunk) : chunk))
    return Effect.callback((resume) => {
      const write = () => {
        if (this.writeEnd !== undefined) return resume(Effect.fail(this.writeEnd))
        if (this.stalled && this.permits-- <= 0) return
        this.writing.delete(write)
        this.take(bytes)
        resume(Effect.void)
      }
      this.writing.add(write)
      write()
      return Effect.sync(() => this.writing.delete(write))
    })
  }

  private take(bytes: Uint8Array): void {
    this.bytesTaken += bytes.length
    const missing = Math.min(8 - this.greeting.length, bytes.length)
    this.greeting = concat([this.greeting, bytes.subarray(0, missing)])
    this.parser.push(bytes.slice(missing))
  }

  private onMethod(channel: number, method: Method): void {
    this.frames.push({ type: "method", channel, size: 0 })
    if (method._tag === "basic.publish") return this.assembler(channel).start(method)
    assert.isTrue(this.assembler(channel).idle, `${method._tag} came within a message`)
    this.received.push({ channel, method, properties: noBytes, body: noBytes })
  }

  private onContent(channel: number, content: Content<BasicPublish> | undefined): void {
    if (content === undefined) return
    const { body, method, properties } = content
    this.received.push({ channel, method, properties, body })
  }

  private assembler(channel: number): ContentAssembler<BasicPublish> {
    const assembler = this.assemblers.get(channel) ?? new ContentAssembler(Infinity)
    this.assemblers.set(channel, assembler)
    return assembler
  }

  private endReads(error: Socket.SocketError): void {
    this.readEnd ??= error
    this.reading?.()
  }

  // ---------------------------------------------------------------------------
  // the script's side: what the client sent
  // ---------------------------------------------------------------------------

  /** Takes the next method of the client, if there is one. */
  readonly next: Effect.Effect<Received | undefined> = Effect.gen({ self: this }, function*() {
    for (let turn = 0; turn < turnsToRest && this.received.length === 0; turn++) yield* Effect.yieldNow
    return this.received.shift()
  })

  /** Takes the next method of the client, which must be this one. */
  expect<Tag extends ClientMethod["_tag"]>(tag: Tag, channel?: number): Effect.Effect<MethodOf<Tag>> {
    return Effect.map(this.next, (next) => {
      assert.strictEqual(next?.method._tag ?? "nothing", tag, `what the client sent: ${JSON.stringify(next?.method)}`)
      if (channel !== undefined) assert.strictEqual(next?.channel, channel, `the channel of ${tag}`)
      // The tag was compared, so the method has this type.
      return next?.method as MethodOf<Tag>
    })
  }

  /** Takes the next method of the client, which must be a publish with this text, and returns the whole message. */
  expectPublish(text?: string, channel?: number): Effect.Effect<Published> {
    return Effect.map(this.next, (next) => {
      const { body, method, properties } = next ?? assert.fail("the client published nothing")
      if (method._tag !== "basic.publish") return assert.fail(`the client sent ${method._tag} and no publish`)
      const published = { ...method, properties: decodeProperties(properties), body, text: decoder.decode(body) }
      if (text !== undefined) assert.strictEqual(published.text, text)
      if (channel !== undefined) assert.strictEqual(next?.channel, channel)
      return published
    })
  }

  /** Asserts that the client has sent nothing more. */
  readonly expectNothing: Effect.Effect<void> = Effect.map(
    this.next,
    (next) => assert.isUndefined(next, `the client sent ${JSON.stringify(next)}`)
  )

  /** Takes all remaining methods of the client, and returns their names. */
  readonly takeTags: Effect.Effect<ReadonlyArray<MethodTag>> = Effect.map(
    rest,
    () => this.received.splice(0).map(({ method }) => method._tag)
  )

  /** Takes the protocol header. */
  readonly expectGreeting: Effect.Effect<void> = Effect.map(
    rest,
    () => assert.deepStrictEqual(this.greeting, Uint8Array.of(65, 77, 81, 80, 0, 0, 9, 1))
  )

  /** The number of bytes that the client has not read yet. */
  get bytesUnread(): number {
    return this.incoming.reduce((sum, { length }) => sum + length, 0)
  }

  // ---------------------------------------------------------------------------
  // the script's side: what the server does
  // ---------------------------------------------------------------------------

  /** Has these bytes arrive in one read. */
  push(...bytes: ReadonlyArray<Uint8Array>): Effect.Effect<void> {
    return Effect.sync(() => {
      const all = concat(bytes)
      for (let at = 0; at < all.length; at += this.readSize) this.incoming.push(all.slice(at, at + this.readSize))
      this.reading?.()
    })
  }

  send(channel: number, ...methods: ReadonlyArray<ServerMethod>): Effect.Effect<void> {
    return this.push(methodBytes(channel, ...methods))
  }

  readonly heartbeat: Effect.Effect<void> = this.push(heartbeatFrame)

  /** Takes the next method of the client, which must be this one, and replies to it. */
  answer(channel: number, tag: ClientMethod["_tag"], ...replies: ReadonlyArray<ServerMethod>): Effect.Effect<void> {
    return Effect.andThen(this.expect(tag, channel), this.send(channel, ...replies))
  }

  /** The handshake of a broker. Returns the replies of the client. */
  handshake(options: ServerOptions = {}): Effect.Effect<
    { readonly startOk: MethodOf<"connection.start-ok">; readonly tuneOk: MethodOf<"connection.tune-ok"> }
  > {
    return Effect.gen({ self: this }, function*() {
      yield* this.expectGreeting
      yield* this.send(0, start(options))
      const startOk = yield* this.expect("connection.start-ok", 0)
      yield* this.send(0, tune(options))
      const tuneOk = yield* this.expect("connection.tune-ok", 0)
      yield* this.answer(0, "connection.open", { _tag: "connection.open-ok" })
      return { startOk, tuneOk }
    })
  }

  openChannel(channel = 1): Effect.Effect<void> {
    return this.answer(channel, "channel.open", { _tag: "channel.open-ok" })
  }

  closeChannel(channel = 1): Effect.Effect<void> {
    return this.answer(channel, "channel.close", { _tag: "channel.close-ok" })
  }

  /** Takes the close of a consumer's channel, and replies to it. */
  closeConsumer(channel = 1): Effect.Effect<void> {
    return this.closeChannel(channel)
  }

  /** Stops taking the client's bytes. */
  readonly stall: Effect.Effect<void> = Effect.sync(() => {
    this.stalled = true
  })

  /** Takes the client's bytes again. */
  readonly unstall: Effect.Effect<void> = Effect.sync(() => {
    this.stalled = false
    for (const write of this.writing) write()
  })

  /** Takes the client's current write, and no further ones. */
  readonly takeOneWrite: Effect.Effect<void> = Effect.sync(() => {
    this.permits = 1
    for (const write of this.writing) write()
    this.permits = 0
  })

  /** Fails the client's reads, after the bytes that it has not read yet. */
  failReads(error: Socket.SocketError): Effect.Effect<void> {
    return Effect.sync(() => this.endReads(error))
  }

  /** Fails the client's writes. */
  failWrites(error: Socket.SocketError): Effect.Effect<void> {
    return Effect.sync(() => {
      this.writeEnd = error
      for (const write of this.writing) write()
    })
  }

  /** Closes the socket without an error. */
  readonly hangUp: Effect.Effect<void> = this.failReads(closeCode(1000))
}

// -----------------------------------------------------------------------------
// scripts
// -----------------------------------------------------------------------------

/**
 * Runs a script with a new peer. At its end the peer closes the socket, so that nothing waits for a reply after that, and the client
 * must not leave a socket or a fiber behind (X5).
 */
export const script = <A, E>(body: (peer: Peer) => Effect.Effect<A, E, Scope.Scope>): Effect.Effect<A, E> =>
  Effect.gen(function*() {
    const peer = new Peer()
    const fibers = countingFibers()
    // On its own fiber, so that what the script forks ends with it.
    const fiber = yield* Effect.suspend(() => body(peer)).pipe(
      Effect.ensuring(peer.hangUp),
      Effect.scoped,
      fibers.counted,
      Effect.forkChild({ startImmediately: true })
    )
    const result = yield* Fiber.join(fiber)
    yield* rest
    assert.isFalse(peer.isOpen, "the socket is open")
    assert.isFalse(peer.isWritable, "the socket's write side is open")
    assert.strictEqual(fibers.running, 0, "fibers that are left")
    return result
  })

export interface ConnectedOptions {
  readonly client?: AmqpConnection.Options | undefined
  readonly server?: ServerOptions | undefined
}

type Connection = AmqpConnection.AmqpConnection["Service"]

/** Connects to the peer, with the standard handshake. */
export const connect = (
  peer: Peer,
  { client, server }: ConnectedOptions = {}
): Effect.Effect<Connection, AmqpConnectionError, Scope.Scope> =>
  Effect.gen(function*() {
    const fiber = yield* fork(dial(peer, client))
    yield* peer.handshake(server)
    return yield* Fiber.join(fiber)
  })

/** Connects to a peer, whose handshake is left to the script. By default, no idle channel is kept, and there is no recovery. */
export const dial = (
  peer: Peer,
  client?: AmqpConnection.Options
): Effect.Effect<Connection, AmqpConnectionError, Scope.Scope> =>
  Effect.provideService(
    AmqpConnection.make({ ...singleSession, maxIdleChannels: 0, ...client }),
    Socket.Socket,
    peer.socket
  )

/** As {@link script}, with a connection that is open. */
export const connected = <A, E>(
  body: (peer: Peer, connection: Connection) => Effect.Effect<A, E, Scope.Scope | AmqpConnection.AmqpConnection>,
  options: ConnectedOptions = {}
): Effect.Effect<A, E | AmqpConnectionError> =>
  script((peer) =>
    Effect.flatMap(
      connect(peer, options),
      (connection) => Effect.provideService(body(peer, connection), AmqpConnection.AmqpConnection, connection)
    )
  )

// -----------------------------------------------------------------------------
// the client's parts
// -----------------------------------------------------------------------------

/** Declares a queue on its own channel. */
export const declare = (queue: string) => AmqpChannel.run(AmqpQueue.declare(queue))

/** The server's part of {@link declare}. */
export const serveDeclare = (peer: Peer, queue: string, channel = 1): Effect.Effect<void> =>
  Effect.gen(function*() {
    yield* peer.openChannel(channel)
    yield* peer.answer(channel, "queue.declare", declareOk(queue))
    yield* peer.closeChannel(channel)
  })

export const toQueue: AmqpChannel.PublishOptions = { exchange: "", routingKey: "q" }

/** Opens a publisher on this channel. */
export const openPublisher = (peer: Peer, channel = 1, options?: AmqpPublisher.Options) =>
  Effect.gen(function*() {
    const fiber = yield* fork(AmqpPublisher.make(options))
    yield* peer.openChannel(channel)
    yield* peer.answer(channel, "confirm.select", { _tag: "confirm.select-ok" })
    return yield* resultOf(fiber)
  })

export const ack = (deliveryTag: number, multiple = false): MethodOf<"basic.ack"> => ({
  _tag: "basic.ack",
  deliveryTag,
  multiple
})

export const nack = (deliveryTag: number, multiple = false): MethodOf<"basic.nack"> => ({
  _tag: "basic.nack",
  deliveryTag,
  multiple,
  requeue: false
})

/** Requeues a message without counting it as rejected. */
export const handedBack = (deliveryTag: number): MethodOf<"basic.nack"> => ({
  _tag: "basic.nack",
  deliveryTag,
  multiple: false,
  requeue: true
})

export const rejected = (deliveryTag: number, requeue: boolean): MethodOf<"basic.reject"> => ({
  _tag: "basic.reject",
  deliveryTag,
  requeue
})

/** Starts to publish a text to a queue, and takes the publish at the server. */
export const publishText = (peer: Peer, publisher: AmqpPublisher.AmqpPublisher["Service"], text: string) =>
  Effect.tap(fork(publisher.publish(AmqpMessage.text(text), toQueue)), () => peer.expectPublish(text))

/** Has a part of the client consume on this channel. Returns its fiber and the consumer tag. */
export const openConsumer = <A, E, R>(peer: Peer, consumer: Effect.Effect<A, E, R>, channel = 1, hasLimit = true) =>
  Effect.gen(function*() {
    const fiber = yield* fork(consumer)
    yield* peer.openChannel(channel)
    if (hasLimit) yield* peer.answer(channel, "basic.qos", { _tag: "basic.qos-ok" })
    const { consumerTag } = yield* peer.expect("basic.consume", channel)
    yield* peer.send(channel, { _tag: "basic.consume-ok", consumerTag })
    return { fiber, consumerTag }
  })

/** A handler that waits until the script opens its gate, and then acknowledges. */
export const gated = () => {
  const gate = Latch.makeUnsafe()
  const started: Array<string> = []
  const handler = (delivery: { readonly text: string }) =>
    Effect.suspend(() => {
      started.push(delivery.text)
      return Effect.as(gate.await, AmqpDelivery.ack)
    })
  return { gate, started, handler }
}

/**
 * Has a request wait for its reply on channel 1, a publish for its confirm on 2, a consumer for messages on 3, and a fiber for the
 * close. Returns a function that asserts that all of them failed with the same cause (E13).
 */
export const waiters = (peer: Peer, connection: Connection) =>
  Effect.gen(function*() {
    const request = yield* fork(declare("q"))
    yield* peer.openChannel(1)
    yield* peer.expect("queue.declare", 1)
    const publisher = yield* openPublisher(peer, 2)
    const publish = yield* publishText(peer, publisher, "hello")
    const { fiber: consumer } = yield* openConsumer(peer, Stream.runDrain(AmqpConsumer.stream("q")), 3)
    const closed = yield* fork(connection.awaitClosed)
    return <Tag extends ConnectionErrorReason["_tag"]>(tag: Tag) =>
      Effect.gen(function*() {
        const ended = yield* failureOf(consumer)
        if (ended._tag !== "AmqpChannelError") return assert.fail(`the consumer ended with ${ended._tag}`)
        const causes = [
          yield* reasonOf(request, "ConnectionLost"),
          (yield* reasonOf(publish, "OutcomeUnknown")).cause.reason,
          ended.reason
        ]
        for (const cause of causes) {
          if (cause._tag !== "ConnectionLost") return assert.fail(`a waiter failed with ${cause._tag}`)
          assertReason(cause.cause, tag)
        }
        return yield* reasonOf(closed, tag)
      })
  })

// -----------------------------------------------------------------------------
// the client's fibers
// -----------------------------------------------------------------------------

/** Runs a part of the client in the background of the script. */
export const fork = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<Fiber.Fiber<A, E>, never, R> =>
  Effect.forkChild(self, { startImmediately: true })

/** The exit of a fiber. Fails the test if it still waits. */
export const exitOf = <A, E>(fiber: Fiber.Fiber<A, E>): Effect.Effect<Exit.Exit<A, E>> =>
  Effect.map(rest, () => fiber.pollUnsafe() ?? assert.fail("the fiber still waits"))

/** The result of a fiber. */
export const resultOf = <A, E>(fiber: Fiber.Fiber<A, E>): Effect.Effect<A, E> => Effect.flatten(exitOf(fiber))

/** The error of a fiber. */
export const failureOf = <A, E>(fiber: Fiber.Fiber<A, E>): Effect.Effect<E> =>
  Effect.catch(Effect.flip(resultOf(fiber)), (value) => Effect.die(new Error(`succeeded with ${String(value)}`)))

/** Asserts that a fiber has not ended. */
export const assertWaits = <A, E>(fiber: Fiber.Fiber<A, E>): Effect.Effect<void> =>
  Effect.map(rest, () => assert.isUndefined(fiber.pollUnsafe(), "the fiber ended"))

/** Asserts the tag of an error's reason, and returns the reason. */
export const assertReason = <R extends { readonly _tag: string; readonly message: string }, Tag extends R["_tag"]>(
  error: { readonly reason: R },
  tag: Tag
): Extract<R, { readonly _tag: Tag }> => {
  assert.strictEqual(error.reason._tag, tag, error.reason.message)
  // The tag was compared, so the reason has this type.
  return error.reason as Extract<R, { readonly _tag: Tag }>
}

/** Asserts that a fiber failed with this reason, and returns the reason. */
export const reasonOf = <A, R extends { readonly _tag: string; readonly message: string }, Tag extends R["_tag"]>(
  fiber: Fiber.Fiber<A, { readonly reason: R }>,
  tag: Tag
): Effect.Effect<Extract<R, { readonly _tag: Tag }>> =>
  Effect.map(failureOf(fiber), (error) => assertReason(error, tag))
