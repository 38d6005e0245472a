import * as AmqpUri from "@effect-amqp/core/AmqpUri"
import { protectionOf } from "@effect-amqp/node/internal/protection"
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"

const levelOf = (url: string, acceptsAnyCertificate?: boolean) =>
  protectionOf(Result.getOrThrow(AmqpUri.parse(url)), acceptsAnyCertificate).level

describe("the protection level of a URL", () => {
  for (
    const host of [
      "localhost",
      "LOCALHOST",
      "localhost.",
      "app.localhost",
      "127.0.0.1",
      "127.8.9.1",
      "[::1]",
      "[0:0::1]"
    ]
  ) {
    it(`is Local for ${host}`, () => assert.strictEqual(levelOf(`amqp://${host}`), "Local"))
  }

  for (const host of ["[::ffff:127.0.0.1]", "[::ffff:7f00:1]"]) {
    it(`is Local for the IPv4-mapped address ${host}`, () => assert.strictEqual(levelOf(`amqp://${host}`), "Local"))
  }

  for (
    const host of [
      "rabbit",
      "localhost.example",
      "mylocalhost",
      "128.0.0.1",
      "10.0.0.1",
      "[::2]",
      "[2001:db8::1]",
      "0.0.0.0"
    ]
  ) {
    it(`is None for ${host}`, () => assert.strictEqual(levelOf(`amqp://${host}`), "None"))
  }

  it("is Verified with TLS, unless any certificate is accepted", () => {
    assert.strictEqual(levelOf("amqps://rabbit"), "Verified")
    assert.strictEqual(levelOf("amqps://rabbit?verify=verify_none"), "Unverified")
    assert.strictEqual(levelOf("amqps://rabbit", true), "Unverified")
    assert.strictEqual(levelOf("amqps://rabbit?verify=verify_none", false), "Verified")
    assert.strictEqual(levelOf("amqps://localhost?verify=verify_none"), "Local")
  })

  it("comes with the broker's host and port, without credentials", () => {
    const uri = Result.getOrThrow(AmqpUri.parse("amqp://user:secret@[2001:db8::1]:1234"))
    assert.strictEqual(protectionOf(uri).peer, "[2001:db8::1]:1234")
  })
})
