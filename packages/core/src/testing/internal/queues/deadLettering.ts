/** Dead-letters what a queue drops, if it has a dead-letter exchange (https://www.rabbitmq.com/docs/dlx). */
import type { Message } from "../common/message.ts"
import { textOf } from "./argumentValues.ts"
import type { AtLeastOnceDeadLetters } from "./atLeastOnceDeadLetters.ts"
import { deadLetter } from "./deadLetters.ts"
import type { DeathReason } from "./deadLetters.ts"
import type { QueueDefinition, QueueHost } from "./queue.ts"

export interface DeadLetteringOptions {
  /** Whether dead letters carry the number of their failures. */
  readonly passesFailures: boolean
  /** Sends the letters if none may be lost; otherwise they are routed once. */
  readonly atLeastOnce: AtLeastOnceDeadLetters | undefined
}

export class DeadLettering {
  private readonly queue: string
  private readonly exchange: string | undefined
  private readonly routingKey: string | undefined
  private readonly host: QueueHost
  private readonly options: DeadLetteringOptions

  constructor(definition: QueueDefinition, host: QueueHost, options: DeadLetteringOptions) {
    this.queue = definition.name
    this.exchange = textOf(definition.arguments, "x-dead-letter-exchange")
    this.routingKey = textOf(definition.arguments, "x-dead-letter-routing-key")
    this.host = host
    this.options = options
  }

  /** Takes a message that the queue drops. */
  drop(message: Message, reason: DeathReason, failures: number): void {
    const { exchange, host, queue, routingKey } = this
    if (exchange === undefined) return
    const letter = deadLetter(message, { reason, queue, time: host.timers.now(), exchange, routingKey }, host.rules)
    if (letter === undefined) return
    this.send(this.options.passesFailures ? { ...letter, failures } : letter)
  }

  private send(letter: Message): void {
    const { atLeastOnce } = this.options
    if (atLeastOnce === undefined) this.host.afterAllQueues(() => this.host.deadLetter(letter))
    else atLeastOnce.add(letter)
  }
}
