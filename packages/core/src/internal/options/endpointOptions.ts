/** The endpoints of a connection, checked. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Predicate from "effect/Predicate"
import type { Endpoint } from "../../AmqpConnection.ts"
import * as Validation from "./validation.ts"

const keys = Validation.keysOf<Endpoint>({ name: true, socket: true, transport: true, credentials: true })

/** Throws an `InvalidArgument`: without types, the list may be empty or hold anything. */
export const resolveEndpoints = (given: NonEmptyReadonlyArray<Endpoint>): NonEmptyReadonlyArray<Endpoint> => {
  const endpoints: ReadonlyArray<unknown> = Array.isArray(given) ? given : []
  if (endpoints.length === 0) throw Validation.invalid("endpoints: must be a list of at least one endpoint")
  for (const endpoint of endpoints) {
    const { name, socket }: Partial<Endpoint> = Predicate.isObject(endpoint) ? endpoint : {}
    if (typeof name !== "string" || !Predicate.hasProperty(socket, "reader")) {
      throw Validation.invalid("endpoints: each endpoint must have a name and a socket")
    }
  }
  for (const endpoint of given) Validation.knownKeys(endpoint, keys, "the endpoint")
  return given
}
