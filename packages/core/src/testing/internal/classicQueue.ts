/** A classic queue (https://www.rabbitmq.com/docs/classic-queues). */
import { MessageQueue } from "./messageQueue.ts"
import type { StoredEntry } from "./messageQueue.ts"
import type { Consumer, QueueDefinition, QueueHost } from "./queue.ts"
import { Refusal } from "./refusal.ts"

export class ClassicQueue extends MessageQueue {
  readonly type = "classic"

  constructor(definition: QueueDefinition, host: QueueHost) {
    super(definition, host, "priority")
  }

  protected checkConsumer(consumer: Consumer): void {
    const { consumers } = this
    const isShared = consumers.length > 0 || this.arguments["x-single-active-consumer"] === true
    if (consumers.isExclusive || (consumer.exclusive && isShared)) {
      throw new Refusal("accessRefused", `${this.resource} in exclusive use`)
    }
  }

  protected isFull(size: number): boolean {
    return this.limits.isExceeded({ length: this.ready.length + 1, bytes: this.ready.bytes + size })
  }

  protected takeBack(entry: StoredEntry): boolean {
    this.ready.putBack({ ...entry, redelivered: true, returns: entry.returns + 1 })
    return true
  }
}
