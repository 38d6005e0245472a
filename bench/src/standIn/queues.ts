/**
 * Queues that keep no messages, only how many: all messages of a queue are equal, and those that are delivered are copies of the first.
 */

/** The passive declare of this queue returns the CPU time of the stand-in, in microseconds, as the number of messages. */
export const cpuQueue = "stand-in.cpu-microseconds"

export class Queue {
  readonly name: string
  /** To compare with the routing key of a publish. */
  readonly nameBytes: Buffer
  ready = 0
  /** The payload of the content header of the first message: its properties and the size of its body. */
  header: Buffer | undefined

  constructor(name: string) {
    this.name = name
    this.nameBytes = Buffer.from(name)
  }
}

export class Queues {
  private readonly byName = new Map<string, Queue>()

  /** Declares the queue unless it exists. */
  declare(name: string): Queue {
    const queue = this.byName.get(name) ?? new Queue(name)
    this.byName.set(name, queue)
    return queue
  }

  get(name: string): Queue | undefined {
    if (name === cpuQueue) {
      const cpu = process.cpuUsage()
      const queue = new Queue(name)
      queue.ready = cpu.user + cpu.system
      return queue
    }
    return this.byName.get(name)
  }

  delete(name: string): void {
    this.byName.delete(name)
  }
}
