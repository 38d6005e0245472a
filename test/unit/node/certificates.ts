import * as crypto from "node:crypto"
import * as net from "node:net"

/**
 * Issues X.509 certificates (RFC 5280) for tests, so that no expiring one is stored and no program is needed.
 */

/** A certificate and its key in PEM format, with the name to issue others. */
export interface Identity {
  readonly name: string
  readonly cert: string
  readonly key: string
}

const der = (tag: number, ...contents: ReadonlyArray<Uint8Array>): Buffer => {
  const content = Buffer.concat(contents)
  const { length } = content
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...size]), content])
}

const sequence = (...contents: ReadonlyArray<Uint8Array>): Buffer => der(0x30, ...contents)

const oid = (dotted: string): Buffer => {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number)
  const base128 = (value: number): ReadonlyArray<number> =>
    value < 128 ? [value] : [...base128(value >> 7).map((septet) => septet | 0x80), value & 0x7f]
  return der(0x06, Buffer.from([first * 40 + second, ...rest.flatMap(base128)]))
}

const ecdsaWithSha256 = sequence(oid("1.2.840.10045.4.3.2"))

const distinguishedName = (commonName: string): Buffer =>
  sequence(der(0x31, sequence(oid("2.5.4.3"), der(0x0c, Buffer.from(commonName)))))

const utcTime = (date: Date): Buffer =>
  der(0x17, Buffer.from(`${date.toISOString().replaceAll(/[-:T]/g, "").slice(2, 14)}Z`))

const alternativeName = (host: string): Buffer =>
  net.isIPv4(host) ? der(0x87, Buffer.from(host.split(".").map(Number))) : der(0x82, Buffer.from(host))

const extension = (id: string, value: Buffer): Buffer => sequence(oid(id), der(0x04, value))

const pem = (bytes: Buffer): string => {
  const lines = bytes.toString("base64").match(/.{1,64}/g) ?? []
  return ["-----BEGIN CERTIFICATE-----", ...lines, "-----END CERTIFICATE-----", ""].join("\n")
}

const day = 86_400_000

/** A new key with a certificate for the hosts, by default valid and self-signed. */
export const issue = (
  name: string,
  options: { readonly hosts?: ReadonlyArray<string>; readonly issuer?: Identity; readonly daysLeft?: number } = {}
): Identity => {
  const { daysLeft = 1, hosts = [], issuer } = options
  const { privateKey, publicKey } = crypto.generateKeyPairSync("ec", { namedCurve: "P-256" })
  const key = privateKey.export({ type: "pkcs8", format: "pem" }).toString()
  const extensions = [
    extension("2.5.29.19", sequence(...hosts.length === 0 ? [der(0x01, Buffer.of(0xff))] : [])),
    ...hosts.length === 0 ? [] : [extension("2.5.29.17", sequence(...hosts.map(alternativeName)))]
  ]
  const signed = sequence(
    der(0xa0, der(0x02, Buffer.of(2))),
    der(0x02, Buffer.concat([Buffer.of(1), crypto.randomBytes(8)])),
    ecdsaWithSha256,
    distinguishedName(issuer?.name ?? name),
    sequence(utcTime(new Date(Date.now() - 10 * day)), utcTime(new Date(Date.now() + daysLeft * day))),
    distinguishedName(name),
    publicKey.export({ type: "spki", format: "der" }),
    der(0xa3, sequence(...extensions))
  )
  const signature = crypto.sign("sha256", signed, issuer?.key ?? key)
  return {
    name,
    key,
    cert: pem(sequence(signed, ecdsaWithSha256, der(0x03, Buffer.concat([Buffer.of(0), signature]))))
  }
}
