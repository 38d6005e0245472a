/** The heartbeats of a connection in both directions, timed as in RabbitMQ ("Detecting Dead TCP Connections with Heartbeats"). */
import type { Timers } from "../common/timers.ts"

export interface HeartbeatOptions {
  readonly timers: Timers
  /** The negotiated interval, in milliseconds. */
  readonly intervalMillis: number
  readonly sendHeartbeat: () => void
  /** Called once, when nothing was received for two whole intervals. */
  readonly onSilence: () => void
}

export class Heartbeats {
  private readonly options: HeartbeatOptions
  /** Whether the first check was made. It does not count what was sent before. */
  private hasChecked = false
  /** Whether something was sent since the last check. */
  private hasSent = false
  /** Whether something was received since the last check. The first check always finds something. */
  private hasReceived = true
  private silentChecks = 0
  private stopSending: () => void = () => {}
  private stopWatching: () => void = () => {}

  constructor(options: HeartbeatOptions) {
    this.options = options
    this.send()
    this.watch()
  }

  /** Bytes were sent. */
  sent(): void {
    if (this.hasChecked) this.hasSent = true
  }

  /** Bytes were received. */
  received(): void {
    this.hasReceived = true
  }

  /** Expects nothing from the client, because nothing is read from it. */
  pauseWatching(): void {
    this.stopWatching()
  }

  resumeWatching(): void {
    this.hasReceived = true
    this.silentChecks = 0
    this.watch()
  }

  stop(): void {
    this.stopSending()
    this.stopWatching()
  }

  /** Sends a heartbeat after each half interval in which nothing else was sent. */
  private send(): void {
    const { intervalMillis, sendHeartbeat, timers } = this.options
    this.stopSending = timers.schedule(intervalMillis / 2, () => {
      if (!this.hasSent) sendHeartbeat()
      this.hasChecked = true
      this.hasSent = false
      this.send()
    })
  }

  /** Checks each interval. The second one in a row in which nothing was received ends the connection. */
  private watch(): void {
    const { intervalMillis, onSilence, timers } = this.options
    this.stopWatching = timers.schedule(intervalMillis, () => {
      this.silentChecks = this.hasReceived ? 0 : this.silentChecks + 1
      this.hasReceived = false
      if (this.silentChecks < 2) this.watch()
      else onSilence()
    })
  }
}
