/** Performs a plan on a broker, and records what the broker sends. */
import * as Effect from "effect/Effect"
import { channels, exchanges, queues, replyQueue, strayExchange, strayQueues } from "./operations.ts"
import type { ChannelName, Operation, Plan, Publish, Request, Settle } from "./operations.ts"
import { Session } from "./session.ts"
import type { ChannelState, OpenDelivery, RunOptions } from "./session.ts"
import { encodeContent, encodeMethod } from "./wire.ts"
import type { Arguments } from "./wire.ts"
import type { Endpoint } from "./wireClient.ts"

/** What a broker sent after an operation, or what is left after all operations. */
export interface Step {
  readonly title: string
  readonly lines: ReadonlyArray<string>
}

export type Trace = ReadonlyArray<Step>

type Lines = Effect.Effect<ReadonlyArray<string>>

/** How many messages of a queue are compared after the plan. */
const shownMessages = 40

/** Performs the plan. In all cases, everything that it declared is deleted at the end. */
export const runPlan = (plan: Plan, endpoint: Endpoint, options: RunOptions): Effect.Effect<Trace> =>
  Effect.acquireUseRelease(
    Effect.sync(() => new Session(plan, endpoint, options)),
    (session) =>
      Effect.gen(function*() {
        const steps: Array<Step> = []
        for (const operation of plan.operations) {
          steps.push({ title: "", lines: yield* perform(session, operation) })
        }
        return [...steps, ...(yield* remains(session))]
      }),
    (session) =>
      session.deleteAll({
        queues: [...queues, ...strayQueues, ...session.generatedQueues],
        exchanges: [...exchanges, strayExchange]
      })
  )

const perform = (session: Session, operation: Operation): Lines => {
  switch (operation._tag) {
    case "Request":
      return request(session, operation)
    case "Publish":
      return publish(session, operation)
    case "Settle":
      return settle(session, operation)
    case "CloseChannel":
      return closeChannel(session, operation.channel)
    case "CloseConnection":
      return session.close(operation.connection, operation.how)
  }
}

// -----------------------------------------------------------------------------
// operations
// -----------------------------------------------------------------------------

const request = (session: Session, { arguments: values, channel, method }: Request, isQuick = false): Lines => {
  const hasReply = values["nowait"] !== true && method !== "basic.recover-async"
  return session.onChannel(channel, (state, client) => {
    const { open } = state
    if (method === "basic.recover" || method === "basic.recover-async") state.open = []
    const tag = values["consumerTag"]
    if (method === "basic.consume" && typeof tag === "string") {
      if (values["noAck"] === true) state.consumersWithoutAck.add(tag)
      else state.consumersWithoutAck.delete(tag)
    }
    client.send(encodeMethod(channels[channel].number, method, session.named(values)))
    const replies = [`${method}-ok`, ...(method === "basic.get" ? ["basic.get-empty"] : [])]
    return {
      isQuick,
      // A channel that waits for queues to confirm a commit refuses everything else with a 504.
      withoutFlow: method === "tx.commit",
      isReply: hasReply ? ({ method }) => replies.includes(method.name) : undefined,
      done: (arrivals) => {
        if (arrivals.some(({ method }) => method.name.endsWith(".close"))) return
        changeMode(state, method, open)
        for (const arrival of arrivals) {
          if (arrival.method.name === "basic.get-ok" && values["noAck"] !== true) session.keepOpen(state, arrival)
        }
      }
    }
  })
}

const changeMode = (state: ChannelState, method: string, open: ReadonlyArray<OpenDelivery>): void => {
  switch (method) {
    case "confirm.select":
      state.confirms = true
      break
    case "tx.select":
      state.inTransaction = true
      break
    case "tx.commit":
      state.settledInTransaction = []
      break
    case "tx.rollback":
      state.open = [...open, ...state.settledInTransaction]
      state.settledInTransaction = []
  }
}

const publish = (session: Session, operation: Publish): Lines => {
  const { body, channel, exchange, immediate, mandatory, properties, routingKey } = operation
  const { number } = channels[channel]
  return session.onChannel(channel, (state, client) => {
    const sequence = ++state.published
    client.send(Buffer.concat([
      encodeMethod(number, "basic.publish", {
        ...session.named({ exchange, routingKey, mandatory, immediate }),
        ...(routingKey === replyQueue ? { routingKey: session.replyTo } : {})
      }),
      encodeContent(number, session.named(properties), Buffer.from(body))
    ]))
    return { isDone: () => !state.confirms || state.confirmed.has(sequence) }
  })
}

const settle = (session: Session, operation: Settle): Lines => {
  const { channel, method, requeue } = operation
  const multiple = operation.multiple && method !== "basic.reject"
  return session.onChannel(channel, (state, client) => {
    const tag = chosenTag(state, operation, multiple)
    if (tag === undefined) return "there is nothing to settle"
    const isSettled = (delivery: OpenDelivery): boolean =>
      multiple ? tag === 0 || delivery.tag <= tag : delivery.tag === tag
    if (state.inTransaction) {
      state.settledInTransaction = [...state.settledInTransaction, ...state.open.filter(isSettled)]
    }
    state.open = state.open.filter((delivery) => !isSettled(delivery))
    state.lastSettled = tag
    client.send(encodeMethod(channels[channel].number, method, {
      deliveryTag: tag,
      ...(method === "basic.reject" ? {} : { multiple }),
      ...(method === "basic.ack" ? {} : { requeue })
    }))
    return {}
  })
}

/**
 * The delivery tag to settle. With `multiple`, all deliveries of a step are settled together, because those of different
 * queues arrive in any order.
 */
const chosenTag = (state: ChannelState, { target }: Settle, multiple: boolean): number | undefined => {
  switch (target) {
    case "all":
      return 0
    case "unknown":
      return 9999
    case "settledLast":
      return state.lastSettled
    default: {
      if (state.open.length === 0) return undefined
      const sorted = state.open.toSorted((a, b) =>
        a.step - b.step || a.sortKey.localeCompare(b.sortKey) || a.tag - b.tag
      )
      const { step, tag } = sorted[target % sorted.length]
      return multiple ? Math.max(...sorted.filter((delivery) => delivery.step === step).map(({ tag }) => tag)) : tag
    }
  }
}

const closeChannel = (session: Session, channel: ChannelName): Lines =>
  session.onChannel(channel, (_, client) => {
    client.send(encodeMethod(channels[channel].number, "channel.close", { replyCode: 200 }))
    return { isDone: () => !client.isChannelOpen(channel), withoutFlow: true }
  })

// -----------------------------------------------------------------------------
// what is left
// -----------------------------------------------------------------------------

/** Closes the connections and reads what they leave behind, which empties the queues. */
const remains = (session: Session): Effect.Effect<Trace> =>
  Effect.gen(function*() {
    const steps: Array<Step> = []
    for (const connection of ["main", "other"] as const) {
      steps.push({ title: `at the end: close "${connection}"`, lines: yield* session.close(connection, "close") })
    }
    for (const queue of queues) {
      steps.push({ title: `at the end: the contents of ${queue}`, lines: yield* contents(session, queue) })
    }
    for (const exchange of exchanges) {
      const lines = yield* ask(session, "exchange.declare", { exchange, type: "direct", passive: true })
      steps.push({ title: `at the end: whether ${exchange} exists`, lines })
    }
    return steps
  })

const ask = (session: Session, method: string, values: Arguments): Lines =>
  request(session, { _tag: "Request", channel: "plain", method, arguments: values }, true)

const contents = (session: Session, queue: string): Lines =>
  Effect.gen(function*() {
    const lines = [...(yield* ask(session, "queue.declare", { queue, passive: true }))]
    if (!lines.some((line) => line.includes("queue.declare-ok"))) return lines
    for (let shown = 0; shown < shownMessages; shown++) {
      const reply = yield* ask(session, "basic.get", { queue, noAck: true })
      lines.push(...reply)
      // Streams do not support basic.get.
      if (reply.some((line) => line.includes("NOT_IMPLEMENTED"))) lines.push(...(yield* readStream(session, queue)))
      if (!reply.some((line) => line.includes("basic.get-ok"))) break
    }
    return lines
  })

const readStream = (session: Session, queue: string): Lines =>
  Effect.gen(function*() {
    yield* ask(session, "basic.qos", { prefetchCount: shownMessages })
    const lines = yield* request(session, {
      _tag: "Request",
      channel: "plain",
      method: "basic.consume",
      arguments: { queue, consumerTag: "reader", arguments: { "x-stream-offset": "first" } }
    })
    return [...lines, ...(yield* closeChannel(session, "plain"))]
  })
