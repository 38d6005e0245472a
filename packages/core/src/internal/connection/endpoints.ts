/**
 * The order in which the endpoints of a connection are tried.
 *
 * A round tries each endpoint once. After a loss, it begins with the endpoint that follows the lost one.
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type { Endpoint } from "../../AmqpConnection.ts"
import { EndpointsFailed } from "../../AmqpError.ts"
import type { AmqpConnectionError } from "../../AmqpError.ts"
import { connectionError } from "./connectionErrors.ts"

export class Round {
  private readonly endpoints: Array<Endpoint>
  private readonly failures: Array<{ readonly endpoint: Endpoint; readonly error: AmqpConnectionError }> = []

  constructor(endpoints: ReadonlyArray<Endpoint>) {
    this.endpoints = [...endpoints]
  }

  /** Takes the next endpoint. `undefined` at the end of the round. */
  next(): Endpoint | undefined {
    return this.endpoints.shift()
  }

  failed(endpoint: Endpoint, error: AmqpConnectionError): void {
    this.failures.push({ endpoint, error })
  }

  /** Why no endpoint of a round could be used: for a single one its own error. */
  get error(): AmqpConnectionError {
    const failures: Array<EndpointsFailed["failures"][number]> = []
    for (const { endpoint, error: { reason } } of this.failures) {
      if (!(reason instanceof EndpointsFailed)) failures.push({ endpoint: endpoint.name, reason })
    }
    const [{ error }] = this.failures
    return failures.length === 1 ? error : connectionError(new EndpointsFailed({ failures }))
  }
}

/** Makes the rounds of a connection. */
export class Endpoints {
  readonly all: NonEmptyReadonlyArray<Endpoint>
  private readonly isShuffled: boolean

  constructor(all: NonEmptyReadonlyArray<Endpoint>, isShuffled: boolean) {
    this.all = all
    this.isShuffled = isShuffled
  }

  /** A round in which the endpoint that was used last comes last. */
  readonly round = (last: Endpoint | undefined): Effect.Effect<Round> =>
    Effect.gen({ self: this }, function*() {
      const from = last === undefined ? 0 : this.all.indexOf(last) + 1
      const rotated = [...this.all.slice(from), ...this.all.slice(0, from)]
      if (!this.isShuffled) return new Round(rotated)
      const shuffled = yield* Random.shuffle(rotated.filter((endpoint) => endpoint !== last))
      return new Round(last === undefined ? shuffled : [...shuffled, last])
    })
}
