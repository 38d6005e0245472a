import * as AmqpConnection from "@effect-amqp/core/AmqpConnection"
import { AuthenticationFailed, HandshakeTimeout } from "@effect-amqp/core/AmqpError"
import { connectionError } from "@effect-amqp/core/internal/connection/connectionErrors"
import { Endpoints, Round } from "@effect-amqp/core/internal/connection/endpoints"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import { dialNetwork, eachSecond, Network, recovering, refused, scriptNetwork } from "../../support/scriptedNetwork.ts"
import { assertWaits, connectionClose, fork, reasonOf, rest, resultOf, start } from "../../support/scriptedPeer.ts"

const untrusted = refused("self-signed certificate", { isRetryable: false })

describe("a connection with several endpoints", () => {
  it.effect("H13: tries the next one at once when one is refused, fails its TLS handshake or is silent", () =>
    scriptNetwork((network) =>
      Effect.gen(function*() {
        network.faults.set("refusing", Effect.fail(refused()))
        network.faults.set("untrusted", Effect.fail(untrusted))
        const connecting = yield* fork(
          dialNetwork(network, { handshakeTimeout: "5 seconds" }, ["refusing", "untrusted", "silent", "good"])
        )
        yield* network.accept
        yield* network.expectDialed("refusing", "untrusted", "silent")
        yield* TestClock.adjust("4999 millis")
        yield* network.expectDialed()
        yield* TestClock.adjust("1 millis")
        yield* network.serve()
        const connection = yield* resultOf(connecting)
        assert.deepStrictEqual(yield* connection.state, { _tag: "Open", endpoint: "good" })
        yield* network.expectDialed("good")
      })
    ))

  it.effect("H13: fails with what was wrong with each of them", () =>
    scriptNetwork((network) =>
      Effect.gen(function*() {
        network.faults.set("a:5672", Effect.fail(refused()))
        network.faults.set("b:5672", Effect.fail(untrusted))
        const connecting = yield* fork(dialNetwork(network, {}, ["a:5672", "b:5672", "c:5672"]))
        const peer = yield* network.accept
        yield* peer.send(0, start())
        yield* peer.answer(0, "connection.start-ok", connectionClose(403, "ACCESS_REFUSED - see the broker's logfile."))
        const reason = yield* reasonOf(connecting, "EndpointsFailed")
        assert.deepStrictEqual(
          reason.failures.map(({ endpoint, reason }) => [endpoint, reason._tag, reason.isRetryable]),
          [["a:5672", "ConnectFailed", true], ["b:5672", "ConnectFailed", false], [
            "c:5672",
            "AuthenticationFailed",
            false
          ]]
        )
        assert.strictEqual(
          reason.message,
          "None of the 3 endpoints could be used. " +
            "a:5672: Cannot reach the broker: connect ECONNREFUSED 127.0.0.1:5672. " +
            "b:5672: Cannot reach the broker: self-signed certificate. " +
            `c:5672: The broker refused the credentials of user "guest": ACCESS_REFUSED - see the broker's logfile`
        )
        assert.isTrue(reason.isRetryable)
      })
    ))

  it.effect("continues with the endpoint after the one that was lost, and pauses only after a whole round", () =>
    recovering(
      ({ network, peer }) =>
        Effect.gen(function*() {
          yield* TestClock.adjust("10 seconds")
          for (const name of ["a", "b", "c"]) network.faults.set(name, Effect.fail(refused()))
          yield* peer.hangUp
          yield* network.expectDialed("b", "c", "a")
          yield* TestClock.adjust("999 millis")
          yield* network.expectDialed()
          network.faults.delete("a")
          yield* TestClock.adjust("1 millis")
          yield* network.serve()
          yield* network.expectDialed("b", "c", "a")
        }),
      {},
      ["a", "b", "c"]
    ))

  it.effect("N6: pauses after a round in which each one accepts and closes the connection", () =>
    recovering(
      ({ network, peer }) =>
        Effect.gen(function*() {
          yield* peer.hangUp
          yield* Effect.andThen(network.serve(), rest)
          yield* network.hangUp
          // The first of them was part of this round.
          yield* network.expectDialed("b")
          yield* TestClock.adjust("1 second")
          yield* network.expectDialed("a")
        }),
      {},
      ["a", "b"]
    ))

  it.effect("tries them in another order each time, unless the order is given", () =>
    Effect.gen(function*() {
      const orders = (endpointOrder: "ordered" | undefined) =>
        Effect.forEach(Array.from({ length: 60 }), () =>
          scriptNetwork((network) =>
            Effect.gen(function*() {
              for (const name of ["a", "b", "c"]) network.faults.set(name, Effect.fail(refused()))
              yield* Effect.flip(dialNetwork(network, { endpointOrder }, ["a", "b", "c"]))
              return network.dialed.join("")
            })
          ))
      assert.strictEqual(new Set(yield* orders(undefined)).size, 6)
      assert.deepStrictEqual([...new Set(yield* orders("ordered"))], ["abc"])
    }))

  it.effect("logs in with the credentials of each endpoint, unless the connection has some", () =>
    scriptNetwork((network) =>
      Effect.gen(function*() {
        for (const given of [undefined, { username: "own", password: Redacted.make("p") }]) {
          const connecting = yield* fork(AmqpConnection.makeFrom(
            ["ann", "ben"].map((username) => ({
              ...network.endpoint(username),
              credentials: { username, password: Redacted.make("p") }
            })) as [AmqpConnection.Endpoint, AmqpConnection.Endpoint],
            { endpointOrder: "ordered", credentials: given }
          ))
          for (const name of ["ann", "ben"]) {
            const peer = yield* network.accept
            yield* peer.send(0, start())
            const { response } = yield* peer.expect("connection.start-ok")
            assert.strictEqual(new TextDecoder().decode(response), `\0${given?.username ?? name}\0p`)
            yield* peer.hangUp
          }
          yield* reasonOf(connecting, "EndpointsFailed")
        }
      })
    ))

  it.effect("S10: stops when both refuse their own credentials three times", () =>
    scriptNetwork((network) =>
      Effect.gen(function*() {
        const endpoint = (username: string) => ({
          ...network.endpoint(username),
          credentials: { username, password: Redacted.make("p") }
        })
        const connecting = yield* fork(AmqpConnection.makeFrom([endpoint("ann"), endpoint("ben")], {
          endpointOrder: "ordered",
          recovery: { ...eachSecond, initial: "retry" }
        }))
        for (let attempt = 0; attempt < 6; attempt++) {
          yield* assertWaits(connecting)
          const peer = yield* network.accept
          yield* peer.send(0, start())
          yield* peer.answer(0, "connection.start-ok", connectionClose(403, "ACCESS_REFUSED"))
          yield* rest
          yield* TestClock.adjust("1 second")
        }
        assert.isFalse((yield* reasonOf(connecting, "EndpointsFailed")).isRetryable)
      })
    ))
})

describe("the rounds over endpoints", () => {
  const names = ["a", "b", "c", "d"]
  const all = names.map((name): AmqpConnection.Endpoint => ({ name, socket: new Network().endpoint(name).socket }))
  const [a, b, c, d] = all
  const drain = (round: Round) => {
    const found: Array<string> = []
    for (let next = round.next(); next !== undefined; next = round.next()) found.push(next.name)
    return found.join("")
  }
  const timeout = new HandshakeTimeout({ phase: "the socket" })
  const denied = new AuthenticationFailed({ username: "ann", replyText: "no" })

  it.effect("begin after the last used endpoint, in the given order", () =>
    Effect.gen(function*() {
      const endpoints = new Endpoints([a, b, c, d], false)
      assert.strictEqual(drain(yield* endpoints.round(undefined)), "abcd")
      assert.strictEqual(drain(yield* endpoints.round(b)), "cdab")
      assert.strictEqual(drain(yield* endpoints.round(d)), "abcd")
    }))

  it.effect("are shuffled, with the last used endpoint at the end", () =>
    Effect.gen(function*() {
      const endpoints = new Endpoints([a, b, c, d], true)
      const first = new Set<string>()
      const later = new Set<string>()
      for (let count = 0; count < 500; count++) {
        first.add(drain(yield* endpoints.round(undefined)))
        later.add(drain(yield* endpoints.round(b)))
      }
      assert.strictEqual(first.size, 24)
      assert.strictEqual(later.size, 6)
      assert.isTrue([...later].every((order) => order.endsWith("b")))
    }))

  it.effect("have one round if there is one endpoint", () =>
    Effect.gen(function*() {
      for (const isShuffled of [true, false]) {
        const endpoints = new Endpoints([a], isShuffled)
        assert.strictEqual(drain(yield* endpoints.round(a)), "a")
      }
    }))

  it("fail with the error of a single endpoint, and with those of several", () => {
    const single = new Round([a])
    const error = connectionError(timeout)
    single.failed(a, error)
    assert.strictEqual(single.error, error)
    const several = new Round([a, b])
    several.failed(a, connectionError(timeout))
    several.failed(b, connectionError(denied))
    const { reason } = several.error
    if (reason._tag !== "EndpointsFailed") return assert.fail(reason._tag)
    assert.deepStrictEqual(reason.failures, [
      { endpoint: "a", reason: timeout },
      { endpoint: "b", reason: denied }
    ])
    assert.isTrue(reason.isRetryable)
  })
})
