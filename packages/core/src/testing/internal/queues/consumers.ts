/** The consumers of a queue, in the order in which they are served. */
import type { Consumer } from "./queue.ts"

/** Which consumer follows when the single active consumer leaves: by priority, or the one that came first. */
export type Succession = "priority" | "arrival"

export class Consumers {
  /** In the order of their turns: by priority, and within a priority the one that has waited longest. */
  private line: Array<Consumer> = []
  private readonly succession: Succession | undefined
  private activeOne: Consumer | undefined

  /** With a succession, one consumer gets all messages until it leaves (`x-single-active-consumer`). */
  constructor(succession: Succession | undefined) {
    this.succession = succession
  }

  get length(): number {
    return this.line.length
  }

  /** Those that get messages. */
  get active(): ReadonlyArray<Consumer> {
    if (this.succession === undefined) return this.line
    return this.activeOne === undefined ? [] : [this.activeOne]
  }

  get isExclusive(): boolean {
    return this.line.some((consumer) => consumer.exclusive)
  }

  add(consumer: Consumer): void {
    this.line.splice(this.endOfTurns(consumer), 0, consumer)
    if (this.succession !== undefined) this.activeOne ??= consumer
  }

  /** Returns whether the consumer was there. */
  remove(consumer: Consumer): boolean {
    const index = this.line.indexOf(consumer)
    if (index === -1) return false
    this.line.splice(index, 1)
    if (this.activeOne === consumer) this.activeOne = this.line[0]
    return true
  }

  /** Moves the single active consumer behind the others, if there are any. */
  stepBack(consumer: Consumer): void {
    if (this.activeOne !== consumer || this.line.length === 1) return
    this.line = [...this.line.filter((other) => other !== consumer), consumer]
    this.activeOne = this.line[0]
  }

  /** Removes and returns all consumers. */
  clear(): ReadonlyArray<Consumer> {
    const all = this.line
    this.line = []
    this.activeOne = undefined
    return all
  }

  /** The consumer that gets the next message. It moves behind the others of its priority. */
  next(): Consumer | undefined {
    if (this.succession !== undefined) return this.activeOne?.isReady === true ? this.activeOne : undefined
    const index = this.line.findIndex((consumer) => consumer.isReady)
    if (index === -1) return undefined
    const consumer = this.line[index]
    if (this.line.length > 1) {
      this.line.splice(index, 1)
      this.line.splice(this.endOfTurns(consumer), 0, consumer)
    }
    return consumer
  }

  /** The position behind all consumers of at least its priority. */
  private endOfTurns({ priority }: Consumer): number {
    if (this.succession === "arrival") return this.line.length
    const index = this.line.findIndex((other) => other.priority < priority)
    return index === -1 ? this.line.length : index
  }
}
