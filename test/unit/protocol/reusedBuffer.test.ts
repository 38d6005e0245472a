// A transport reads into the same memory again if the parser says that it keeps nothing.
import { decodeProperties } from "@effect-amqp/core/protocol/BasicProperties"
import { ContentAssembler } from "@effect-amqp/core/protocol/ContentAssembler"
import type { Content } from "@effect-amqp/core/protocol/ContentAssembler"
import type { FieldTable } from "@effect-amqp/core/protocol/fieldTable"
import { FrameParser } from "@effect-amqp/core/protocol/FrameParser"
import { encodeBodyFrames, encodeHeaderFrame, encodeMethodFrame } from "@effect-amqp/core/protocol/frames"
import type { Method } from "@effect-amqp/core/protocol/methods.generated"
import { assert, it } from "@effect/vitest"
import { Dice } from "../../support/dice.ts"
import { concat, written } from "./support.ts"

interface Message {
  readonly body: Uint8Array
  readonly headers: FieldTable
}

for (let seed = 1; seed <= 40; seed++) {
  it(`keeps what it has read when the memory is used again (seed ${seed})`, () => {
    const dice = new Dice(seed)
    const bytes = (max: number): Uint8Array =>
      Uint8Array.from({ length: dice.between(0, max) }, () => dice.between(0, 255))
    const sent: Array<Message | Method> = []
    const stream = concat(
      Array.from({ length: 30 }, (_, index) =>
        written((writer) => {
          const headers: FieldTable = { bytes: bytes(20), text: `${index}`, nested: { more: bytes(5) } }
          if (dice.chance(30)) {
            const method: Method = {
              _tag: "queue.declare",
              queue: `q${index}`,
              passive: false,
              durable: false,
              exclusive: false,
              autoDelete: false,
              noWait: false,
              arguments: headers
            }
            sent.push(method)
            return encodeMethodFrame(writer, 1, method)
          }
          const body = bytes(dice.oneOf(0, 10, 5000, 30_000))
          sent.push({ body, headers })
          encodeMethodFrame(writer, 2, {
            _tag: "basic.deliver",
            consumerTag: "c",
            deliveryTag: index,
            redelivered: false,
            exchange: "",
            routingKey: "k"
          })
          encodeHeaderFrame(writer, 2, body.length, { headers })
          encodeBodyFrames(writer, 2, body, dice.oneOf(4096, 4104, 8192, 0))
          writer.commit()
        }))
    )
    const received: Array<Content | Method> = []
    const assembler = new ContentAssembler(1024 * 1024)
    const add = (content: Content | undefined): void => void (content !== undefined && received.push(content))
    const parser = new FrameParser({
      onMethod: (_, method) => method._tag === "basic.deliver" ? assembler.start(method) : void received.push(method),
      onHeader: (_, header) => add(assembler.header(header)),
      onBody: (_, payload, isPart) => add(assembler.body(payload, isPart)),
      onHeartbeat: () => {}
    }, { maxFrameSize: 0 })
    const size = 20_000
    let buffer = new Uint8Array(size)
    for (let at = 0; at < stream.length;) {
      const length = Math.min(stream.length - at, dice.between(1, dice.oneOf(8, 1000, size)))
      buffer.fill(0xee)
      buffer.set(stream.subarray(at, at + length))
      at += length
      if (parser.push(buffer.subarray(0, length))) buffer = new Uint8Array(size)
      else buffer.fill(0xdd)
    }
    assert.deepStrictEqual(
      received.map((one) =>
        "body" in one ? { body: one.body, headers: decodeProperties(one.properties).headers } : one
      ),
      sent
    )
  })
}
