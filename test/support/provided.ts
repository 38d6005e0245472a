/**
 * What the configuration and the global setup provide to the integration tests, read with `inject("broker")` and so on.
 */

/** A broker together with what `rabbitmqctl` needs to administer it. */
export interface AdministrableBroker {
  readonly url: string
  readonly nodename: string
  /** Environment variables for `rabbitmqctl`, in addition to those of this process. */
  readonly env: Readonly<Record<string, string>>
}

declare module "vitest" {
  export interface ProvidedContext {
    /** The broker that the tests of this project run against. */
    readonly broker: "RabbitMQ" | "the embedded broker"
    /** The version of RabbitMQ. This and the following are provided only to the project that runs against RabbitMQ. */
    readonly version: string
    /** The RabbitMQ that the tests run against: a complete URL with credentials. */
    readonly amqpUrl: string
    /**
     * A RabbitMQ for tests that administer it: the one at `amqpUrl` if `rabbitmqctl` on this machine can, otherwise a private
     * one; `undefined` if this machine has no RabbitMQ.
     */
    readonly administrableBroker: AdministrableBroker | undefined
  }
}
