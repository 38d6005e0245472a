/** Blocks a connection that publishes while the broker has an alarm (RabbitMQ, "Memory and Disk Alarms"). */

/** What is done to the connection. */
export interface BlockedConnection {
  pauseReading(): void
  resumeReading(): void
  /** Sends `connection.blocked`, if the client understands it. */
  sendBlocked(reason: string): void
  /** Sends `connection.unblocked`, if the client understands it. */
  sendUnblocked(): void
}

export class PublisherBlock {
  /** Whether nothing is read from the client. */
  isActive = false
  private readonly connection: BlockedConnection
  /** Whether the client has ever published: RabbitMQ does not block connections that only consume. */
  private hasPublished = false

  constructor(connection: BlockedConnection) {
    this.connection = connection
  }

  /** The client has published. `reason`: why publishers are blocked, if they are. */
  published(reason: string | undefined): void {
    if (this.hasPublished) return
    this.hasPublished = true
    if (reason !== undefined) this.block(reason)
  }

  /** Blocks the client if it has published, until `unblock`. What has been read already is still handled. */
  block(reason: string): void {
    if (!this.hasPublished || this.isActive) return
    this.isActive = true
    this.connection.pauseReading()
    this.connection.sendBlocked(reason)
  }

  unblock(): void {
    if (!this.isActive) return
    this.connection.sendUnblocked()
    this.lift()
  }

  /** Reads from the client again without notifying it. */
  lift(): void {
    if (!this.isActive) return
    this.isActive = false
    this.connection.resumeReading()
  }
}
