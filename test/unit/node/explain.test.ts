import { explain, messageOf } from "@effect-amqp/node/internal/explain"
import { assert, describe, it } from "@effect/vitest"

const coded = (code: string, message: string, more?: Record<string, string>): Error =>
  Object.assign(new Error(message), { code, ...more })

const isRetryable = (error: Error): unknown => Reflect.get(error, "isRetryable")

describe("an explained error", () => {
  it("says what failed, why and what to do, and keeps its cause", () => {
    const cause = coded("ECONNREFUSED", "connect ECONNREFUSED 127.0.0.1:5672")
    const error = explain("127.0.0.1:5672", cause)
    assert.strictEqual(
      error.message,
      "127.0.0.1:5672: connect ECONNREFUSED 127.0.0.1:5672 " +
        "(nothing listens there; is the broker running, and is this its port?)"
    )
    assert.strictEqual(error.cause, cause)
  })

  it("adds nothing to an unknown error", () => {
    assert.strictEqual(explain("broker:5672", coded("EOTHER", "read EOTHER")).message, "broker:5672: read EOTHER")
    assert.strictEqual(explain("broker:5672", new Error("odd")).message, "broker:5672: odd")
  })

  it("includes the errors of all addresses of a host name", () => {
    const errors = [
      coded("ECONNREFUSED", "connect ECONNREFUSED ::1:5672"),
      coded("ECONNREFUSED", "connect ECONNREFUSED 127.0.0.1:5672")
    ]
    const error = explain("localhost:5672", Object.assign(new AggregateError(errors), { code: "ECONNREFUSED" }))
    assert.include(
      error.message,
      "localhost:5672: connect ECONNREFUSED ::1:5672, connect ECONNREFUSED 127.0.0.1:5672 ("
    )
  })

  // The codes that OpenSSL 3 gives Node.js for the alerts of a server.
  const refusals = [
    ["ERR_SSL_TLSV1_ALERT_UNKNOWN_CA", "tlsv1 alert unknown ca"],
    ["ERR_SSL_SSL/TLS_ALERT_CERTIFICATE_EXPIRED", "ssl/tls alert certificate expired"],
    ["ERR_SSL_SSL/TLS_ALERT_BAD_CERTIFICATE", "ssl/tls alert bad certificate"]
  ] as const
  for (const [code, reason] of refusals) {
    it(`S3: explains ${code} as a refused client certificate, with OpenSSL's text but no memory addresses`, () => {
      const { message } = explain(
        "broker:5671",
        coded(code, `402D02DAD17F0000:error:0A000418:${reason}:77:`, { reason })
      )
      assert.include(message, `broker:5671: ${reason} (the server refused the client certificate`)
      assert.notInclude(message, "402D02DAD17F0000")
    })
  }

  for (
    const code of [
      "DEPTH_ZERO_SELF_SIGNED_CERT",
      "SELF_SIGNED_CERT_IN_CHAIN",
      "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
      "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
      "CERT_HAS_EXPIRED",
      "ERR_TLS_CERT_ALTNAME_INVALID",
      "ERR_SSL_TLSV1_ALERT_UNKNOWN_CA",
      "ERR_SSL_SSL/TLS_ALERT_BAD_CERTIFICATE",
      "ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED"
    ]
  ) {
    it(`is not retryable for ${code}, which refuses a certificate`, () => {
      assert.isFalse(isRetryable(explain("broker:5671", coded(code, "refused"))))
    })
  }

  for (
    const code of ["ECONNREFUSED", "ENOTFOUND", "ETIMEDOUT", "EMFILE", "ECONNRESET", "ERR_SSL_WRONG_VERSION_NUMBER"]
  ) {
    it(`is retryable for ${code}`, () => {
      assert.isTrue(isRetryable(explain("broker:5671", coded(code, "failed"))))
    })
  }

  it("has a message for anything that was thrown", () => {
    assert.strictEqual(messageOf(coded("ECODE", "")), "ECODE")
    assert.strictEqual(messageOf(new TypeError()), "TypeError")
    assert.strictEqual(messageOf("text"), "text")
  })
})
