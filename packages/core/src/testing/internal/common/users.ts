/** Who may log in, and what they may do. */
import type * as Redacted from "effect/Redacted"
import { Refusal } from "./refusal.ts"

/** RabbitMQ's `set_permissions` (RabbitMQ, "Access Control"). */
export type Permission = "configure" | "write" | "read"

export interface User {
  readonly name: string
  readonly password: Redacted.Redacted<string>
  /** By virtual host, each of which refuses a user without any; `undefined`: everything everywhere. */
  readonly permissions: Readonly<Record<string, Readonly<Record<Permission, RegExp>>>> | undefined
}

/** Whether the user may open the virtual host. */
export const mayOpen = (user: User, virtualHost: string): boolean =>
  user.permissions === undefined || Object.hasOwn(user.permissions, virtualHost)

/** Throws what RabbitMQ says if the user lacks the permission. */
export const authorize = (
  user: User,
  virtualHost: string,
  permission: Permission,
  kind: "exchange" | "queue",
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
