/**
 * The broker that the tests of a file run against: RabbitMQ, or an embedded broker of that file alone.
 */
import { versions } from "@effect-amqp/core/testing/internal/common/versionRules"
import { afterAll, inject } from "vitest"
import type { Administration } from "./administration.ts"
import { startEmbeddedBroker } from "./embeddedBroker.ts"
import { administer } from "./rabbitmqAdministration.ts"

/** Whether the tests of this file run against an embedded broker. */
export const isEmbedded = inject("broker") === "the embedded broker"

/** The version of the embedded broker: by default that of the RabbitMQ in CI. */
export const embeddedVersion = versions.find((version) => version === process.env["EMBEDDED_VERSION"])

/** The embedded broker, which stops after the last test of the file. */
const embedded = isEmbedded ? await startEmbeddedBroker({ version: embeddedVersion }) : undefined
if (embedded !== undefined) afterAll(embedded.stop)

/** Whether a version is this one or a later one. */
export const isVersionSince = (version: string, sinceMajor: number, sinceMinor: number): boolean => {
  const [major = 0, minor = 0] = version.split(".").map(Number)
  return major > sinceMajor || (major === sinceMajor && minor >= sinceMinor)
}

/** Whether the broker is, or behaves like, this version of RabbitMQ or a later one: tests state what differs. */
export const isSince = (major: number, minor: number): boolean =>
  isVersionSince(isEmbedded ? embeddedVersion ?? "3.10" : inject("version"), major, minor)

/** Whether the broker is RabbitMQ 4.x, for what differs from 3.x. */
export const is4 = isSince(4, 0)

const administrable = inject("administrableBroker")

const administered: Administration | undefined = embedded ?? (administrable && administer(administrable))

/** The broker: a complete URL with credentials. */
export const brokerUrl: string = embedded?.url ?? inject("amqpUrl")

/** Whether tests can administer a broker: RabbitMQ has to run on this machine. */
export const isAdministrable = administered !== undefined

/** The broker that tests can administer. When `AMQP_URL` names a remote one, it is not the one at `brokerUrl`. */
export const administration = (): Administration => {
  if (administered === undefined) throw new Error("no RabbitMQ that rabbitmqctl on this machine can administer")
  return administered
}

/** Whether the tests of this file run against RabbitMQ: a condition for tests that need it, with the reason. */
export const onRabbitMQ = (_why: string): boolean => !isEmbedded
