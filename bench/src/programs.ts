/**
 * The command that runs each client: the worker for modules, the program that was built for others.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { fileURLToPath } from "node:url"
import type { ClientName } from "./clients.ts"
import { clients } from "./clients.ts"
import type { Program } from "./clients/entry.ts"

const workerFile = fileURLToPath(new URL("./worker.ts", import.meta.url))

/** The script that publishes one message; see `bench/start`. */
export const startCommand = (client: ClientName): Program["command"] => [
  process.execPath,
  fileURLToPath(new URL(`../start/${client}.mjs`, import.meta.url))
]

export interface Prepared {
  readonly client: ClientName
  readonly command: Program["command"]
  /** Of programs that are not npm packages. */
  readonly version: string | undefined
}

/** A client that this machine can't run. */
export interface Unavailable {
  readonly client: ClientName
  readonly reason: string
}

const prepareOne = (client: ClientName): Effect.Effect<Prepared, Unavailable> => {
  const entry = clients[client]
  return "load" in entry
    ? Effect.succeed({ client, command: [process.execPath, workerFile], version: undefined })
    : Effect.map(
      Effect.tryPromise({
        try: () => entry.build(),
        catch: (cause): Unavailable => ({ client, reason: cause instanceof Error ? cause.message : String(cause) })
      }),
      ({ command, version }) => ({ client, command, version })
    )
}

/** Builds the programs, one after another. */
export const prepare = Effect.fnUntraced(function*(names: ReadonlyArray<ClientName>) {
  const prepared: Array<Prepared> = []
  const unavailable: Array<Unavailable> = []
  for (const name of names) {
    const result = yield* Effect.result(prepareOne(name))
    if (Result.isSuccess(result)) prepared.push(result.success)
    else unavailable.push(result.failure)
  }
  return { prepared, unavailable }
})
