import * as AmqpUri from "@effect-amqp/core/AmqpUri"
import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Duration from "effect/Duration"
import * as Equal from "effect/Equal"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { isIPv6 } from "node:net"
import * as path from "node:path"
import { inspect } from "node:util"

const parsed = (uri: string | Redacted.Redacted<string>): AmqpUri.AmqpUri => Result.getOrThrow(AmqpUri.parse(uri))

const errorOf = (uri: string): AmqpUri.AmqpUriError => {
  const result = AmqpUri.parse(uri)
  if (Result.isSuccess(result)) return assert.fail(`accepted as ${String(result.success)}`)
  assert.instanceOf(result.failure, AmqpUri.AmqpUriError)
  return result.failure
}

/** A URI with its password readable, and without what it does not mention. */
const shown = (uri: AmqpUri.AmqpUri): Record<string, unknown> => ({
  ...Object.fromEntries(Object.entries(uri).filter(([, value]) => value !== undefined)),
  password: Redacted.value(uri.password)
})

const guest = { host: "localhost", port: 5672, username: "guest", password: "guest", virtualHost: "/" }

const verified: AmqpUri.TlsParameters = {
  caFile: undefined,
  caPath: undefined,
  certFile: undefined,
  keyFile: undefined,
  passphrase: undefined,
  dangerouslyAcceptAnyCertificate: false,
  dangerouslyAcceptAnyHostname: false,
  serverName: undefined
}

const addresses: ReadonlyArray<readonly [sentence: string, uri: string, expected: Record<string, unknown>]> = [
  ["a scheme alone means guest at localhost", "amqp://", {}],
  ["the scheme may be in capitals", "AMQP://broker", { host: "broker" }],
  ["without a port, amqp uses 5672", "amqp://broker", { host: "broker" }],
  ["without a port, amqps uses 5671", "amqps://broker", { host: "broker", port: 5671, tls: verified }],
  ["a port follows the host", "amqp://broker:1234", { host: "broker", port: 1234 }],
  ["an empty port means the default", "amqp://broker:", { host: "broker" }],
  ["the highest port is 65535", "amqp://broker:65535", { host: "broker", port: 65535 }],
  ["an empty host with a port means localhost", "amqp://:1234", { port: 1234 }],
  ["an empty host with a virtual host means localhost", "amqp:///orders", { virtualHost: "orders" }],
  ["a host keeps its case", "amqp://Broker.Example", { host: "Broker.Example" }],
  ["a host may be percent-encoded", "amqp://b%72oker", { host: "broker" }],
  ["a host may be international", "amqp://b%C3%BCro.example", { host: "büro.example" }],
  ["an IPv4 address is a host", "amqp://127.0.0.1:1", { host: "127.0.0.1", port: 1 }],
  ["an IPv6 address loses its brackets", "amqp://[::1]", { host: "::1" }],
  ["an IPv6 address may have a port", "amqp://u:p@[2001:db8::7]:1234/v", {
    host: "2001:db8::7",
    port: 1234,
    username: "u",
    password: "p",
    virtualHost: "v"
  }],
  ["an IPv6 address may have a zone", "amqp://[fe80::1%25eth0]", { host: "fe80::1%eth0" }],
  ["a user without a password has the default password", "amqp://app@broker", { host: "broker", username: "app" }],
  ["a password without a user means an empty user", "amqp://:secret@broker", {
    host: "broker",
    username: "",
    password: "secret"
  }],
  ["an empty user and password are not replaced by guest", "amqp://:@broker", {
    host: "broker",
    username: "",
    password: ""
  }],
  ["an empty user is not replaced by guest", "amqp://@broker", { host: "broker", username: "" }],
  ["S9: user and password are percent-decoded", "amqp://a%3Ab:%40%2F%3A%25%2B@broker", {
    host: "broker",
    username: "a:b",
    password: "@/:%+"
  }],
  ["S9: a plus sign does not mean a space", "amqp://a+b:c+d@broker/e+f", {
    host: "broker",
    username: "a+b",
    password: "c+d",
    virtualHost: "e+f"
  }],
  ["a password may contain an unencoded colon", "amqp://u:a:b@broker", {
    host: "broker",
    username: "u",
    password: "a:b"
  }],
  ["a password may contain an unencoded @", "amqp://u:a@b@broker", { host: "broker", username: "u", password: "a@b" }],
  ["a path of / is the virtual host /", "amqp://broker/", { host: "broker" }],
  ["a path of /%2F is the virtual host /", "amqp://broker/%2F", { host: "broker" }],
  ["a path of /%2f is the virtual host /", "amqp://broker/%2f", { host: "broker" }],
  ["a virtual host is percent-decoded", "amqp://broker/a%2Fb%20c%40d", { host: "broker", virtualHost: "a/b c@d" }],
  ["a virtual host of dots is not resolved as a path", "amqp://broker/..", { host: "broker", virtualHost: ".." }],
  ["a virtual host may be followed by a query", "amqp://broker/v?locale=de_DE", {
    host: "broker",
    virtualHost: "v",
    locale: "de_DE"
  }],
  ["a query may follow the host", "amqp://broker?locale=de_DE", { host: "broker", locale: "de_DE" }],
  ["an empty query is ignored", "amqp://broker/?&", { host: "broker" }]
]

const settings: ReadonlyArray<readonly [sentence: string, query: string, expected: Record<string, unknown>]> = [
  ["heartbeat is in seconds", "heartbeat=30", { heartbeat: Duration.seconds(30) }],
  ["heartbeat 0 turns heartbeats off", "heartbeat=0", { heartbeat: Duration.zero }],
  ["heartbeat may be 65535", "heartbeat=65535", { heartbeat: Duration.seconds(65535) }],
  ["channel_max is a number", "channel_max=65535", { channelMax: 65535 }],
  ["channel_max may be 0", "channel_max=0", { channelMax: 0 }],
  ["frame_max is in bytes", "frame_max=8192", { frameMax: 8192 }],
  ["frame_max may be 0", "frame_max=0", { frameMax: 0 }],
  ["connection_timeout is in milliseconds", "connection_timeout=10000", { connectTimeout: Duration.seconds(10) }],
  ["timeout is in seconds", "timeout=10", { connectTimeout: Duration.seconds(10) }],
  ["equal settings may be repeated", "timeout=1&connection_timeout=1000", { connectTimeout: Duration.seconds(1) }],
  ["locale is a name", "locale=en_US", { locale: "en_US" }],
  ["auth_mechanism may be in capitals", "auth_mechanism=PLAIN", { mechanisms: ["PLAIN"] }],
  [
    "auth_mechanism may be repeated and keeps its order",
    "auth_mechanism=external&auth_mechanism=plain&auth_mechanism=external",
    {
      mechanisms: ["EXTERNAL", "PLAIN"]
    }
  ],
  ["several parameters may be given", "heartbeat=1&locale=x%26y%3Dz", {
    heartbeat: Duration.seconds(1),
    locale: "x&y=z"
  }]
]

const tlsSettings: ReadonlyArray<readonly [query: string, expected: Partial<AmqpUri.TlsParameters>]> = [
  ["cacertfile=/ca.pem", { caFile: "/ca.pem" }],
  ["ssl_cacert=/ca.pem", { caFile: "/ca.pem" }],
  ["cafile=%2Fsome%20where%2Fca.pem", { caFile: "/some where/ca.pem" }],
  ["cafile=/ca.pem&cacertfile=/ca.pem", { caFile: "/ca.pem" }],
  ["capath=/certificates", { caPath: "/certificates" }],
  ["certfile=/c.pem", { certFile: "/c.pem" }],
  ["ssl_cert=/c.pem&ssl_key=/k.pem", { certFile: "/c.pem", keyFile: "/k.pem" }],
  ["certfile=/c.pem&keyfile=/k.pem", { certFile: "/c.pem", keyFile: "/k.pem" }],
  ["verify=verify_peer", { dangerouslyAcceptAnyCertificate: false }],
  ["verify=required", { dangerouslyAcceptAnyCertificate: false }],
  ["ssl_validation=optional", { dangerouslyAcceptAnyCertificate: false }],
  ["verify=verify_none", { dangerouslyAcceptAnyCertificate: true }],
  ["ssl_validation=ignore", { dangerouslyAcceptAnyCertificate: true }],
  ["ssl_check_hostname=true", { dangerouslyAcceptAnyHostname: false }],
  ["ssl_check_hostname=1", { dangerouslyAcceptAnyHostname: false }],
  ["ssl_check_hostname=No", { dangerouslyAcceptAnyHostname: true }],
  ["ssl_check_hostname=0", { dangerouslyAcceptAnyHostname: true }],
  ["server_name_indication=other.example", { serverName: "other.example" }],
  ["server_name_indication=disable", { serverName: false }]
]

const refused: ReadonlyArray<
  readonly [sentence: string, uri: string, part: AmqpUri.AmqpUriError["part"], text: string]
> = [
  ["an empty string", "", "Scheme", "amqp:// or amqps://"],
  ["no scheme", "broker:5672", "Scheme", "amqp:// or amqps://"],
  ["another scheme", "http://broker", "Scheme", "amqp:// or amqps://"],
  ["a scheme without slashes", "amqp:broker", "Scheme", "amqp:// or amqps://"],
  ["a line break at the end", "amqp://broker\n", "Uri", "line break"],
  ["a space", "amqp://broker/a b", "Uri", "%20"],
  ["a control character", "amqp://broker/a\u0000b", "Uri", "white space"],
  ["a fragment", "amqp://broker/a#b", "Uri", "%23"],
  ["a port of 0", "amqp://broker:0", "Port", "from 1 to 65535"],
  ["a port of 65536", "amqp://broker:65536", "Port", "from 1 to 65535"],
  ["a port of letters", "amqp://broker:amqp", "Port", "from 1 to 65535"],
  ["a negative port", "amqp://broker:-1", "Port", "from 1 to 65535"],
  ["an IPv6 address without brackets", "amqp://::1", "Host", "[::1]:5672"],
  ["an open bracket", "amqp://[::1", "Host", "[::1]:5672"],
  ["text after the bracket", "amqp://[::1]x", "Host", "[::1]:5672"],
  ["a name in brackets", "amqp://[broker]", "Host", "IPv6"],
  ["an IPv4 address in brackets", "amqp://[127.0.0.1]", "Host", "IPv6"],
  ["an empty zone", "amqp://[::1%25]", "Host", "IPv6"],
  ["a slash in the host", "amqp://a:b@c%2F", "Host", "character"],
  ["a space in the host", "amqp://bro%20ker", "Host", "character"],
  ["malformed percent-encoding in the host", "amqp://%zz", "Host", "%25"],
  ["malformed percent-encoding in the user", "amqp://%zz:p@broker", "UserInfo", "%25"],
  ["malformed percent-encoding in the password", "amqp://u:%4@broker", "UserInfo", "%25"],
  ["a percent sign at the end of the password", "amqp://u:100%@broker", "UserInfo", "%25"],
  ["percent-encoding that is not UTF-8", "amqp://u:%ff@broker", "UserInfo", "UTF-8"],
  ["malformed percent-encoding in the virtual host", "amqp://broker/%2", "VirtualHost", "%25"],
  ["malformed percent-encoding in a parameter", "amqp://broker?locale=%", "Query", "%25"],
  ["two path segments", "amqp://broker/a/b", "VirtualHost", "%2F"],
  ["an unencoded / as the virtual host", "amqp://broker//", "VirtualHost", "%2F"],
  ["a virtual host with a trailing slash", "amqp://broker/a/", "VirtualHost", "%2F"],
  ["heartbeat over 65535", "amqp://broker?heartbeat=65536", "Query", "from 0 (off) to 65535"],
  ["heartbeat with a fraction", "amqp://broker?heartbeat=1.5", "Query", "from 0 (off) to 65535"],
  ["heartbeat with a unit", "amqp://broker?heartbeat=10s", "Query", "from 0 (off) to 65535"],
  ["negative heartbeat", "amqp://broker?heartbeat=-1", "Query", "from 0 (off) to 65535"],
  ["heartbeat without a value", "amqp://broker?heartbeat", "Query", "from 0 (off) to 65535"],
  ["heartbeat with an empty value", "amqp://broker?heartbeat=", "Query", "from 0 (off) to 65535"],
  ["channel_max over 65535", "amqp://broker?channel_max=65536", "Query", "to 65535"],
  ["V1: frame_max under 8192", "amqp://broker?frame_max=4096", "Query", "from 8192"],
  ["frame_max over 32 bits", "amqp://broker?frame_max=4294967296", "Query", "to 4294967295"],
  ["a timeout of 0", "amqp://broker?timeout=0", "Query", "whole seconds from 1"],
  ["a connection_timeout of 0", "amqp://broker?connection_timeout=0", "Query", "whole milliseconds from 1"],
  ["a timeout that is too long for a timer", "amqp://broker?connection_timeout=2147483648", "Query", "to 2147483647"],
  ["an empty locale", "amqp://broker?locale=", "Query", "en_US"],
  ["an unknown mechanism", "amqp://broker?auth_mechanism=gssapi", "Query", "amqplain, external or anonymous"],
  ["a parameter with two values", "amqp://broker?heartbeat=1&heartbeat=2", "Query", "contradicts"],
  [
    "two names of a parameter with two values",
    "amqps://broker?cafile=/a&ssl_cacert=/b",
    "Query",
    "keep one (cacertfile, ssl_cacert, cafile)"
  ],
  ["two timeouts that differ", "amqp://broker?timeout=1&connection_timeout=1", "Query", "connection_timeout, timeout"],
  ["an unknown parameter", "amqp://broker?vhost=v", "Query", "\"vhost\"; there are auth_mechanism, heartbeat"],
  ["a parameter in capitals", "amqp://broker?Heartbeat=1", "Query", "\"Heartbeat\"; did you mean \"heartbeat\"?"],
  ["a name from Object's prototype", "amqp://broker?toString=1", "Query", "\"toString\""],
  ["TLS parameters without TLS", "amqp://broker?cacertfile=/ca.pem", "Query", "amqps://"],
  ["an unknown value of verify", "amqps://broker?verify=maybe", "Query", "verify_peer or verify_none"],
  ["a value of verify from Object's prototype", "amqps://broker?verify=constructor", "Query", "verify_peer"],
  ["an unknown boolean", "amqps://broker?ssl_check_hostname=maybe", "Query", "true or false"],
  ["an empty path", "amqps://broker?certfile=", "Query", "path of a file"],
  ["a key without its certificate", "amqps://broker?keyfile=/k.pem", "Query", "certfile"],
  ["a key's password without its certificate", "amqps://broker?password=x", "Query", "certfile"]
]

describe("AmqpUri", () => {
  for (const [sentence, uri, expected] of addresses) {
    it(sentence, () => assert.deepStrictEqual(shown(parsed(uri)), { ...guest, ...expected }))
  }

  for (const [sentence, query, expected] of settings) {
    it(sentence, () => assert.deepStrictEqual(shown(parsed(`amqp://?${query}`)), { ...guest, ...expected }))
  }

  for (const [query, expected] of tlsSettings) {
    it(`${query} sets ${JSON.stringify(expected)}`, () =>
      assert.deepStrictEqual(parsed(`amqps://?${query}`).tls, { ...verified, ...expected }))
  }

  it("password is the passphrase of the key, not the password of the user", () => {
    const uri = parsed("amqps://?certfile=/c.pem&password=p%26q")
    const { passphrase } = uri.tls!
    assert.strictEqual(Redacted.value(passphrase!), "p&q")
    assert.strictEqual(Redacted.value(uri.password), "guest")
  })

  for (const [sentence, uri, part, text] of refused) {
    it(`refuses ${sentence}`, () => {
      const error = errorOf(uri)
      assert.strictEqual(error.part, part)
      assert.include(error.message, text)
      assert.isFalse(error.isRetryable)
    })
  }

  it.each([
    ["hearbeat", "heartbeat"],
    ["haertbeat", "heartbeat"],
    ["channelMax", "channel_max"],
    ["frame-max", "frame_max"],
    ["connectionTimeout", "connection_timeout"],
    ["time_out", "timeout"],
    ["cacertfil", "cacertfile"],
    ["ca_cert_file", "cacertfile"],
    ["certfil", "certfile"],
    ["verfiy", "verify"]
  ])("for %s suggests %s", (name, meant) => {
    const { message } = errorOf(`amqp://broker?${name}=1`)
    assert.include(message, `there is no parameter "${name}"; did you mean "${meant}"?`)
  })

  it.each(["x", "cert", "time", "port", "vhost", "toString", "maxInFlight"])("for %s suggests nothing", (name) => {
    assert.notInclude(errorOf(`amqp://broker?${name}=1`).message, "did you mean")
  })

  it("lists the TLS parameters among the known ones", () => {
    const { message } = errorOf("amqp://broker?x=1")
    for (const name of ["heartbeat", "frame_max", "channel_max", "timeout", "locale", "auth_mechanism"]) {
      assert.include(message, name)
    }
    for (const name of ["cacertfile", "capath", "certfile", "keyfile", "verify", "ssl_check_hostname"]) {
      assert.include(message, name)
    }
  })

  it("accepts a redacted string", () => {
    assert.strictEqual(parsed(Redacted.make("amqp://broker")).host, "broker")
  })

  // Each contains `secret` where a misread part of the password could end up in a message.
  const withSecrets = [
    "amqp://user:secret%@broker",
    "amqp://user:secret/1@broker",
    "amqp://user:secret?secret=secret@broker",
    "amqp://user:1?secret=secret@broker/v",
    "amqp://user:secret#1@broker",
    "amqp://user:1/secret@broker",
    "amqp://user:1/secret/secret@broker",
    "amqp://user:a@secret/1@broker",
    "amqp://user:secret @broker",
    "amqp://user:secret@[broker",
    "amqp://user:secret@broker:x",
    "amqp://user:secret",
    "user:secret@broker",
    "secret://user:secret@broker",
    "amqp://user:secret@broker/secret/secret",
    "amqp://user:secret@broker?heartbeat=secret",
    "amqps://user:secret@broker?certfile=/c.pem&password=secret&password=other",
    "amqps://user:secret@broker?password=secret"
  ]
  /** The project may be in a folder with such a name. */
  const projectFolder = path.join(import.meta.dirname, "../..")
  for (const uri of withSecrets) {
    it(`shows no secret in the error of ${uri}`, () => {
      const error = errorOf(uri)
      for (const text of [error.message, String(error), inspect(error), JSON.stringify(error), error.stack ?? ""]) {
        assert.notInclude(text.replaceAll(projectFolder, ""), "secret")
      }
    })
  }

  it("says how to write a / in the password", () => {
    assert.include(errorOf("amqp://user:pass/word@broker").message, "%2F")
  })

  it("masks the password and the passphrase when it is printed", () => {
    const uri = parsed("amqps://user:secret@broker/v?certfile=/c.pem&password=secret&heartbeat=5")
    for (const text of [String(uri), inspect(uri, { depth: 9 }), JSON.stringify(uri)]) {
      assert.notInclude(text, "secret")
      assert.include(text, "<redacted>")
    }
    assert.strictEqual(
      String(uri),
      "amqps://user:<redacted>@broker:5671/v?heartbeat=5&certfile=%2Fc.pem&password=<redacted>"
    )
  })

  it("is equal to another with the same content", () => {
    assert.isTrue(Equal.equals(parsed("amqp://"), parsed("AMQP://guest:guest@localhost:5672/%2F")))
    assert.isFalse(Equal.equals(parsed("amqp://"), parsed("amqp://:other@localhost")))
  })

  // Random text rarely has characters with a meaning in a URI, so half of it is made of these.
  const special = Arbitrary.schema(Schema.Literals([
    ..."%:/?#[]@!$&'()*+,;=\\^|<> \"`{}~.-_a0\0\n".split(""),
    "\u00e9",
    "\u{1f600}",
    "%2F",
    "%zz"
  ]))
  const text = Arbitrary.map(
    Arbitrary.all([Arbitrary.schema(Schema.String), Arbitrary.array(special)]),
    ([any, specials]) => Buffer.from(any).toString() + specials.join("")
  )
  const name = Arbitrary.map(Arbitrary.all([special, text]), ([first, rest]) => first + rest)

  it.prop(
    "S9: any user name, password and virtual host are parsed from their encodeURIComponent",
    [text, text, name],
    ([username, password, virtualHost]) => {
      const [u, p, v] = [username, password, virtualHost].map(encodeURIComponent)
      assert.deepStrictEqual(shown(parsed(`amqp://${u}:${p}@broker/${v}`)), {
        ...guest,
        host: "broker",
        username,
        password,
        virtualHost
      })
    }
  )

  it.prop("parses what it writes", [text, text, name, name], ([username, password, virtualHost, path]) => {
    const uri = Result.getOrThrow(AmqpUri.make({
      host: "fe80::1%eth0",
      port: 1,
      username,
      password: Redacted.make(password),
      virtualHost,
      heartbeat: "1 minute",
      channelMax: 7,
      frameMax: 131072,
      connectTimeout: "1500 millis",
      locale: path,
      mechanisms: ["EXTERNAL", "PLAIN"],
      tls: {
        caFile: path,
        caPath: path,
        certFile: path,
        keyFile: path,
        passphrase: Redacted.make(password),
        dangerouslyAcceptAnyCertificate: true,
        dangerouslyAcceptAnyHostname: true,
        serverName: false
      }
    }))
    assert.strictEqual(uri.username, username)
    assert.strictEqual(uri.tls?.caFile, path)
    assert.isTrue(Equal.equals(parsed(AmqpUri.toRedacted(uri)), uri))
  })

  it("makes the default URI from no options, and the default TLS URI from tls alone", () => {
    assert.deepStrictEqual(shown(Result.getOrThrow(AmqpUri.make())), guest)
    assert.deepStrictEqual(shown(Result.getOrThrow(AmqpUri.make({ tls: {} }))), { ...guest, port: 5671, tls: verified })
  })

  const badParts: ReadonlyArray<readonly [AmqpUri.AmqpUriError["part"], AmqpUri.Options]> = [
    ["Port", { port: 0 }],
    ["Port", { port: 1.5 }],
    ["Port", { port: Number.NaN }],
    ["Host", { host: "a/b" }],
    ["Host", { host: "a:b" }],
    ["Query", { heartbeat: "1500 millis" }],
    ["Query", { heartbeat: "2 days" }],
    ["Query", { connectTimeout: Infinity }],
    ["Query", { frameMax: 1 }],
    ["Uri", { username: "\ud800" }]
  ]
  for (const [part, options] of badParts) {
    it(`refuses the options ${JSON.stringify(options)}`, () => {
      const result = AmqpUri.make(options)
      assert.isTrue(Result.isFailure(result) && result.failure.part === part)
    })
  }

  // JavaScript, or `any`, may pass these.
  const untypedParts: ReadonlyArray<readonly [options: unknown, text: string]> = [
    [null, "options: must be an object"],
    ["amqp://localhost", "options: must be an object"],
    [{ host: 5 }, "host: must be a string"],
    [{ username: null }, "username: must be a string"],
    [{ virtualHost: 5 }, "virtualHost: must be a string"],
    [{ password: "plain" }, "password: must be a Redacted string"],
    [{ password: Redacted.make(5) }, "password: must be a Redacted string"],
    [{ tls: null }, "tls: must be an object"],
    [{ tls: { caFile: ["a.pem"] } }, "tls: caFile: must be a string"],
    [{ tls: { passphrase: "plain" } }, "tls: passphrase: must be a Redacted string"]
  ]
  for (const [options, text] of untypedParts) {
    it(`explains what is wrong with ${JSON.stringify(options)}`, () => {
      const result = AmqpUri.make(options as AmqpUri.Options)
      if (Result.isSuccess(result)) return assert.fail("it was accepted")
      assert.include(result.failure.message, text)
      assert.notInclude(inspect(result, { depth: 9 }), "plain")
    })
  }

  const group = Arbitrary.schema(Schema.Literals(["", "0", "1", "ff", "ABCD", "12345", "g", "1.2.3.4", "1.2.3.256"]))
  const groups = Arbitrary.array(group, { minLength: 1, maxLength: 9 })

  it.prop("accepts the same IPv6 addresses as Node.js", [groups], ([groups]) => {
    const address = groups.join(":")
    assert.strictEqual(Result.isSuccess(AmqpUri.parse(`amqp://[${address}]`)), isIPv6(address), address)
  })
})
