import { assert, beforeAll, describe, it } from "@effect/vitest"
import { compile } from "../support/compile.ts"
import type { Diagnostic } from "../support/compile.ts"

// `test/types` shows that misuses are rejected. These tests check that the compiler says what to do instead.

/** The compiler's messages for each misuse, each in its own file. */
const messagesOf = async (name: string, imports: string, misuses: Readonly<Record<string, string>>) => {
  const files = Object.fromEntries(
    Object.entries(misuses).map(([name, misuse]) => [`${name}.ts`, `${imports}${misuse}\n`])
  )
  const diagnostics: ReadonlyArray<Diagnostic> = await compile(name, files)
  return (misuse: string) => diagnostics.filter(({ file }) => file === `${misuse}.ts`).map(({ message }) => message)
}

const advice = "A channel program is not an Effect: a channel belongs to one fiber. " +
  "Combine programs with AmqpChannel.gen and run the whole with AmqpChannel.run."

const imports = `
  import { AmqpChannel, AmqpConnection, AmqpQueue } from "@effect-amqp/core"
  import * as Effect from "effect/Effect"
  import * as Layer from "effect/Layer"
  import * as Stream from "effect/Stream"
  const program = AmqpQueue.declare("orders")
`

const misuses = {
  forking: "Effect.forkChild(program)",
  "forking, in a pipe": "program.pipe(Effect.forkChild)",
  "Effect.all": "Effect.all([program, program], { concurrency: 2 })",
  "Effect.forEach": "Effect.forEach([1, 2], () => program, { concurrency: 2 })",
  racing: "Effect.race(program, program)",
  "a timeout": "Effect.timeout(program, \"1 second\")",
  caching: "Effect.cached(program)",
  "a stream": "Stream.mapEffect(Stream.make(1), () => program, { concurrency: 4 })",
  "a layer": "Layer.effectDiscard(program)",
  "running without a channel": "Effect.runPromise(program)",
  "providing a connection": "Effect.provide(program, {} as Layer.Layer<AmqpConnection.AmqpConnection>)",
  "a step of an Effect": "Effect.gen(function*() { yield* program })",
  "a step of a traced function": "Effect.fn(\"orders\")(function*() { yield* program })",
  "a step after an Effect": "Effect.flatMap(Effect.void, () => program)",
  "an assignment to an Effect type": "const effect: Effect.Effect<unknown, unknown> = program"
}

describe("the compiler explains that a channel program is not an Effect:", () => {
  let messages: (misuse: string) => ReadonlyArray<string>

  beforeAll(async () => {
    messages = await messagesOf("type-messages", imports, misuses)
  })

  it.for(Object.keys(misuses))("%s", (name) => {
    assert.isNotEmpty(messages(name))
    for (const message of messages(name)) assert.include(message, advice)
  })
})

const handlerImports = `
  import { AmqpConsumer, AmqpDelivery } from "@effect-amqp/core"
  import * as Effect from "effect/Effect"
  declare const isValid: (text: string) => boolean
`

const handlers = {
  "that returns nothing": "({ text }) => Effect.log(text)",
  "that does nothing": "() => Effect.void",
  "that is not an Effect": "({ text }) => { isValid(text) }",
  "that returns something else": "({ text }) => Effect.succeed(text)",
  "that returns nothing on one path": `({ text }) => Effect.gen(function*() {
    if (isValid(text)) return AmqpDelivery.ack
    yield* Effect.log(text)
  })`
}

describe("the compiler explains the error of a handler", () => {
  let messages: (misuse: string) => ReadonlyArray<string>

  beforeAll(async () => {
    messages = await messagesOf(
      "handler-messages",
      handlerImports,
      Object.fromEntries(
        Object.entries(handlers).flatMap(([name, handler]) => [
          [`serve ${name}`, `AmqpConsumer.serve("orders", ${handler})`],
          [`layerServe ${name}`, `AmqpConsumer.layerServe("orders", ${handler})`]
        ])
      )
    )
  })

  it.for(Object.keys(handlers))("%s", (name) => {
    for (const misuse of [`serve ${name}`, `layerServe ${name}`]) {
      assert.lengthOf(messages(misuse), 1)
      assert.include(messages(misuse)[0], "A handler returns AmqpDelivery.ack, reject or requeue")
    }
  })
})
