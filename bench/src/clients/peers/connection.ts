/**
 * What the workloads of this folder need of a peer. Each call is the library's own, in its fastest ordinary way.
 */

export interface PeerChannel {
  /** Publishes to a queue. Returns a promise if the library wants the caller to wait until the socket has room. */
  readonly publish: (queue: string, body: Buffer) => Promise<unknown> | undefined
  /** Publishes to a queue, on a channel from `confirmChannel`. The promise resolves when the broker has confirmed the message. */
  readonly publishConfirmed: (queue: string, body: Buffer) => Promise<unknown>
  /** Resolves when the consumer has started. */
  readonly consume: (queue: string, onBody: (body: Uint8Array) => void) => Promise<unknown>
  /**
   * As `consume`, with a prefetch, and acknowledges each message after the call. The result cancels the consumer: the broker replies after
   * it has handled all earlier acks on the same channel. The close of a connection can overtake them: amqplib left 402 of 1,000,000 messages.
   */
  readonly consumeAndAck: (
    queue: string,
    prefetch: number,
    onBody: (body: Uint8Array) => void
  ) => Promise<() => Promise<unknown>>
}

export interface PeerConnection {
  readonly channel: () => Promise<PeerChannel>
  readonly confirmChannel: () => Promise<PeerChannel>
  readonly close: () => Promise<unknown>
}

export interface ConnectOptions {
  readonly url: string
  /** In seconds. Default: the library's. */
  readonly heartbeat?: number
}

export type Connect = (options: ConnectOptions) => Promise<PeerConnection>

/** All three peers take their options from the URL. */
export const withHeartbeat = ({ heartbeat, url }: ConnectOptions): string => {
  if (heartbeat === undefined) {
    return url
  }
  const changed = new URL(url)
  changed.searchParams.set("heartbeat", String(heartbeat))
  return changed.href
}
