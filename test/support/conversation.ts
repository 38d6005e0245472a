/** Two connections to a broker that make calls, with names that each conversation has for itself. */
import type { AmqpBroker } from "@effect-amqp/core/testing"
import { versions } from "@effect-amqp/core/testing/internal/common/versionRules"
import { deleteExchange, deleteQueue } from "./calls.ts"
import type { Step } from "./calls.ts"
import { RawConnection } from "./rawConnection.ts"

/** The names of one conversation: `%` stands for what makes them its own. */
class Names {
  private readonly prefix = `effect-amqp-test-${crypto.randomUUID()}-`
  readonly used = new Set<string>()

  step(step: Step): Step {
    return this.replaced(step) as Step // the same with other texts
  }

  /** A text of the broker's in the words of the test. */
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

  /** The answers to calls one after the other. What they made is deleted after that. */
  async answers(...steps: ReadonlyArray<Step>): Promise<ReadonlyArray<string>> {
    const names = new Names()
    const answers: Array<string> = []
    try {
      for (const step of steps) answers.push(names.in(await (await this.connection(step)).call(names.step(step))))
      return answers
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
      // The queue is locked if it is exclusive to the other connection, and refused are names of the broker's own.
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
 * Which RabbitMQ it is whose answers can be expected to the letter, also if the embedded broker is that: `undefined` for one that these
 * tests don't know, and for one that is reached with TLS.
 */
export const versionAt = async (url: string): Promise<AmqpBroker.Version | undefined> => {
  if (!url.startsWith("amqp:")) return undefined
  const connection = await RawConnection.open(url)
  await connection.close()
  return versions.find((version) => connection.serverVersion.startsWith(`${version}.`))
}
