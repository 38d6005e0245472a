/**
 * What the configuration and the global setup hand to the integration tests, read with `inject("broker")` and so on.
 */

/** A broker together with what `rabbitmqctl` needs to administer it. */
export interface AdministrableBroker {
  readonly url: string
  readonly nodename: string
  /** Variables for `rabbitmqctl`, on top of those of this process. */
  readonly env: Readonly<Record<string, string>>
}

declare module "vitest" {
  export interface ProvidedContext {
    /** What the tests of this project run against. */
    readonly broker: "RabbitMQ" | "the embedded broker"
    /** The version of RabbitMQ, where the project runs against that, as have the others here. */
    readonly version: string
    /** The RabbitMQ that the tests run against: a complete URL with credentials. */
    readonly amqpUrl: string
    /**
     * A RabbitMQ for tests that administer it: the one at `amqpUrl` when `rabbitmqctl` on this machine can, else a private
     * one; `undefined` when this machine has no RabbitMQ at all.
     */
    readonly administrableBroker: AdministrableBroker | undefined
  }
}
