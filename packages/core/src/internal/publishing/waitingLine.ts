/**
 * The jobs that wait to be sent, in their order, and the size of what they keep in memory.
 */
import type { PublishJob } from "./publishJob.ts"

export class WaitingLine {
  /** The jobs, and the bytes that were counted for each: a body may be transferred while it waits. */
  private readonly jobs = new Map<PublishJob, number>()
  private sum = 0

  get size(): number {
    return this.jobs.size
  }

  /** The size of the bodies that wait. */
  get bytes(): number {
    return this.sum
  }

  /** The job that has waited longest: one that had a turn goes to the end. */
  get first(): PublishJob | undefined {
    for (const job of this.jobs.keys()) return job
    return undefined
  }

  /** Adds a job at the end. */
  add(job: PublishJob, now: number): void {
    job.waitingSince = now
    this.delete(job)
    const bytes = job.waitingBytes
    this.jobs.set(job, bytes)
    this.sum += bytes
  }

  /** Returns whether the job was waiting. */
  delete(job: PublishJob): boolean {
    this.sum -= this.jobs.get(job) ?? 0
    return this.jobs.delete(job)
  }

  /** Removes all jobs, and returns them. */
  takeAll(): ReadonlyArray<PublishJob> {
    const jobs = [...this.jobs.keys()]
    this.jobs.clear()
    this.sum = 0
    return jobs
  }

  /** The jobs in their order. A job may be deleted meanwhile. */
  [Symbol.iterator](): Iterator<PublishJob> {
    return this.jobs.keys()
  }
}
