/** Users and their permissions. */
import type * as Redacted from "effect/Redacted"
import { Refusal } from "./refusal.ts"
import type { ResourceKind } from "./resource.ts"

/** The permissions of RabbitMQ's `set_permissions` (RabbitMQ, "Access Control"). */
export type Permission = "configure" | "write" | "read"

export interface User {
  readonly name: string
  readonly password: Redacted.Redacted<string>
  /** By virtual host: one that is missing refuses the user. `undefined`: everything in every virtual host. */
  readonly permissions: Readonly<Record<string, Readonly<Record<Permission, RegExp>>>> | undefined
}

/** Whether the user may open the virtual host. */
export const mayOpen = (user: User, virtualHost: string): boolean =>
  user.permissions === undefined || Object.hasOwn(user.permissions, virtualHost)

/** Throws a `Refusal` if the user lacks the permission. */
export const authorize = (
  user: User,
  virtualHost: string,
  permission: Permission,
  kind: ResourceKind,
  name: string
): void => {
  if (user.permissions === undefined) return
  const shown = kind === "exchange" && name === "" ? "amq.default" : name
  if (mayOpen(user, virtualHost) && user.permissions[virtualHost][permission].test(shown)) return
  throw new Refusal(
    "accessRefused",
    `access to ${kind} '${shown}' in vhost '${virtualHost}' refused for user '${user.name}'`
  )
}
