/** The settings of an `amqps://` URI, as options of `node:tls`. */
import type { AmqpUri, TlsParameters } from "@effect-amqp/core/AmqpUri"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as fs from "node:fs/promises"
import * as net from "node:net"
import * as path from "node:path"
import * as tls from "node:tls"
import type { ConnectionOptions } from "node:tls"
import { messageOf } from "./explain.ts"

const attempt = <A>(parameter: string, run: () => Promise<A>): Effect.Effect<A, Error> =>
  Effect.tryPromise({
    try: run,
    catch: (cause) => new Error(`${parameter}: ${messageOf(cause)}`, { cause })
  })

const hasCertificate = (pem: string): boolean => /-----BEGIN (X509 |TRUSTED )?CERTIFICATE-----/.test(pem)

const readPem = (parameter: string, file: string): Effect.Effect<string, Error> =>
  attempt(parameter, () => fs.readFile(file, "utf8"))

// OpenSSL silently skips anything else, and then trusts no authority.
const readCertificates = (parameter: string, file: string): Effect.Effect<string, Error> =>
  Effect.flatMap(readPem(parameter, file), (pem) =>
    hasCertificate(pem)
      ? Effect.succeed(pem)
      : Effect.fail(new Error(`${parameter}: '${file}' contains no certificate in PEM format`)))

const readFolder = (parameter: string, folder: string): Effect.Effect<ReadonlyArray<string>, Error> =>
  Effect.gen(function*() {
    const names = yield* attempt(parameter, () => fs.readdir(folder))
    const files = yield* Effect.filter(
      names.map((name) => path.join(folder, name)),
      (file) => Effect.map(attempt(parameter, () => fs.stat(file)), (stat) => stat.isFile())
    )
    const certificates = (yield* Effect.forEach(files, (file) => readPem(parameter, file))).filter(hasCertificate)
    if (certificates.length === 0) {
      return yield* Effect.fail(new Error(`${parameter}: '${folder}' contains no certificate in PEM format`))
    }
    return certificates
  })

const readTrusted = ({ caFile, caPath }: TlsParameters): Effect.Effect<ReadonlyArray<string>, Error> =>
  Effect.zipWith(
    caFile === undefined ? Effect.succeed([]) : Effect.map(readCertificates("cacertfile", caFile), (pem) => [pem]),
    caPath === undefined ? Effect.succeed([]) : readFolder("capath", caPath),
    (fromFile, fromFolder) => [...fromFile, ...fromFolder]
  )

const readIdentity = (
  { certFile, keyFile, passphrase }: TlsParameters
): Effect.Effect<Pick<ConnectionOptions, "cert" | "key" | "passphrase">, Error> =>
  Effect.gen(function*() {
    if (certFile === undefined) return {}
    const cert = yield* readCertificates("certfile", certFile)
    const key = keyFile === undefined ? cert : yield* readPem("keyfile", keyFile)
    return passphrase === undefined ? { cert, key } : { cert, key, passphrase: Redacted.value(passphrase) }
  })

/**
 * Reads the files of the URI. To be called for each connection, as certificates are renewed while programs run. Fails
 * with an error whose message names the parameter.
 */
export const tlsOptions = (uri: AmqpUri, parameters: TlsParameters): Effect.Effect<ConnectionOptions, Error> =>
  Effect.gen(function*() {
    const trusted = yield* readTrusted(parameters)
    const identity = yield* readIdentity(parameters)
    // RFC 6066 does not allow an IP address as a server name; Node.js then verifies against the host.
    const host = net.isIP(uri.host) === 0 ? uri.host : ""
    return {
      minVersion: "TLSv1.2",
      servername: parameters.serverName === false ? "" : parameters.serverName ?? host,
      ...identity,
      ...(trusted.length === 0 ? {} : { ca: [...trusted] }),
      ...(parameters.dangerouslyAcceptAnyHostname ? { checkServerIdentity: () => undefined } : {})
    }
  })

/**
 * The same options with the keys and their passphrase in a secure context, which does not reveal them: a TLS socket
 * keeps its options as a property.
 */
export const withoutKeys = (options: ConnectionOptions): ConnectionOptions => {
  const { cert: _cert, key: _key, passphrase: _passphrase, pfx: _pfx, ...others } = options
  return { ...others, secureContext: options.secureContext ?? tls.createSecureContext(options) }
}
