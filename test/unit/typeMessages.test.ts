import { assert, beforeAll, describe, it } from "@effect/vitest"
import { compile } from "../support/compile.ts"
import type { Diagnostic } from "../support/compile.ts"

// That a channel program is rejected where it must be is shown by `test/types`. Here: that the compiler says what to do.

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
  "running several at once": "Effect.all([program, program], { concurrency: 2 })",
  "running one for each element": "Effect.forEach([1, 2], () => program, { concurrency: 2 })",
  racing: "Effect.race(program, program)",
  "a timeout": "Effect.timeout(program, \"1 second\")",
  caching: "Effect.cached(program)",
  "a stream": "Stream.mapEffect(Stream.make(1), () => program, { concurrency: 4 })",
  "a layer": "Layer.effectDiscard(program)",
  "running without a channel": "Effect.runPromise(program)",
  "providing a connection": "Effect.provide(program, {} as Layer.Layer<AmqpConnection.AmqpConnection>)",
  "a step of an Effect": "Effect.gen(function*() { yield* program })",
  "a step of a traced function": "Effect.fn(\"orders\")(function*() { yield* program })",
  "going on after an Effect": "Effect.flatMap(Effect.void, () => program)",
  "an Effect by its type": "const effect: Effect.Effect<unknown, unknown> = program"
}

describe("the compiler, when a channel program is taken for an Effect, says to run it:", () => {
  let diagnostics: ReadonlyArray<Diagnostic> = []

  beforeAll(async () => {
    diagnostics = await compile(
      "type-messages",
      Object.fromEntries(Object.entries(misuses).map(([name, misuse]) => [`${name}.ts`, `${imports}${misuse}\n`]))
    )
  })

  it.for(Object.keys(misuses))("%s", (name) => {
    const messages = diagnostics.filter(({ file }) => file === `${name}.ts`).map(({ message }) => message)
    assert.isNotEmpty(messages)
    for (const message of messages) assert.include(message, advice)
  })
})
