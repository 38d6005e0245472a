/** Which names of exchanges and queues clients may use. */
import { Refusal } from "../common/refusal.ts"
import type { ResourceKind } from "../common/resource.ts"

/** RabbitMQ removes line breaks from the names in methods that change something. */
export const stripped = (name: string): string => name.replaceAll(/[\r\n]/g, "")

export const refuseDefaultExchange = (exchange: string): void => {
  if (exchange === "") throw new Refusal("accessRefused", "operation not permitted on the default exchange")
}

export const refuseReservedName = (kind: ResourceKind, name: string): void => {
  if (!name.startsWith("amq.")) return
  throw new Refusal("accessRefused", `${kind} name '${name}' contains reserved prefix 'amq.*'`)
}
