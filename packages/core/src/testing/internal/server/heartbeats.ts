/** The heartbeats of a connection, both ways (RabbitMQ, "Detecting Dead TCP Connections with Heartbeats"), timed as RabbitMQ's. */
import type { Timers } from "../common/timers.ts"

export interface HeartbeatOptions {
  readonly timers: Timers
  /** The negotiated interval, in milliseconds. */
  readonly intervalMillis: number
  readonly sendHeartbeat: () => void
  /** Called once, when the client has been silent for two whole intervals. */
  readonly onSilence: () => void
}

export class Heartbeats {
  private readonly options: HeartbeatOptions
  /** Whether the first look was taken, which finds nothing sent whatever was. */
  private hasLooked = false
  /** Whether something was sent since the last look. */
  private hasSent = false
  /** Whether something was received since the last look. The first look always finds something. */
  private hasReceived = true
  private silentLooks = 0
  private stopSending: () => void = () => {}
  private stopWatching: () => void = () => {}

  constructor(options: HeartbeatOptions) {
    this.options = options
    this.send()
    this.watch()
  }

  /** Something was sent. */
  sent(): void {
    if (this.hasLooked) this.hasSent = true
  }

  /** Something was received. */
  received(): void {
    this.hasReceived = true
  }

  /** Expects nothing of the client, while nothing is read of it. */
  pauseWatching(): void {
    this.stopWatching()
  }

  resumeWatching(): void {
    this.hasReceived = true
    this.silentLooks = 0
    this.watch()
  }

  stop(): void {
    this.stopSending()
    this.stopWatching()
  }

  /** Each half interval in which nothing else was sent. */
  private send(): void {
    const { intervalMillis, sendHeartbeat, timers } = this.options
    this.stopSending = timers.schedule(intervalMillis / 2, () => {
      if (!this.hasSent) sendHeartbeat()
      this.hasLooked = true
      this.hasSent = false
      this.send()
    })
  }

  /** Each interval: the second in which nothing was received ends the connection. */
  private watch(): void {
    const { intervalMillis, onSilence, timers } = this.options
    this.stopWatching = timers.schedule(intervalMillis, () => {
      this.silentLooks = this.hasReceived ? 0 : this.silentLooks + 1
      this.hasReceived = false
      if (this.silentLooks < 2) this.watch()
      else onSilence()
    })
  }
}
