/**
 * What the global setup hands to the integration tests, read with `inject("amqpUrl")` and so on.
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
    /** The broker that the suite runs against: a complete URL with credentials. */
    readonly amqpUrl: string
    /** How to call `rabbitmqctl` for the broker behind `amqpUrl`, when this machine can. */
    readonly rabbitmqNode: Omit<AdministrableBroker, "url"> | undefined
    /**
     * A broker for tests that use `rabbitmqctl`: the one behind `amqpUrl` when it can be administered from here, else
     * a private one; `undefined` when this machine has no RabbitMQ at all.
     */
    readonly administrableBroker: AdministrableBroker | undefined
  }
}
