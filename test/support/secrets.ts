/**
 * What tests look for secrets in: everything that a log or a person could get to see.
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { format } from "effect/Formatter"
import * as Logger from "effect/Logger"
import { inspect } from "node:util"

/** Bytes of a text as they show in an inspected buffer. */
const asBytes = (text: string, separator: string): string => [...new TextEncoder().encode(text)].join(separator)

/** Asserts that nothing that prints a value shows the secret, as text or as bytes. */
export const assertHides = (value: unknown, secret: string): void => {
  const texts = [
    String(value),
    inspect(value, { depth: Infinity, showHidden: true, maxArrayLength: Infinity, getters: true }),
    JSON.stringify(value) ?? "",
    format(value),
    value instanceof Error ? `${value.message}\n${value.stack}` : ""
  ]
  for (const text of texts) {
    const plain = text.replaceAll(/\s+/g, " ")
    for (const form of [secret, asBytes(secret, ", "), asBytes(secret, ",")]) {
      assert.isFalse(plain.includes(form), "a secret shows")
    }
  }
}

/** Collects what an Effect logs. */
export const logged = <A, E, R>(
  self: (lines: ReadonlyArray<string>) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const lines: Array<string> = []
    const logger = Logger.map(Logger.formatSimple, (line) => void lines.push(line))
    return Effect.provide(self(lines), Logger.layer([logger]))
  })
