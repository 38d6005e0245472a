/** One-line breaks of recovery. Each has to make one of 2,000 seeds fail. */

export interface Break {
  /** What the client does wrong. */
  readonly name: string
  /** A file of the built package. */
  readonly file: string
  /** A line, or a part of one, that occurs once in it and once in its source. */
  readonly line: string
  readonly becomes: string
}

const supervisor = "internal/connection/supervisor.js"
const endpoints = "internal/connection/endpoints.js"
const credentials = "internal/connection/loginCredentials.js"
const publisher = "internal/publishing/publisherFiber.js"
const publishQueue = "internal/publishing/publishQueue.js"
const resendLine = "internal/publishing/resendLine.js"
const attempts = "internal/publishing/attempts.js"
const publishErrors = "internal/publishing/publishErrors.js"
const consumerFiber = "internal/consuming/consumerFiber.js"
const subscription = "internal/consuming/subscription.js"
const streamPosition = "internal/consuming/streamPosition.js"
const rpc = "AmqpRpc.js"

export const breaks: ReadonlyArray<Break> = [
  {
    name: "a delivery of an old session is settled on the new one",
    file: subscription,
    line: "this.channel.attach(consumerTag, this, consumer)",
    becomes:
      "this.channel.attach(consumerTag, this, Object.defineProperties(consumer, { hasEnded: { get: () => false, " +
      "set() {} }, acknowledgements: { get: () => (this.owner.subscription ?? this).channel.acknowledgements } }))"
  },
  {
    name: "a publisher forgets confirm.select on later channels",
    file: publisher,
    line: "const ledger = yield* channel.confirmSelect",
    becomes: "const ledger = yield* (Deferred.isDoneUnsafe(opened) && (channel.requestWith = () => Effect.void), " +
      "channel.confirmSelect)"
  },
  {
    name: "basic.consume comes before basic.qos",
    file: subscription,
    line: "prepare.pipe(Effect.andThen(qos), Effect.andThen(this.consume((position) => position.afterHandled())))",
    becomes: "prepare.pipe(Effect.andThen(this.consume((position) => position.afterHandled())), Effect.andThen(qos))"
  },
  {
    name: "a consumer forgets the prefetch that was set last",
    file: consumerFiber,
    line: "new Subscription(session, channel, consumer, names, consumer.prefetch, oversized)",
    becomes: "new Subscription(session, channel, consumer, names, consumer.prefetch = options.prefetch, oversized)"
  },
  {
    name: "lost messages are published again in the wrong order",
    file: resendLine,
    line: "toSorted((a, b) => a.place - b.place)",
    becomes: "toSorted((a, b) => b.place - a.place)"
  },
  {
    name: "new messages overtake lost ones",
    file: publishQueue,
    line: "if (this.sendAgain())",
    becomes: "this.sendWaiting(); if (this.sendAgain())"
  },
  {
    name: "lost messages wait behind new ones",
    file: attempts,
    line: "else if (isSent && queue.hasLostChannel)",
    becomes: "else if (false)"
  },
  {
    name: "lost messages are never published again",
    file: resendLine,
    line: "if (lost.size === 0)",
    becomes: "if (lost.size >= 0)"
  },
  {
    name: "a lost message is reported as not sent",
    file: publishErrors,
    line: "new AmqpError.OutcomeUnknown({ cause: outcome })",
    becomes: "new AmqpError.NotSent({ cause: outcome })"
  },
  {
    name: "an earlier attempt whose outcome is unknown is forgotten",
    file: attempts,
    line: "this.unknown ?? error",
    becomes: "error"
  },
  {
    name: "topologies are not declared on new sessions",
    file: supervisor,
    line: "if (this.preparations.isEmpty)",
    becomes: "if (!this.preparations.isEmpty)"
  },
  {
    name: "a session is announced before its topologies are declared",
    file: supervisor,
    line: "session.background(Effect.ensuring(this.preparations.run(session), Deferred.succeed(isDone, undefined)))",
    becomes:
      "session.background(Effect.ensuring(this.preparations.run(session), Deferred.succeed(isDone, undefined))); return Effect.void"
  },
  {
    name: "the next session is dialed before the last one has left its socket",
    file: supervisor,
    line: "yield* Effect.uninterruptible(Scope.close(scope, Exit.void))",
    becomes: "yield* Effect.forkIn(Effect.andThen(Effect.sleep(1), Scope.close(scope, Exit.void)), this.scope);"
  },
  {
    name: "operations begin on a session that has ended",
    file: supervisor,
    line: "this.since = this.clock.currentTimeMillisUnsafe()",
    becomes: "this.session = this.lastSession; this.since = this.clock.currentTimeMillisUnsafe()"
  },
  {
    name: "no pause after a round of attempts",
    file: supervisor,
    line: "yield* Effect.raceFirst(Effect.sleep(pause), this.hurried.next)",
    becomes: ""
  },
  {
    name: "no pause after sessions that end at once",
    file: supervisor,
    line: "if (isReplaced || lasted >= stableAfter) {",
    becomes: "if (isReplaced || lasted >= 0) {"
  },
  {
    name: "the endpoint that was lost is dialed first",
    file: endpoints,
    line: "this.all.indexOf(last) + 1",
    becomes: "this.all.indexOf(last);"
  },
  {
    name: "an ordered replacement does not wait for what is in progress",
    file: supervisor,
    line: "Effect.timeoutOption(effect, this.options.closeTimeout)",
    becomes: "Effect.void"
  },
  {
    name: "publishers leave a session before the handlers of its consumers have ended",
    file: supervisor,
    line: "yield* inTime(session.awaitConsumersStopped)",
    becomes: ""
  },
  {
    name: "a new session uses the first credentials",
    file: credentials,
    line: "? Effect.tap(given, (credentials) => Effect.sync(() => this.received(credentials)))",
    becomes: "? Effect.suspend(() => this.first ??= Effect.runSync(Effect.cached(given)))"
  },
  {
    name: "a consumer ends with its session",
    file: consumerFiber,
    line: "return Effect.succeed(proceed)",
    becomes: "return this.end(error);"
  },
  {
    name: "a consumer uses the queue names of the last session",
    file: consumerFiber,
    line: "([declared]) => declared.queue",
    becomes:
      "([declared]) => ((globalThis.firstNames ??= new WeakMap()).has(queue) || globalThis.firstNames.set(queue, " +
      "declared.queue), globalThis.firstNames.get(queue))"
  },
  {
    name: "messages of an old session are handled on the new one",
    file: subscription,
    line: "// The broker delivers unsettled messages again, but messages without acknowledgement exist only here.",
    becomes: "this.clear = () => [];"
  },
  {
    name: "a stream continues after messages that were not handled",
    file: streamPosition,
    line: "this.next = first ?? after",
    becomes: "this.next = after;"
  },
  {
    name: "a stream begins anew on each session",
    file: streamPosition,
    line: "this.afterLast = undefined",
    becomes: "this.afterLast = this.next = undefined"
  },
  {
    name: "an RPC client does not consume its replies again",
    file: rpc,
    line: "return channel.request(basicConsume(replyQueue, consumerTag, { noAck: true }))",
    becomes: "return this.hasListened ? Effect.void : channel.request(basicConsume(replyQueue, consumerTag, " +
      "{ noAck: true })).pipe(Effect.tap(() => Effect.sync(() => { this.hasListened = true; })));"
  }
]
