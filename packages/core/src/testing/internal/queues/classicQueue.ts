/** A classic queue (https://www.rabbitmq.com/docs/classic-queues). */
import { Refusal } from "../common/refusal.ts"
import { integerOf } from "./argumentValues.ts"
import { LengthLimits } from "./lengthLimits.ts"
import { MessageQueue } from "./messageQueue.ts"
import type { StoredEntry } from "./messageQueue.ts"
import type { Consumer, QueueDefinition, QueueHost } from "./queue.ts"

export class ClassicQueue extends MessageQueue {
  readonly type = "classic"
  private readonly maxPriority: number

  constructor(definition: QueueDefinition, host: QueueHost) {
    super(definition, host, {
      limits: new LengthLimits(definition.arguments, {
        counted: "bodies",
        overflows: ["drop-head", "reject-publish", "reject-publish-dlx"]
      }),
      succession: "priority",
      countsFailures: host.rules.countsFailures === "all queues",
      expiresBehindGet: true,
      dropsBeforeDelivery: true,
      dropsLastFirst: false,
      atLeastOnce: undefined
    })
    const maxPriority = integerOf(definition.arguments, "x-max-priority")
    this.maxPriority = maxPriority === undefined ? 0 : Math.max(maxPriority, host.rules.minMaxPriority)
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

  protected priorityOf(priority = 0): number {
    return Math.min(priority, this.maxPriority)
  }

  protected override presented(entry: StoredEntry): StoredEntry {
    return this.countsFailures && entry.failures > 0 ? { ...entry, redelivered: true } : entry
  }

  protected override presentedAtOnce(entry: StoredEntry): StoredEntry {
    return entry
  }

  protected takeBack(entry: StoredEntry, failed: boolean): boolean {
    this.ready.putBack({
      ...entry,
      redelivered: true,
      returns: entry.returns + 1,
      failures: entry.failures + (failed ? 1 : 0)
    })
    return true
  }

  protected failuresWhenDropped({ failures }: StoredEntry, failed: boolean): number {
    return failures + (failed ? 1 : 0)
  }
}
