/** The network as the broker's end of a connection sees it. */

/** How many bytes may wait for a client before nothing more is delivered to it. */
export const windowBytes = 1024 * 1024

export interface Transport {
  /** Takes bytes for the client, whether it reads or not. */
  send(chunks: ReadonlyArray<Uint8Array>): void
  /**
   * Whether the client has `windowBytes` or more to read, including the bytes to come. If so, the connection is notified by `drained`
   * when that has changed.
   */
  isCongested(bytesToCome: number): boolean
  /** Reads nothing from the client until `resumeReading`. */
  pauseReading(): void
  resumeReading(): void
  /** Closes the socket after everything that was sent has been read. */
  close(): void
  /** Resets the connection at once. */
  cut(): void
}
