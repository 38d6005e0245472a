/** Calls on two connections to a broker, with unique names in each conversation. */
import type { AmqpBroker } from "@effect-amqp/core/testing"
import { versions } from "@effect-amqp/core/testing/internal/common/versionRules"
import { deleteExchange, deleteQueue } from "./calls.ts"
import type { Step } from "./calls.ts"
import { RawConnection } from "./rawConnection.ts"

/** The names of one conversation: `%` stands for its unique prefix. */
class Names {
  private readonly prefix = `effect-amqp-test-${crypto.randomUUID()}-`
  readonly used = new Set<string>()

  step(step: Step): Step {
    return this.replaced(step) as Step // the same step with other strings
  }

  /** A text of the broker with the names of the test. */
  in(text: string): string {
    return text.replaceAll(this.prefix, "")
  }

  private replaced(value: unknown): unknown {
    if (typeof value === "string") return this.name(value)
    if (Array.isArray(value)) return value.map((each) => this.replaced(each))
    if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, this.replaced(each)]))
  }

  private name(text: string): string {
    if (!text.includes("%")) return text
    const name = text.replace("%", this.prefix)
    this.used.add(name.replaceAll(/[\r\n]/g, ""))
    return name
  }
}

export class Conversations {
  private readonly url: string
  private readonly connections = new Map<"one" | "other", RawConnection>()

  constructor(url: string) {
    this.url = url
  }

  /** Makes calls one by one, and returns the replies. What they declared is deleted afterwards. */
  async replies(...steps: ReadonlyArray<Step>): Promise<ReadonlyArray<string>> {
    const names = new Names()
    const replies: Array<string> = []
    try {
      for (const step of steps) replies.push(names.in(await (await this.connection(step)).call(names.step(step))))
      return replies
    } finally {
      for (const name of names.used) await this.delete(name)
      for (const connection of this.connections.values()) if (connection.isOpen) await connection.renewChannel()
    }
  }

  async close(): Promise<void> {
    for (const connection of this.connections.values()) await connection.close()
  }

  private async delete(name: string): Promise<void> {
    for (const byOther of [false, true]) {
      const connection = await this.connection({ byOther })
      // Fails if the queue is exclusive to the other connection, or the name is reserved.
      await connection.call(deleteQueue(name))
      await connection.call(deleteExchange(name))
    }
  }

  private async connection({ byOther = false }: Pick<Step, "byOther">): Promise<RawConnection> {
    const which = byOther ? "other" : "one"
    const current = this.connections.get(which)
    if (current !== undefined && current.isOpen) return current
    const connection = await RawConnection.open(this.url)
    this.connections.set(which, connection)
    return connection
  }
}

/**
 * The version of RabbitMQ at a URL, or that of the embedded broker, whose exact replies the tests know. `undefined` for other
 * versions and with TLS.
 */
export const versionAt = async (url: string): Promise<AmqpBroker.Version | undefined> => {
  if (!url.startsWith("amqp:")) return undefined
  const connection = await RawConnection.open(url)
  await connection.close()
  return versions.find((version) => connection.serverVersion.startsWith(`${version}.`))
}
