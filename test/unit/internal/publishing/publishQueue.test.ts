import type { AmqpChannelError } from "@effect-amqp/core/AmqpError"
import { Channel } from "@effect-amqp/core/internal/channel/channel"
import type { ChannelHost } from "@effect-amqp/core/internal/channel/channel"
import type { PublishJob } from "@effect-amqp/core/internal/publishing/publishJob"
import { resolveLimits } from "@effect-amqp/core/internal/publishing/publishLimits"
import { PublishQueue } from "@effect-amqp/core/internal/publishing/publishQueue"
import type { QueueHost } from "@effect-amqp/core/internal/publishing/publishQueue"
import { Counts } from "@effect-amqp/core/internal/telemetry/counters"
import { Outbound } from "@effect-amqp/core/internal/wire/outbound"
import { ReadGate } from "@effect-amqp/core/internal/wire/readGate"
import { RequestTimeouts } from "@effect-amqp/core/internal/wire/requestTimeouts"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { outboundHost } from "../../../support/outboundHost.ts"

const limits = {
  maxInFlight: 1,
  maxInFlightBytes: 1_000,
  sendTimeout: Infinity,
  confirmTimeout: Infinity,
  maxWaiting: 100,
  maxWaitingBytes: 1_000,
  countsBlocked: true,
  failWhenBlocked: true,
  failWhenDisconnected: false
}

/** A connection that is open, as far as a queue asks. */
const queueHost: QueueHost = {
  session: undefined,
  failure: undefined,
  notConnected: () => assert.fail("the queue took the connection for lost")
}

/** A queue with a channel in confirm mode to send on. */
const makeQueue = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const counts = new Counts()
  const outbound = new Outbound(counts, outboundHost)
  const host: ChannelHost = {
    outbound,
    counts,
    readGate: new ReadGate({ expectsReply: true, background: () => {}, warn: () => {} }),
    requestTimeouts: new RequestTimeouts(Infinity, clock),
    maxBodySize: 1_000,
    maxPublishSize: 1_000,
    serverProperties: {},
    supports: () => true,
    warn: () => {},
    confirmed: () => {},
    release: () => {}
  }
  const queue = new PublishQueue(limits, queueHost, clock)
  queue.useSession(outbound)
  const channel = new Channel(1, host)
  const selected = yield* Effect.forkScoped(channel.confirmSelect, { startImmediately: true })
  channel.receive({ _tag: "confirm.select-ok" })
  channel.handleReceived()
  const ledger = yield* Fiber.join(selected)
  queue.attach(channel, ledger)
  return { queue, ledger, outbound }
})

/** A job without end. `onNext` is called whenever the queue asks for a message. */
const makeJob = (onNext: () => void) => {
  const job = {
    waitingSince: 0,
    waitingBytes: 1,
    owner: { settled: () => {} },
    body: new Uint8Array(1),
    properties: {},
    options: { exchange: "", routingKey: "q" },
    index: 0,
    hasMore: true,
    asked: 0,
    refused: 0,
    next: () => {
      job.asked++
      onNext()
      return true
    },
    hold: () => {},
    failed: (thrown: unknown) => assert.fail(String(thrown)),
    refuse: () => void job.refused++
  }
  return job satisfies PublishJob
}

describe("a job that waits in a publish queue", () => {
  it.effect("is not sent again if it is refused while one of its messages is being sent", () =>
    Effect.gen(function*() {
      const { ledger, outbound, queue } = yield* makeQueue
      queue.submit(makeJob(() => {}))
      const job = makeJob(() => outbound.setBlocked("low on memory", 0))
      queue.submit(job)
      assert.strictEqual(job.asked, 0)
      // The queue sends the first job again and again, one message at a time, and then has the second one's turn.
      for (let tag = 1; job.asked === 0 && tag < 5; tag++) ledger.settle(tag, false, "Acked")
      assert.deepStrictEqual([job.asked, job.refused], [1, 1])
      outbound.setBlocked(undefined, 0)
      for (let tag = 1; tag < 5 && ledger.count > 0; tag++) ledger.settle(0, true, "Acked")
      assert.deepStrictEqual([job.asked, job.refused], [1, 1])
    }))

  it.effect("is not sent again if it is withdrawn while one of its messages is being sent", () =>
    Effect.gen(function*() {
      const { ledger, queue } = yield* makeQueue
      const first = makeJob(() => {})
      queue.submit(first)
      queue.withdraw(first)
      const job: ReturnType<typeof makeJob> = makeJob(() => queue.withdraw(job))
      queue.submit(job)
      ledger.settle(0, true, "Acked")
      assert.strictEqual(job.asked, 1)
      for (let count = 0; count < 3; count++) ledger.settle(0, true, "Acked")
      assert.strictEqual(job.asked, 1)
    }))
})

describe("a publish queue with the default limits", () => {
  it.effect("lets 100,000 jobs wait, and refuses the next one at once", () =>
    Effect.gen(function*() {
      const queue = new PublishQueue(resolveLimits({}), queueHost, yield* Clock.Clock)
      const errors: Array<AmqpChannelError> = []
      const job: PublishJob = { ...makeJob(() => {}), refuse: (error) => void errors.push(error) }
      for (let count = 0; count < 100_000; count++) queue.submit({ ...job })
      assert.lengthOf(errors, 0)
      queue.submit({ ...job })
      assert.lengthOf(errors, 1)
      const { reason } = errors[0]
      if (reason._tag !== "TooManyPublishes") return assert.fail(reason.message)
      assert.include(reason, { waiting: 100_000, waitingBytes: 100_000 })
    }))
})
