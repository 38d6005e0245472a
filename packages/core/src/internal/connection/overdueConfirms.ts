/**
 * Decides whether a session that confirms nothing is replaced: once for each endpoint. If none of them confirms anything, the fault is not that
 * of the connection.
 */
import type { Session } from "./session.ts"

export class OverdueConfirms {
  private readonly endpoints: number
  /** How many sessions in a row were replaced because they confirmed nothing. */
  private replacements = 0

  constructor(endpoints: number) {
    this.endpoints = endpoints
  }

  mayReplace({ lastConfirm }: Pick<Session, "lastConfirm">): boolean {
    if (lastConfirm !== undefined) this.replacements = 0
    return this.replacements < this.endpoints
  }

  replaced(): void {
    this.replacements++
  }
}
