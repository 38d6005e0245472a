import { inject } from "vitest"
import { rabbitmqctlFor } from "./command.ts"
import type { AdministrableBroker } from "./provided.ts"

/** The broker that `rabbitmqctl` administers. Fails when this machine has none; ask `hasRabbitmqctl` first. */
export const administrableBroker = (): AdministrableBroker => {
  const broker = inject("administrableBroker")
  if (broker === undefined) throw new Error("no broker that rabbitmqctl on this machine could administer")
  return broker
}

/** Whether there is a broker that `rabbitmqctl` can administer. */
export const hasRabbitmqctl = (): boolean => inject("administrableBroker") !== undefined

/**
 * Runs `rabbitmqctl` on the broker at `administrableBroker().url` and answers its output.
 *
 * A call starts a virtual machine and takes over a second: make few of them, and let `eval` do several things in one.
 * Test files run at the same time on the same broker, and it may be the user's own. So an administrative act must be
 * confined to a virtual host or a connection of the test's own: `close_connection` of a connection found by its unique
 * name, policies, limits and `close_all_connections --vhost` in a `freshVirtualHost`. Never `stop_app`, `reset`,
 * alarms, memory limits, or anything about users that others log in with.
 */
export const rabbitmqctl = async (...args: ReadonlyArray<string>): Promise<string> =>
  rabbitmqctlFor(administrableBroker(), ...args)
