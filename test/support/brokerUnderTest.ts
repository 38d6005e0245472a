/**
 * The broker that the tests of a file run against: RabbitMQ, or an embedded broker that the file has for itself.
 */
import { versions } from "@effect-amqp/core/testing/internal/common/versionRules"
import { afterAll, inject } from "vitest"
import type { Administration } from "./administration.ts"
import { startEmbeddedBroker } from "./embeddedBroker.ts"
import { administer } from "./rabbitmqAdministration.ts"

/** Whether the tests of this file run against an embedded broker. */
export const isEmbedded = inject("broker") === "the embedded broker"

/** Which RabbitMQ the embedded one is to be: by default the one that CI has. */
const embeddedVersion = versions.find((version) => version === process.env["EMBEDDED_VERSION"])

/** The embedded one, which ends after the last test of the file. */
const embedded = isEmbedded ? await startEmbeddedBroker({ version: embeddedVersion }) : undefined
if (embedded !== undefined) afterAll(embedded.stop)

/** Whether the broker is RabbitMQ 4.x: the condition of what differs from 3.x. */
export const is4 = (isEmbedded ? embeddedVersion ?? "" : inject("version")).startsWith("4.")

const administrable = inject("administrableBroker")

const administered: Administration | undefined = embedded ?? (administrable && administer(administrable))

/** The broker: a complete URL with credentials. */
export const brokerUrl: string = embedded?.url ?? inject("amqpUrl")

/** Whether there is a broker that tests can administer: RabbitMQ has to be one of this machine. */
export const isAdministrable = administered !== undefined

/** The broker that tests can administer. When `AMQP_URL` names one elsewhere, it is another than that at `brokerUrl`. */
export const administration = (): Administration => {
  if (administered === undefined) throw new Error("no RabbitMQ that rabbitmqctl on this machine could administer")
  return administered
}

/** Whether the tests of this file run against RabbitMQ: the condition of those that need it, which says why they do. */
export const onRabbitMQ = (_why: string): boolean => !isEmbedded
